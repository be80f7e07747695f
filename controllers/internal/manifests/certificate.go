package manifests

import (
	"errors"
	"net"
	"net/netip"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	certmanagermetav1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// certificate is the serving certificate. Its Secret carries the labels that the operator's cache asks for.
func certificate(p Params) (*certmanagerv1.CertificateApplyConfiguration, error) {
	tls := tlsSpec(p.Server)
	duration, durationErr := time.ParseDuration(tls.Duration)
	renewBefore, renewErr := time.ParseDuration(tls.RenewBefore)
	if err := errors.Join(durationErr, renewErr); err != nil {
		return nil, err
	}
	issuer := v1alpha1.IssuerRef{Name: p.Issuer}
	if tls.IssuerRef != nil {
		issuer = *tls.IssuerRef
	} else if p.Longest > 0 && duration > p.Longest {
		duration = p.Longest.Truncate(time.Minute)
		renewBefore = min(renewBefore, duration/3)
	}
	issuer = issuerRef(issuer)
	dnsNames, addresses := certificateNames(p)
	spec := certmanagerv1.CertificateSpec().
		WithSecretName(CertificateName(p.Server.Name)).
		WithSecretTemplate(certmanagerv1.CertificateSecretTemplate().WithLabels(Labels(p.Server.Name))).
		WithIssuerRef(certmanagermetav1.IssuerReference().
			WithGroup(issuer.Group).
			WithKind(issuer.Kind).
			WithName(issuer.Name)).
		WithDuration(metav1.Duration{Duration: duration}).
		WithRenewBefore(metav1.Duration{Duration: Renewal(renewBefore, duration, p.Server.Namespace, CertificateName(p.Server.Name))}).
		WithRevisionHistoryLimit(1).
		WithUsages(certmanager.UsageDigitalSignature, certmanager.UsageServerAuth).
		WithPrivateKey(certmanagerv1.CertificatePrivateKey().
			WithAlgorithm(certmanager.ECDSAKeyAlgorithm).
			WithSize(256).
			WithRotationPolicy(certmanager.RotationPolicyAlways)).
		WithDNSNames(dnsNames...)
	if len(addresses) > 0 {
		spec.WithIPAddresses(addresses...)
	}
	return certmanagerv1.Certificate(CertificateName(p.Server.Name), p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithSpec(spec), nil
}

// certificateNames are the names that clients may verify, apart by kind: a certificate has no port, and an IP address is no
// DNS name.
func certificateNames(p Params) (dnsNames, addresses []string) {
	names := append(endpointHosts(p.Server, p.ClusterDomain), tlsSpec(p.Server).DNSNames...)
	for _, name := range names {
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		if address, err := netip.ParseAddr(trimBrackets(name)); err == nil {
			addresses = append(addresses, address.String())
			continue
		}
		dnsNames = append(dnsNames, name)
	}
	return distinct(dnsNames), distinct(addresses)
}

// trimBrackets takes the brackets from an IPv6 address without a port.
func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

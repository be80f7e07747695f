package authority

import (
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"
	certmanagermetav1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/internal/clientid"
)

// component is the name label of an authority's objects.
const component = "authority"

// The annotations of an authority's Certificate: how far it has come. The times are records; the rest is for people.
const (
	// AnnotationRollover says what the authority is in the middle of, and what that waits for.
	AnnotationRollover = "bartizan.dev/rollover"
	// annotationDistributed is when everybody was first known to trust the authority.
	annotationDistributed = "bartizan.dev/distributed-at"
	// annotationReplaced is when nothing was first known to use it any more.
	annotationReplaced = "bartizan.dev/replaced-at"
	// annotationCertificates are the certificates, in PEM, that the authority has had. A Secret may be lost; what it vouched for
	// is in use for a while.
	annotationCertificates = "bartizan.dev/certificates"
)

// The life of the certificates of the operator and of monitoring.
const (
	certificateDuration = 24 * time.Hour
	certificateRenewal  = 8 * time.Hour
)

// objectLabels are the labels of all objects of an authority, their Secrets included.
func objectLabels() map[string]string {
	return map[string]string{apply.ManagedByLabel: apply.ManagedBy, apply.NameLabel: component}
}

// generation is one authority as it should be.
type generation struct {
	number      int
	issues      bool
	duration    time.Duration
	annotations map[string]string
}

// line is a family in a namespace as it should be, in the order of the generations.
type line struct {
	family      family
	generations []generation
	// monitored says that monitoring gets a certificate, too.
	monitored bool
}

// issuing is the newest generation that issues, nil without one.
func (l line) issuing() *generation {
	for i := len(l.generations) - 1; i >= 0; i-- {
		if l.generations[i].issues {
			return &l.generations[i]
		}
	}
	return nil
}

// objects are those of the lines of a namespace, in the order in which they are applied.
func objects(namespace string, lines []line) []apply.Configuration {
	if len(lines) == 0 {
		return nil
	}
	all := []apply.Configuration{
		certmanagerv1.Issuer(SelfSigned, namespace).WithLabels(objectLabels()).
			WithSpec(certmanagerv1.IssuerSpec().WithSelfSigned(certmanagerv1.SelfSignedIssuer())),
	}
	for _, l := range lines {
		for _, g := range l.generations {
			all = append(all, authority(namespace, l.family.name(g.number), g)...)
		}
		if issuing := l.issuing(); l.family == system && issuing != nil {
			all = append(all, identity(namespace, OperatorCertificate, clientid.Operator, l.family.name(issuing.number), issuing.duration))
			if l.monitored {
				all = append(all, identity(namespace, MonitoringCertificate, clientid.Monitoring, l.family.name(issuing.number), issuing.duration))
			}
		}
	}
	return all
}

// identity is the certificate of one of those who read the gates' status ports.
func identity(namespace, name, uri, issuer string, authority time.Duration) apply.Configuration {
	duration := Fit(certificateDuration, authority/6)
	return certmanagerv1.Certificate(name, namespace).WithLabels(objectLabels()).
		WithSpec(certificate(name, issuer, certmanager.RotationPolicyAlways).
			WithDuration(metav1.Duration{Duration: duration}).
			WithRenewBefore(metav1.Duration{Duration: Fit(certificateRenewal, duration/3)}).
			WithURIs(uri).
			WithUsages(certmanager.UsageDigitalSignature, certmanager.UsageClientAuth))
}

// Fit bounds a certificate's duration so that it does not outlive its authority; without a bound it stays.
func Fit(duration, longest time.Duration) time.Duration {
	if longest <= 0 || duration <= longest {
		return duration
	}
	return longest.Truncate(time.Minute)
}

// authority is a private authority: its own certificate, and the Issuer that issues from it. It is never renewed: another
// generation follows it.
func authority(namespace, name string, g generation) []apply.Configuration {
	all := []apply.Configuration{
		certmanagerv1.Certificate(name, namespace).WithLabels(objectLabels()).WithAnnotations(g.annotations).
			WithSpec(certificate(name, SelfSigned, certmanager.RotationPolicyNever).
				WithIsCA(true).
				WithCommonName(commonName(name, namespace)).
				WithDuration(metav1.Duration{Duration: g.duration}).
				WithRenewal(certmanagerv1.CertificateRenewal().WithPolicy(certmanager.CertificateRenewalPolicyDisabled)).
				WithUsages(certmanager.UsageDigitalSignature, certmanager.UsageCertSign)),
	}
	if g.issues {
		all = append(all, certmanagerv1.Issuer(name, namespace).WithLabels(objectLabels()).
			WithSpec(certmanagerv1.IssuerSpec().WithCA(certmanagerv1.CAIssuer().WithSecretName(name))))
	}
	return all
}

// commonName names an authority for people. X.509 allows 64 characters (RFC 5280, ub-common-name).
func commonName(name, namespace string) string {
	full := name + "." + namespace
	return full[:min(len(full), 64)]
}

func certificate(name, issuer string, rotation certmanager.PrivateKeyRotationPolicy) *certmanagerv1.CertificateSpecApplyConfiguration {
	return certmanagerv1.CertificateSpec().
		WithSecretName(name).
		WithSecretTemplate(certmanagerv1.CertificateSecretTemplate().WithLabels(objectLabels())).
		WithIssuerRef(certmanagermetav1.IssuerReference().
			WithGroup(certmanager.SchemeGroupVersion.Group).WithKind(certmanager.IssuerKind).WithName(issuer)).
		WithRevisionHistoryLimit(1).
		WithPrivateKey(certmanagerv1.CertificatePrivateKey().
			WithAlgorithm(certmanager.ECDSAKeyAlgorithm).WithSize(256).WithRotationPolicy(rotation))
}

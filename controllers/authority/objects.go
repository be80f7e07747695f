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

// The names of an authority's objects. The number is the authority's generation.
const (
	// SelfSigned is the Issuer that authorities begin with.
	SelfSigned = "bartizan-selfsigned"
	// Issuer is the Issuer of a namespace's authority, its Certificate and its Secret.
	Issuer = "bartizan-ca-1"
	// SystemIssuer is the same for the operator's own identity, in the operator's namespace.
	SystemIssuer = "bartizan-system-ca-1"
	// OperatorCertificate is the operator's certificate towards gates, and its Secret.
	OperatorCertificate = "bartizan-operator"
)

// component is the name label of an authority's objects.
const component = "authority"

// Lifetimes. An authority lives five years, until it can be replaced without a failed request.
const (
	authorityDuration   = 43800 * time.Hour
	certificateDuration = 24 * time.Hour
	certificateRenewal  = 8 * time.Hour
)

// objectLabels are the labels of all objects of an authority, their Secrets included.
func objectLabels() map[string]string {
	return map[string]string{apply.ManagedByLabel: apply.ManagedBy, apply.NameLabel: component}
}

// objects are the objects of a namespace's authority and of the system's, in the order in which they are applied.
func objects(namespace string, ordinary, system bool) []apply.Configuration {
	if !ordinary && !system {
		return nil
	}
	all := []apply.Configuration{
		certmanagerv1.Issuer(SelfSigned, namespace).WithLabels(objectLabels()).
			WithSpec(certmanagerv1.IssuerSpec().WithSelfSigned(certmanagerv1.SelfSignedIssuer())),
	}
	if ordinary {
		all = append(all, authority(namespace, Issuer)...)
	}
	if system {
		all = append(all, authority(namespace, SystemIssuer)...)
		all = append(all, certmanagerv1.Certificate(OperatorCertificate, namespace).WithLabels(objectLabels()).
			WithSpec(certificate(OperatorCertificate, SystemIssuer, certmanager.RotationPolicyAlways).
				WithDuration(metav1.Duration{Duration: certificateDuration}).
				WithRenewBefore(metav1.Duration{Duration: certificateRenewal}).
				WithURIs(clientid.Operator).
				WithUsages(certmanager.UsageDigitalSignature, certmanager.UsageClientAuth)))
	}
	return all
}

// authority is a private authority: its own certificate, and the Issuer that issues from it. Its key stays when the
// certificate is renewed, so that what it has issued remains valid.
func authority(namespace, name string) []apply.Configuration {
	return []apply.Configuration{
		certmanagerv1.Certificate(name, namespace).WithLabels(objectLabels()).
			WithSpec(certificate(name, SelfSigned, certmanager.RotationPolicyNever).
				WithIsCA(true).
				WithCommonName(commonName(name, namespace)).
				WithDuration(metav1.Duration{Duration: authorityDuration}).
				WithUsages(certmanager.UsageDigitalSignature, certmanager.UsageCertSign)),
		certmanagerv1.Issuer(name, namespace).WithLabels(objectLabels()).
			WithSpec(certmanagerv1.IssuerSpec().WithCA(certmanagerv1.CAIssuer().WithSecretName(name))),
	}
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

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TLS is about the serving certificate.
//
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.renewBefore) || !self.duration.matches('^([0-9]{1,5}(h|m|s))+$') || !self.renewBefore.matches('^([0-9]{1,5}(h|m|s))+$') || duration(self.renewBefore) < duration(self.duration)",message="tls.renewBefore must be shorter than tls.duration"
type TLS struct {
	// issuerRef names the cert-manager issuer of the serving certificate. Without it the namespace's private authority
	// issues it. Client certificates always come from private authorities.
	// +optional
	IssuerRef *IssuerRef `json:"issuerRef,omitempty"`
	// duration is the lifetime of the serving certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1h') && duration(self) <= duration('2160h')",message="tls.duration must be between 1h and 2160h, in h, m and s"
	// +kubebuilder:default="24h"
	// +optional
	Duration string `json:"duration,omitempty"`
	// renewBefore is how long before its end the certificate is renewed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('5m')",message="tls.renewBefore must be at least 5m, in h, m and s"
	// +kubebuilder:default="8h"
	// +optional
	RenewBefore string `json:"renewBefore,omitempty"`
	// dnsNames are further names in the serving certificate.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +listType=set
	// +optional
	DNSNames []string `json:"dnsNames,omitempty"`
	// rotateAuthorityAfter asks for a new private authority of this namespace in place of one that was made before this time,
	// when the time has come. Everybody trusts the new one before it issues anything. Set it to the present time to begin now.
	// +optional
	RotateAuthorityAfter *metav1.Time `json:"rotateAuthorityAfter,omitempty"`
	// caBundle are certificates, in PEM, of authorities that vouch for the serving certificate beside the one that issued it:
	// an issuerRef's own whose Secret has no ca.crt, or one that is to follow. Clients get them in the CA bundle.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:XValidation:rule="self.startsWith('-----BEGIN CERTIFICATE-----') && !self.contains('PRIVATE KEY')",message="tls.caBundle must be certificates in PEM, and nothing else"
	// +optional
	CABundle string `json:"caBundle,omitempty"`
}

// IssuerRef names a cert-manager issuer.
type IssuerRef struct {
	// group of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:default=cert-manager.io
	// +optional
	Group string `json:"group,omitempty"`
	// kind of the issuer. A ClusterIssuer is refused unless an MCPSecurityProfile of the namespace lists it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:default=Issuer
	// +optional
	Kind string `json:"kind,omitempty"`
	// name of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
}

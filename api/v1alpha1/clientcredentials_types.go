package v1alpha1

// CredentialMode says whether a client has a kind of credential.
// +kubebuilder:validation:Enum=Enabled;Disabled
type CredentialMode string

// The modes of a credential.
const (
	CredentialEnabled  CredentialMode = "Enabled"
	CredentialDisabled CredentialMode = "Disabled"
)

// ClientAPIKey is about the API keys of a client.
type ClientAPIKey struct {
	// mode Enabled gives the client an API key for each namespace of servers. Disabled: it has none, and keys that it had
	// are refused at once.
	// +kubebuilder:default=Enabled
	// +optional
	Mode CredentialMode `json:"mode,omitempty"`
}

// ClientCertificate is about the certificates of a client.
//
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.renewBefore) || !self.duration.matches('^([0-9]{1,5}(h|m|s))+$') || !self.renewBefore.matches('^([0-9]{1,5}(h|m|s))+$') || duration(self.renewBefore) < duration(self.duration)",message="certificate.renewBefore must be shorter than certificate.duration"
type ClientCertificate struct {
	// mode Enabled gives the client a certificate for each namespace of servers. Disabled: it has none, and certificates
	// that it had are refused at once.
	// +kubebuilder:default=Enabled
	// +optional
	Mode CredentialMode `json:"mode,omitempty"`
	// duration is the lifetime of each certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1h') && duration(self) <= duration('2160h')",message="certificate.duration must be between 1h and 2160h, in h, m and s"
	// +kubebuilder:default="24h"
	// +optional
	Duration string `json:"duration,omitempty"`
	// renewBefore is how long before its end a certificate is renewed. Its Secret has to reach the client's memory in that
	// time.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('5m')",message="certificate.renewBefore must be at least 5m, in h, m and s"
	// +kubebuilder:default="8h"
	// +optional
	RenewBefore string `json:"renewBefore,omitempty"`
}

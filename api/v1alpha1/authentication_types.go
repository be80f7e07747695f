package v1alpha1

// APIKeyMode says whether API keys are accepted.
// +kubebuilder:validation:Enum=Enabled;Disabled
type APIKeyMode string

// The modes of API keys.
const (
	APIKeysEnabled  APIKeyMode = "Enabled"
	APIKeysDisabled APIKeyMode = "Disabled"
)

// ClientCertificateMode says whether client certificates are accepted or demanded.
// +kubebuilder:validation:Enum=Required;Optional;Disabled
type ClientCertificateMode string

// The modes of client certificates.
const (
	ClientCertificatesRequired ClientCertificateMode = "Required"
	ClientCertificatesOptional ClientCertificateMode = "Optional"
	ClientCertificatesDisabled ClientCertificateMode = "Disabled"
)

// Authentication says which credentials clients must show. Where a request carries several, all must name the same client.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.apiKeys) && self.apiKeys.mode == 'Disabled' && has(self.clientCertificates) && self.clientCertificates.mode == 'Disabled')",message="apiKeys and clientCertificates cannot both be Disabled: no client could ever authenticate"
type Authentication struct {
	// apiKeys are the keys of MCPClients. Enabled: every request needs a key, unless a client certificate alone is accepted.
	// +kubebuilder:default={}
	// +optional
	APIKeys APIKeys `json:"apiKeys,omitzero"`
	// clientCertificates are the certificates of MCPClients.
	// +kubebuilder:default={}
	// +optional
	ClientCertificates ClientCertificates `json:"clientCertificates,omitzero"`
}

// APIKeys says whether API keys are accepted.
type APIKeys struct {
	// mode Enabled demands a key with each request that shows no other sufficient credential; Disabled refuses keys.
	// +kubebuilder:default=Enabled
	// +optional
	Mode APIKeyMode `json:"mode,omitempty"`
}

// ClientCertificates says whether client certificates are accepted or demanded.
type ClientCertificates struct {
	// mode Required demands a client certificate with every request, beside the key where keys are Enabled. Optional
	// accepts a certificate instead of a key. Disabled ignores certificates.
	// +kubebuilder:default=Required
	// +optional
	Mode ClientCertificateMode `json:"mode,omitempty"`
}

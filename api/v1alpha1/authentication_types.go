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

// Authentication says which credentials callers must show. A key and a certificate of one request must name the same client;
// a certificate beside a token says who acts for the token's holder.
//
// +kubebuilder:validation:XValidation:rule="has(self.tokens) || !(has(self.apiKeys) && self.apiKeys.mode == 'Disabled' && has(self.clientCertificates) && self.clientCertificates.mode == 'Disabled')",message="apiKeys and clientCertificates cannot both be Disabled without tokens: no client could ever authenticate"
type Authentication struct {
	// apiKeys are the keys of MCPClients. Enabled: every request needs a key, unless a client certificate alone is accepted.
	// +kubebuilder:default={}
	// +optional
	APIKeys APIKeys `json:"apiKeys,omitzero"`
	// clientCertificates are the certificates of MCPClients.
	// +kubebuilder:default={}
	// +optional
	ClientCertificates ClientCertificates `json:"clientCertificates,omitzero"`
	// tokens are the issuers whose bearer tokens are accepted, in place of a key.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.filter(t, t.type == 'Kubernetes').size() <= 1",message="tokens can have type Kubernetes once only: there is one cluster; name several audiences"
	// +kubebuilder:validation:XValidation:rule="self.all(t, !has(t.oidc) || self.exists_one(u, has(u.oidc) && u.oidc.issuer == t.oidc.issuer))",message="tokens must not name an issuer twice: name several audiences"
	// +listType=map
	// +listMapKey=name
	// +optional
	Tokens []TokenIssuer `json:"tokens,omitempty"`
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
	// mode Required demands a client certificate with every request, beside the key or token where those are accepted. Optional
	// accepts a certificate instead of a key or token. Disabled ignores certificates.
	// +kubebuilder:default=Required
	// +optional
	Mode ClientCertificateMode `json:"mode,omitempty"`
}

package v1alpha1

// TokenIssuerType is a kind of token issuer.
// +kubebuilder:validation:Enum=OIDC;Kubernetes
type TokenIssuerType string

// The kinds of token issuers.
const (
	// TokenIssuerOIDC is an OpenID Connect provider or OAuth 2 authorization server.
	TokenIssuerOIDC TokenIssuerType = "OIDC"
	// TokenIssuerKubernetes is this cluster, for tokens of ServiceAccounts.
	TokenIssuerKubernetes TokenIssuerType = "Kubernetes"
)

// TokenIssuer is an issuer whose bearer tokens are accepted. Tokens are verified in the gate, with public keys that the
// operator fetches. RS256, PS256, ES256, ES384 and EdDSA are accepted. A token must say until when it is valid, and since when;
// clocks may differ by 30 seconds.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'OIDC' ? has(self.oidc) : !has(self.oidc)",message="oidc is required when type is OIDC, and forbidden otherwise"
// +kubebuilder:validation:XValidation:rule="self.type == 'Kubernetes' ? has(self.kubernetes) : !has(self.kubernetes)",message="kubernetes is required when type is Kubernetes, and forbidden otherwise"
// +union
type TokenIssuer struct {
	// name of the issuer, for policies.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// type of the issuer.
	// +unionDiscriminator
	// +required
	Type TokenIssuerType `json:"type,omitempty"`
	// oidc is an OpenID Connect provider or OAuth 2 authorization server.
	// +optional
	OIDC *OIDCTokens `json:"oidc,omitempty"`
	// kubernetes is this cluster: its ServiceAccounts show projected tokens, bound to them.
	// +optional
	Kubernetes *KubernetesTokens `json:"kubernetes,omitempty"`
}

// OIDCTokens are tokens of an OpenID Connect provider or OAuth 2 authorization server.
type OIDCTokens struct {
	// issuer is the exact "iss" of the tokens. Its keys are found by its discovery document, unless jwksURI names them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.startsWith('https://') && url(self).getHostname() != '' && !self.matches('[@?#]')",message="oidc.issuer must be an https URL with a host, and without user, query and fragment"
	// +required
	Issuer string `json:"issuer,omitempty"`
	// audiences are those of which a token must name one. Name the server's own: tokens for others are none for it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +listType=set
	// +required
	Audiences []string `json:"audiences,omitempty"`
	// jwksURI is where the issuer's keys are, for issuers without a discovery document.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && self.startsWith('https://') && url(self).getHostname() != '' && !self.matches('[@#]')",message="oidc.jwksURI must be an https URL with a host, and without user and fragment"
	// +optional
	JWKSURI string `json:"jwksURI,omitempty"`
	// caBundle vouches for the issuer's own certificate, in PEM, in place of the authorities that systems trust.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	// +kubebuilder:validation:XValidation:rule="self.startsWith('-----BEGIN CERTIFICATE-----')",message="oidc.caBundle must be certificates in PEM, and begin with the first of them"
	// +optional
	CABundle string `json:"caBundle,omitempty"`
	// requiredScopes are scopes that every token must have. Callers are told them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[#-\[\]-~]+$`
	// +kubebuilder:validation:XValidation:rule="!('offline_access' in self)",message="oidc.requiredScopes must not have offline_access: it is for a client and its issuer"
	// +listType=set
	// +optional
	RequiredScopes []string `json:"requiredScopes,omitempty"`
	// requiredClaims are conditions that every token must meet.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	RequiredClaims []ClaimCondition `json:"requiredClaims,omitempty"`
	// maxLifetime bounds the time from a token's beginning to its end. A token of a longer life is refused.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')",message="oidc.maxLifetime must be between 1m and 8760h, in h, m and s"
	// +optional
	MaxLifetime string `json:"maxLifetime,omitempty"`
}

// KubernetesTokens are projected tokens of this cluster's ServiceAccounts.
type KubernetesTokens struct {
	// audiences are those of which a token must name one; pods ask for one in serviceAccountToken.audience. Name the server's
	// own, never the API server's.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +listType=set
	// +required
	Audiences []string `json:"audiences,omitempty"`
	// maxLifetime bounds the time from a token's beginning to its end. A token of a longer life is refused. The token of a pod
	// that is gone is accepted until its end.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('10m') && duration(self) <= duration('8760h')",message="kubernetes.maxLifetime must be between 10m and 8760h, in h, m and s"
	// +optional
	MaxLifetime string `json:"maxLifetime,omitempty"`
}

// ClaimCondition is a condition on one claim of a token.
type ClaimCondition struct {
	// path is the names of the members that lead to the claim, outermost first: [groups], or [realm_access, roles].
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	// +required
	Path []string `json:"path,omitempty"`
	// values are those of which the claim must have one. A list has the values of its elements; true and false are values, too.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +required
	Values []string `json:"values,omitempty"`
}

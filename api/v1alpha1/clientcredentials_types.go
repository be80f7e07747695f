package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CredentialMode says whether a client has a kind of credential.
// +kubebuilder:validation:Enum=Enabled;Disabled
type CredentialMode string

// The modes of a credential.
const (
	CredentialEnabled  CredentialMode = "Enabled"
	CredentialDisabled CredentialMode = "Disabled"
)

// ClientAPIKey is about the API keys of a client.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.mode) && self.mode == 'Disabled' && has(self.stores))",message="apiKey.stores needs apiKey.mode Enabled"
type ClientAPIKey struct {
	// mode Enabled gives the client an API key for each namespace of servers. Disabled: it has none, and keys that it had
	// are refused at once.
	// +kubebuilder:default=Enabled
	// +optional
	Mode CredentialMode `json:"mode,omitempty"`
	// stores are external stores from which keys come, or to which they go, by the namespace of the servers. Keys for other
	// namespaces are made here, and are in the client's Secret alone.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=namespace
	// +optional
	Stores []ClientKeyStore `json:"stores,omitempty"`
}

// ClientKeyStoreType says what a store does with keys.
// +kubebuilder:validation:Enum=Source;Push
type ClientKeyStoreType string

// The types of stores.
const (
	// KeyStoreSource: keys are made in the store.
	KeyStoreSource ClientKeyStoreType = "Source"
	// KeyStorePush: keys are made here, and the store gets each before the client's Secret does.
	KeyStorePush ClientKeyStoreType = "Push"
)

// ClientKeyStore is an external store for the keys of one namespace of servers. external-secrets reads and writes it.
//
// +kubebuilder:validation:XValidation:rule="has(self.source) == (self.type == 'Source') && has(self.push) == (self.type == 'Push')",message="set source with type Source, and push with type Push, and not the other"
type ClientKeyStore struct {
	// namespace of the servers, one of spec.servers.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Namespace string `json:"namespace,omitempty"`
	// type says which of source and push is set.
	// +required
	Type ClientKeyStoreType `json:"type,omitempty"`
	// storeRef names the store, in the client's namespace.
	// +required
	StoreRef SecretStoreRef `json:"storeRef,omitzero"`
	// source is where in the store keys come from.
	// +optional
	Source *ClientKeySource `json:"source,omitempty"`
	// push is where in the store keys go.
	// +optional
	Push *ClientKeyPush `json:"push,omitempty"`
}

// ClientKeySource is a value in a store that external-secrets reads. Whenever it is a new one, the client gets it as a rotated
// key: the gates first, then the client's Secret, while the one before is accepted for the overlap.
type ClientKeySource struct {
	// remoteRef is the value: 43 to 256 random characters of A-Z, a-z, 0-9, - and _, or a key of the form mcpk_<id>_<secret>.
	// With a version it is that one, and a new key is a new version here.
	// +required
	RemoteRef RemoteRef `json:"remoteRef,omitzero"`
	// refreshInterval is how often the store is read again.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('5s')",message="apiKey.stores.source.refreshInterval must be at least 5s, in h, m and s"
	// +kubebuilder:default="1h"
	// +optional
	RefreshInterval string `json:"refreshInterval,omitempty"`
}

// PushDeletionPolicy says what becomes of a pushed key when nobody needs it any more.
// +kubebuilder:validation:Enum=Retain;Delete
type PushDeletionPolicy string

// The deletion policies.
const (
	// PushRetain leaves the last key in the store, where no gate accepts it any more.
	PushRetain PushDeletionPolicy = "Retain"
	// PushDelete deletes it from the store. The PushSecret stays until the store has answered.
	PushDelete PushDeletionPolicy = "Delete"
)

// ClientKeyPush is a place in a store to which external-secrets writes keys.
type ClientKeyPush struct {
	// remoteKey is the name of the secret in the store. What is there is replaced.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	RemoteKey string `json:"remoteKey,omitempty"`
	// property inside the secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Property string `json:"property,omitempty"`
	// deletionPolicy says what becomes of the key in the store when nobody needs it any more.
	// +kubebuilder:default=Retain
	// +optional
	DeletionPolicy PushDeletionPolicy `json:"deletionPolicy,omitempty"`
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
	// rotateAuthorityAfter asks for a new private authority of this namespace in place of one that was made before this time,
	// when the time has come. Everybody trusts the new one before it issues anything. Set it to the present time to begin now.
	// +optional
	RotateAuthorityAfter *metav1.Time `json:"rotateAuthorityAfter,omitempty"`
}

package v1alpha1

// SecretGroup is one or more values from one store, synced by external-secrets.
type SecretGroup struct {
	// name of the group. Its files appear under /var/run/secrets/mcp/<name>/.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// storeRef names the store to read from.
	// +required
	StoreRef SecretStoreRef `json:"storeRef,omitzero"`
	// refreshInterval is how often the store is read again.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('5s')",message="secrets.refreshInterval must be at least 5s, in h, m and s"
	// +kubebuilder:default="1h"
	// +optional
	RefreshInterval string `json:"refreshInterval,omitempty"`
	// data are the values.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +required
	Data []SecretData `json:"data,omitempty"`
}

// SecretStoreKind is a kind of store of external-secrets.
// +kubebuilder:validation:Enum=SecretStore;ClusterSecretStore
type SecretStoreKind string

// The kinds of stores.
const (
	SecretStoreNamespaced SecretStoreKind = "SecretStore"
	SecretStoreCluster    SecretStoreKind = "ClusterSecretStore"
)

// SecretStoreRef names a store of external-secrets.
type SecretStoreRef struct {
	// kind of the store. A ClusterSecretStore is refused unless an MCPSecurityProfile of the namespace lists it.
	// +kubebuilder:default=SecretStore
	// +optional
	Kind SecretStoreKind `json:"kind,omitempty"`
	// name of the store.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
}

// SecretData is one value and where the server finds it: a file, or an environment variable.
//
// +kubebuilder:validation:XValidation:rule="has(self.file) != has(self.env)",message="set exactly one of file and env; prefer file, which is updated without a restart"
type SecretData struct {
	// remoteRef is the value in the store.
	// +required
	RemoteRef RemoteRef `json:"remoteRef,omitzero"`
	// file is the name of the file that holds the value. It is updated without a restart.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`
	// +optional
	File string `json:"file,omitempty"`
	// env is the environment variable that holds the value. A change restarts the pods one after the other.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	// +optional
	Env string `json:"env,omitempty"`
}

// RemoteRef is a value in a store.
type RemoteRef struct {
	// key of the secret in the store.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Key string `json:"key,omitempty"`
	// property inside the secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Property string `json:"property,omitempty"`
	// version of the secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Version string `json:"version,omitempty"`
}

package manifests

import (
	metav1 "k8s.io/client-go/applyconfigurations/meta/v1"
)

// ExternalSecretApplyConfiguration is the part of an ExternalSecret (external-secrets.io/v1) that the operator sets. The
// project publishes no apply configurations, and server-side apply refuses a field that an older installed version does not
// know: here are only fields that external-secrets v0.20 has.
type ExternalSecretApplyConfiguration struct {
	metav1.TypeMetaApplyConfiguration    `json:",inline"`
	*metav1.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`
	Spec                                 *ExternalSecretSpec `json:"spec,omitempty"`
}

// ExternalSecretSpec is what is fetched, from where, and where to.
type ExternalSecretSpec struct {
	RefreshPolicy   string                 `json:"refreshPolicy,omitempty"`
	RefreshInterval string                 `json:"refreshInterval,omitempty"`
	SecretStoreRef  ExternalSecretStoreRef `json:"secretStoreRef,omitzero"`
	Target          ExternalSecretTarget   `json:"target,omitzero"`
	Data            []ExternalSecretData   `json:"data,omitempty"`
}

// ExternalSecretStoreRef names a store.
type ExternalSecretStoreRef struct {
	Kind string `json:"kind,omitempty"`
	Name string `json:"name,omitempty"`
}

// ExternalSecretTarget is the Secret that is made.
type ExternalSecretTarget struct {
	Name           string                 `json:"name,omitempty"`
	CreationPolicy string                 `json:"creationPolicy,omitempty"`
	DeletionPolicy string                 `json:"deletionPolicy,omitempty"`
	Template       ExternalSecretTemplate `json:"template,omitzero"`
}

// ExternalSecretTemplate is what the Secret has beside the data.
type ExternalSecretTemplate struct {
	Type     string                         `json:"type,omitempty"`
	Metadata ExternalSecretTemplateMetadata `json:"metadata,omitzero"`
}

// ExternalSecretTemplateMetadata is metadata of the Secret.
type ExternalSecretTemplateMetadata struct {
	Labels map[string]string `json:"labels,omitempty"`
}

// ExternalSecretData is one value and its key in the Secret.
type ExternalSecretData struct {
	SecretKey string                  `json:"secretKey,omitempty"`
	RemoteRef ExternalSecretRemoteRef `json:"remoteRef,omitzero"`
}

// ExternalSecretRemoteRef names a value in the store.
type ExternalSecretRemoteRef struct {
	Key      string `json:"key,omitempty"`
	Property string `json:"property,omitempty"`
	Version  string `json:"version,omitempty"`
}

// ExternalSecret begins the apply configuration of an ExternalSecret.
func ExternalSecret(name, namespace string) *ExternalSecretApplyConfiguration {
	return &ExternalSecretApplyConfiguration{
		TypeMetaApplyConfiguration:   *metav1.TypeMeta().WithAPIVersion("external-secrets.io/v1").WithKind("ExternalSecret"),
		ObjectMetaApplyConfiguration: metav1.ObjectMeta().WithName(name).WithNamespace(namespace),
	}
}

// IsApplyConfiguration makes this an apply configuration.
func (e *ExternalSecretApplyConfiguration) IsApplyConfiguration() {}

// GetKind returns the kind.
func (e *ExternalSecretApplyConfiguration) GetKind() *string { return e.Kind }

// GetAPIVersion returns the API version.
func (e *ExternalSecretApplyConfiguration) GetAPIVersion() *string { return e.APIVersion }

// GetName returns the name.
func (e *ExternalSecretApplyConfiguration) GetName() *string { return e.Name }

// GetNamespace returns the namespace.
func (e *ExternalSecretApplyConfiguration) GetNamespace() *string { return e.Namespace }

package mcpclient

import (
	"cmp"
	"time"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// externalSecret reads the source of a client's keys. What the store does not have any more stays in the Secret: the gates
// know when a key ends, and a store that is empty by mistake must cost nobody the last good one.
func externalSecret(c *v1alpha1.MCPClient, store *v1alpha1.ClientKeyStore) *manifests.ExternalSecretApplyConfiguration {
	name, labels := SourceName(c.Name, store.Namespace), objectLabels(c.Name, store.Namespace)
	es := manifests.ExternalSecret(name, c.Namespace)
	es.WithLabels(labels).WithOwnerReferences(controllerReference(c))
	es.Spec = &manifests.ExternalSecretSpec{
		RefreshPolicy: string(externalsecrets.RefreshPolicyPeriodic), RefreshInterval: interval(store.Source.RefreshInterval),
		SecretStoreRef: manifests.ExternalSecretStoreRef{Kind: string(v1alpha1.SecretStoreNamespaced), Name: store.StoreRef.Name},
		Target: manifests.ExternalSecretTarget{
			Name: name, CreationPolicy: string(externalsecrets.CreatePolicyOwner), DeletionPolicy: string(externalsecrets.DeletionPolicyRetain),
			Template: manifests.ExternalSecretTemplate{
				Type: string(corev1.SecretTypeOpaque), Metadata: manifests.ExternalSecretTemplateMetadata{Labels: labels},
			},
		},
		Data: []manifests.ExternalSecretData{{SecretKey: DataAPIKey, RemoteRef: manifests.ExternalSecretRemoteRef(store.Source.RemoteRef)}},
	}
	return es
}

// interval is spelled as external-secrets spells it when it writes the object back.
func interval(text string) string {
	d, err := time.ParseDuration(cmp.Or(text, "1h"))
	if err != nil {
		d = time.Hour
	}
	return d.String()
}

func controllerReference(c *v1alpha1.MCPClient) *applymetav1.OwnerReferenceApplyConfiguration {
	owner := ownerReference(c)
	return applymetav1.OwnerReference().
		WithAPIVersion(owner.APIVersion).WithKind(owner.Kind).WithName(owner.Name).WithUID(owner.UID).WithController(true)
}

// pushSecretApplyConfiguration is the part of a PushSecret (external-secrets.io/v1alpha1) that the operator sets: only fields
// that external-secrets v0.20 has.
type pushSecretApplyConfiguration struct {
	applymetav1.TypeMetaApplyConfiguration    `json:",inline"`
	*applymetav1.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`
	Spec                                      pushSecretSpec `json:"spec,omitzero"`
}

type pushSecretSpec struct {
	RefreshInterval string                             `json:"refreshInterval,omitempty"`
	UpdatePolicy    string                             `json:"updatePolicy,omitempty"`
	DeletionPolicy  string                             `json:"deletionPolicy,omitempty"`
	SecretStoreRefs []manifests.ExternalSecretStoreRef `json:"secretStoreRefs,omitempty"`
	Selector        pushSecretSelector                 `json:"selector,omitzero"`
	Data            []pushSecretData                   `json:"data,omitempty"`
}

type pushSecretSelector struct {
	Secret struct {
		Name string `json:"name,omitempty"`
	} `json:"secret,omitzero"`
}

type pushSecretData struct {
	Match struct {
		SecretKey string `json:"secretKey,omitempty"`
		RemoteRef struct {
			RemoteKey string `json:"remoteKey,omitempty"`
			Property  string `json:"property,omitempty"`
		} `json:"remoteRef,omitzero"`
	} `json:"match,omitzero"`
}

func (p *pushSecretApplyConfiguration) IsApplyConfiguration()  {}
func (p *pushSecretApplyConfiguration) GetKind() *string       { return p.Kind }
func (p *pushSecretApplyConfiguration) GetAPIVersion() *string { return p.APIVersion }
func (p *pushSecretApplyConfiguration) GetName() *string       { return p.Name }
func (p *pushSecretApplyConfiguration) GetNamespace() *string  { return p.Namespace }

// pushSecret writes the key of this id to the store.
func pushSecret(c *v1alpha1.MCPClient, store *v1alpha1.ClientKeyStore, id string) *pushSecretApplyConfiguration {
	p := &pushSecretApplyConfiguration{
		TypeMetaApplyConfiguration: *applymetav1.TypeMeta().
			WithAPIVersion(pushsecrets.SchemeGroupVersion.String()).WithKind(pushsecrets.PushSecretKind),
		ObjectMetaApplyConfiguration: applymetav1.ObjectMeta().
			WithName(SecretName(c.Name, store.Namespace)).WithNamespace(c.Namespace).
			WithLabels(objectLabels(c.Name, store.Namespace)).WithOwnerReferences(controllerReference(c)),
	}
	p.Spec.RefreshInterval = interval("")
	p.Spec.UpdatePolicy = string(pushsecrets.PushSecretUpdatePolicyReplace)
	p.Spec.DeletionPolicy = string(pushsecrets.PushSecretDeletionPolicyNone)
	if store.Push.DeletionPolicy == v1alpha1.PushDelete {
		p.Spec.DeletionPolicy = string(pushsecrets.PushSecretDeletionPolicyDelete)
	}
	p.Spec.SecretStoreRefs = []manifests.ExternalSecretStoreRef{{Kind: string(v1alpha1.SecretStoreNamespaced), Name: store.StoreRef.Name}}
	p.Spec.Selector.Secret.Name = PushName(c.Name, store.Namespace, id)
	data := pushSecretData{}
	data.Match.SecretKey = DataAPIKey
	data.Match.RemoteRef.RemoteKey, data.Match.RemoteRef.Property = store.Push.RemoteKey, store.Push.Property
	p.Spec.Data = []pushSecretData{data}
	return p
}

package mcpclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// +kubebuilder:rbac:groups=external-secrets.io,resources=externalsecrets;pushsecrets,verbs=get;list;watch;create;patch;delete

// PushSecrets is the API of external-secrets that writes to stores. A cluster may have the one that reads without it.
var PushSecrets = optional.API{
	Name: "external-secrets' PushSecret", Key: pushsecrets.Group + "/pushsecrets", Version: pushsecrets.SchemeGroupVersion,
	Resources: []string{"pushsecrets"}, Cached: []client.Object{&pushsecrets.PushSecret{}},
}

// Reasons of conditions.
const (
	reasonStoreAPIMissing = "ExternalSecretsMissing"
	reasonClusterStore    = "ClusterScopedStore"
	reasonSourceNotReady  = "SourceNotReady"
	reasonSourceUnusable  = "SourceKeyUnusable"
	reasonSourceOld       = "SourceKeyNotNew"
	reasonStoreNotReady   = "WaitingForStore"
)

// stored is what one look found out about the external stores of a credential.
type stored struct {
	// spec is the store; nil without one.
	spec *v1alpha1.ClientKeyStore
	// text is the key that the source offers; it is a secret. offered is what may be told of it, nil when it cannot be used.
	text    []byte
	offered *keys.Held
	// pushing is the id of the key that the PushSecret names, pushed says that the store has it.
	pushing string
	pushed  bool
	// problem is what keeps keys from coming or going; nil when nothing does.
	problem *trouble
}

// storeOf is the external store for the keys of a namespace of servers; nil without one.
func storeOf(c *v1alpha1.MCPClient, servers string) *v1alpha1.ClientKeyStore {
	i := slices.IndexFunc(c.Spec.APIKey.Stores, func(s v1alpha1.ClientKeyStore) bool { return s.Namespace == servers })
	if i < 0 || !access.UsesKeys(c) {
		return nil
	}
	return &c.Spec.APIKey.Stores[i]
}

func sources(s *v1alpha1.ClientKeyStore) bool {
	return s != nil && s.Type == v1alpha1.KeyStoreSource && s.Source != nil
}

func pushes(s *v1alpha1.ClientKeyStore) bool {
	return s != nil && s.Type == v1alpha1.KeyStorePush && s.Push != nil
}

// stores reads what the external stores have to do with the credential.
func (r *Reconciler) stores(ctx context.Context, in *input, cred *credential, live bool) error {
	cred.store = stored{spec: storeOf(in.client, cred.servers)}
	switch {
	case sources(cred.store.spec):
		return r.readSource(ctx, in, cred, live)
	case pushes(cred.store.spec):
		return r.readPush(ctx, in, cred, live)
	}
	return nil
}

// storeProblem is what is wrong before any store is asked; nil when nothing is.
func (r *Reconciler) storeProblem(in *input, field, api, name string, ref v1alpha1.SecretStoreRef) *trouble {
	switch {
	case ref.Kind == v1alpha1.SecretStoreCluster && !in.floor.ClusterStore(ref.Name):
		return &trouble{reasonClusterStore, fmt.Sprintf("%s.storeRef.kind: ClusterSecretStore is cluster-scoped, and no security profile allows it here; use a SecretStore of namespace %s",
			field, in.client.Namespace), true}
	case !r.APIs.Served(api):
		return &trouble{reasonStoreAPIMissing, fmt.Sprintf("%s needs %s, which the cluster does not have; install it, and this goes on by itself", field, name), true}
	}
	return nil
}

func (r *Reconciler) readSource(ctx context.Context, in *input, cred *credential, live bool) error {
	s := &cred.store
	field := fmt.Sprintf("spec.apiKey.stores[%s]", cred.servers)
	if s.problem = r.storeProblem(in, field, externalsecrets.Group, "external-secrets", s.spec.StoreRef); s.problem != nil {
		return nil
	}
	key := client.ObjectKey{Namespace: in.client.Namespace, Name: SourceName(in.client.Name, cred.servers)}
	es, secret := &externalsecrets.ExternalSecret{}, &corev1.Secret{}
	if found, err := r.read(ctx, key, es, live); err != nil || !found {
		return err
	}
	at := metav1.GetControllerOfNoCopy(es)
	if at == nil || at.UID != in.client.UID {
		return nil // applying it finds the conflict
	}
	if failed(es) {
		s.problem = &trouble{reasonSourceNotReady, fmt.Sprintf("%s: ExternalSecret %s is not Ready; see its status. The last good key is kept", field, key), false}
	}
	found, err := r.read(ctx, key, secret, live)
	if err != nil || !found {
		return err
	}
	if owner := metav1.GetControllerOfNoCopy(secret); owner == nil || owner.UID != es.UID {
		s.problem = &trouble{reasonChildConflict, fmt.Sprintf("Secret %s exists and does not belong to ExternalSecret %s; delete or rename it", key, key), true}
		return nil
	}
	text := strings.TrimRight(string(secret.Data[DataAPIKey]), "\r\n")
	id, err := keys.Identify(text)
	if err != nil {
		s.problem = &trouble{reasonSourceUnusable, fmt.Sprintf("%s: the store gives what is %s. The last good key is kept", field, err), true}
		return nil
	}
	offered := &keys.Held{ID: id, SHA256: keys.Hash(text), Since: in.now}
	for _, k := range cred.before {
		if k.ID == id && (k.SHA256 != offered.SHA256 || k.State != keys.Current && k.State != keys.Pending && k.State != keys.Distributed) {
			s.problem = &trouble{reasonSourceOld, fmt.Sprintf("%s: the store gives key %s, whose time here is over (%s); put a new one there. The last good key is kept", field, id, k.State), true}
		}
	}
	if slices.Contains(in.client.Spec.RevokedKeys, id) {
		s.problem = &trouble{reasonSourceOld, fmt.Sprintf("%s: the store gives key %s, which spec.revokedKeys names; put a new one there", field, id), true}
		return nil
	}
	s.text, s.offered = []byte(text), offered
	return nil
}

// failed says whether the store could not be read. What it did not say yet is no failure.
func failed(es *externalsecrets.ExternalSecret) bool {
	return slices.ContainsFunc(es.Status.Conditions, func(c externalsecrets.ExternalSecretStatusCondition) bool {
		return c.Type == externalsecrets.ExternalSecretReady && c.Status == corev1.ConditionFalse
	})
}

func (r *Reconciler) readPush(ctx context.Context, in *input, cred *credential, live bool) error {
	s := &cred.store
	field := fmt.Sprintf("spec.apiKey.stores[%s]", cred.servers)
	if s.problem = r.storeProblem(in, field, PushSecrets.Key, "external-secrets with its PushSecret", s.spec.StoreRef); s.problem != nil {
		return nil
	}
	ps, key := &pushsecrets.PushSecret{}, client.ObjectKey{Namespace: in.client.Namespace, Name: SecretName(in.client.Name, cred.servers)}
	found, err := r.read(ctx, key, ps, live)
	if err != nil || !found {
		return err
	}
	owner := metav1.GetControllerOfNoCopy(ps)
	switch {
	case predecessor(owner, in.client):
		cred.deleting, cred.blocked = true, true
		return nil
	case owner == nil || owner.UID != in.client.UID:
		s.problem = &trouble{reasonChildConflict, fmt.Sprintf("PushSecret %s exists and does not belong to this client; it is left alone, and nothing is pushed: delete or rename it", key), true}
		return nil
	case ps.Spec.Selector.Secret == nil:
		return nil
	}
	id, ours := strings.CutPrefix(ps.Spec.Selector.Secret.Name, PushName(in.client.Name, cred.servers, ""))
	if !ours || !keys.IsID(id) {
		return nil
	}
	version := &corev1.Secret{}
	found, err = r.read(ctx, client.ObjectKey{Namespace: key.Namespace, Name: ps.Spec.Selector.Secret.Name}, version, live)
	if h := held(version); err != nil || !found || h == nil || h.ID != id || !metav1.IsControlledBy(version, in.client) {
		return err // what is to be pushed is not there: it is made again
	}
	s.pushing = id
	s.pushed = strings.HasPrefix(ps.Status.SyncedResourceVersion, fmt.Sprintf("%d-", ps.Generation))
	for _, c := range ps.Status.Conditions {
		if c.Type == pushsecrets.PushSecretReady && c.Status != corev1.ConditionTrue {
			s.pushed = false
			s.problem = &trouble{reasonStoreNotReady, fmt.Sprintf("%s: PushSecret %s is not Ready; see its status. The store has the key before, which is accepted for its overlap", field, key), false}
		}
	}
	s.pushed = s.pushed && len(ps.Status.Conditions) > 0
	return nil
}

// read reads an object of ours, past the cache if need be.
func (r *Reconciler) read(ctx context.Context, key client.ObjectKey, object client.Object, live bool) (bool, error) {
	if !live {
		return r.find(ctx, key, object)
	}
	err := r.Live.Get(ctx, key, object)
	return err == nil, client.IgnoreNotFound(err)
}

// applyStores makes the ExternalSecret, and keeps the PushSecret as the spec says.
func (r *Reconciler) applyStores(ctx context.Context, in *input, cred *credential) error {
	s := &cred.store
	wrong := s.problem != nil && (s.problem.reason == reasonClusterStore || s.problem.reason == reasonStoreAPIMissing)
	var wanted apply.Configuration
	switch {
	case wrong || cred.blocked:
		return nil
	case sources(s.spec):
		// external-secrets would overwrite a Secret of somebody else.
		name := client.ObjectKey{Namespace: in.client.Namespace, Name: SourceName(in.client.Name, cred.servers)}
		target := &corev1.Secret{}
		found, err := r.find(ctx, name, target)
		if err != nil {
			return err
		}
		if owner := metav1.GetControllerOfNoCopy(target); found && (owner == nil || owner.Kind != externalsecrets.ExtSecretKind || owner.Name != name.Name) {
			s.problem = &trouble{reasonChildConflict, fmt.Sprintf("Secret %s exists and does not belong to this client; it is left alone: delete or rename it", name), true}
			return nil
		}
		wanted = externalSecret(in.client, s.spec)
	case pushes(s.spec) && s.pushing != "":
		wanted = pushSecret(in.client, s.spec, s.pushing)
	default:
		return nil
	}
	_, err := r.applier.Apply(ctx, wanted)
	var contended *apply.ContendedError
	if errors.As(err, &contended) {
		s.problem = &trouble{reasonChildConflict, err.Error(), true}
		return nil
	}
	_, err = cred.handle(err)
	return err
}

// push sends a key to the external store: a Secret of its own, so that nobody can take one key for another, and the PushSecret
// that names it.
func (r *Reconciler) push(ctx context.Context, in *input, cred *credential) error {
	text := keyIn(cred.waiting, cred.step.Push)
	if text == nil {
		text = keyIn(cred.secret, cred.step.Push)
	}
	if text == nil || !pushes(cred.store.spec) || cred.store.problem != nil && cred.store.problem.lasting {
		return nil
	}
	secret := keySecret(in.client, cred.servers, PushName(in.client.Name, cred.servers, cred.step.Push), map[string][]byte{DataAPIKey: text})
	before := &corev1.Secret{}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(secret), before)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return err
	case err != nil:
		if err := r.create(ctx, secret); err != nil {
			return err
		}
	case !metav1.IsControlledBy(before, in.client):
		cred.conflict = "Secret " + client.ObjectKeyFromObject(secret).String()
		return nil
	case string(before.Data[DataAPIKey]) != string(text):
		return r.delete(ctx, before) // the next look makes it again
	}
	_, err = r.applier.Apply(ctx, pushSecret(in.client, cred.store.spec, cred.step.Push))
	_, err = cred.handle(err)
	return err
}

// keyIn is the key of this id that a Secret holds; nil when it holds another.
func keyIn(secret *corev1.Secret, id string) []byte {
	if h := held(secret); h == nil || h.ID != id {
		return nil
	}
	return secret.Data[DataAPIKey]
}

// pruneStores deletes what no source and no push of the spec needs any more.
func (r *Reconciler) pruneStores(ctx context.Context, in *input) error {
	wanted := func(object client.Object, has func(servers string) bool) bool {
		servers := object.GetLabels()[ServersLabel]
		_, kept := in.lingering[servers]
		_, granted := in.granted[servers]
		return kept || granted && has(servers) || !object.GetDeletionTimestamp().IsZero() || !metav1.IsControlledBy(object, in.client)
	}
	labels := client.MatchingLabels{apply.ManagedByLabel: apply.ManagedBy, apply.NameLabel: component, instanceLabel: in.client.Name}
	if r.APIs.Served(externalsecrets.Group) {
		list := externalsecrets.ExternalSecretList{}
		if err := r.Client.List(ctx, &list, client.InNamespace(in.client.Namespace), labels); err != nil {
			return err
		}
		for i := range list.Items {
			if wanted(&list.Items[i], func(s string) bool { return sources(storeOf(in.client, s)) }) {
				continue
			}
			if err := r.applier.Delete(ctx, &list.Items[i]); err != nil {
				return err
			}
		}
	}
	if r.APIs.Served(PushSecrets.Key) {
		list := pushsecrets.PushSecretList{}
		if err := r.Client.List(ctx, &list, client.InNamespace(in.client.Namespace), labels); err != nil {
			return err
		}
		for i := range list.Items {
			if wanted(&list.Items[i], func(s string) bool { return pushes(storeOf(in.client, s)) }) {
				continue
			}
			if err := r.applier.Delete(ctx, &list.Items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// spent says whether a Secret is a pushed version that no push needs any more.
func spent(in *input, all []*credential, secret *corev1.Secret) bool {
	for _, cred := range all {
		if id, ours := strings.CutPrefix(secret.Name, PushName(in.client.Name, cred.servers, "")); ours && keys.IsID(id) {
			return !pushes(cred.store.spec) || id != cred.store.pushing && id != cred.step.Push && cred.store.problem == nil
		}
	}
	return false
}

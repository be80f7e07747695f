package mcpclient

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// certificateState is how far the client certificate is.
type certificateState int

const (
	certificatePending certificateState = iota
	certificateIssued
	certificateDistrusted // no authority that is known vouches for it
	certificateNoAPI
	certificateNone // the client has none
)

// credential is what one look found out about the credentials for one namespace of servers.
type credential struct {
	servers string
	// secret and waiting are the client's Secret and the one in which a new key waits; nil where there is none.
	secret, waiting *corev1.Secret
	// before are the keys that the status records.
	before []keys.Record
	// step is what is needed; nothing while something is in the way.
	step keys.Step
	// schedule is when the keys are replaced, wrong what is wrong with it in the spec.
	schedule keys.Schedule
	wrong    error
	// lacking are those who do not accept a new key yet.
	lacking []string
	// conflict is the object of somebody else that is in the way, as "Kind namespace/name"; empty without one.
	conflict string
	// blocked says that the keys cannot be touched now.
	blocked bool
	// deleting says that an object of ours, or of an earlier client of the same name, is about to go.
	deleting    bool
	certificate certificateState
	// store is what external stores have to do with the keys.
	store stored
	// used is when keys were used last, by their ids, as far as the gates were asked.
	used map[string]time.Time
}

// look reads the Secrets of all namespaces of servers and says what their keys need.
func (r *Reconciler) look(ctx context.Context, in *input, live bool) ([]*credential, error) {
	var all []*credential
	for _, servers := range in.namespaces() {
		cred := &credential{servers: servers, before: records(in.client, servers)}
		cred.schedule, cred.wrong = schedule(in.client, servers)
		var err error
		if cred.secret, err = r.secret(ctx, in, cred, SecretName(in.client.Name, servers), live); err != nil {
			return nil, err
		}
		if cred.waiting, err = r.secret(ctx, in, cred, WaitingSecretName(in.client.Name, servers), live); err != nil {
			return nil, err
		}
		if err := r.stores(ctx, in, cred, live); err != nil {
			return nil, err
		}
		if err := r.plan(ctx, in, cred); err != nil {
			return nil, err
		}
		all = append(all, cred)
	}
	return all, nil
}

// secret reads a Secret of ours; nil when there is none. One that is not ours is a conflict, and one that is being deleted
// has to be waited for.
func (r *Reconciler) secret(ctx context.Context, in *input, cred *credential, name string, live bool) (*corev1.Secret, error) {
	secret, key := &corev1.Secret{}, client.ObjectKey{Namespace: in.client.Namespace, Name: name}
	var found bool
	var err error
	if live {
		err = r.Live.Get(ctx, key, secret)
		found, err = err == nil, client.IgnoreNotFound(err)
	} else {
		found, err = r.find(ctx, key, secret)
	}
	if err != nil || !found {
		return nil, err
	}
	owner := metav1.GetControllerOfNoCopy(secret)
	switch {
	case !secret.DeletionTimestamp.IsZero(), predecessor(owner, in.client):
		cred.deleting, cred.blocked = true, true
	case owner == nil || owner.UID != in.client.UID:
		cred.conflict, cred.blocked = "Secret "+key.String(), true
	}
	return secret, nil
}

// predecessor says whether the owner is an earlier client of the same name: the garbage collector is about to act.
func predecessor(owner *metav1.OwnerReference, c *v1alpha1.MCPClient) bool {
	return owner != nil && owner.Kind == "MCPClient" && owner.Name == c.Name && owner.UID != c.UID
}

// plan asks the state machine what the keys need. While something is in the way they stay as they are: gates know their end.
func (r *Reconciler) plan(ctx context.Context, in *input, cred *credential) error {
	cred.step = keys.Step{Records: cred.before}
	if cred.blocked {
		return nil
	}
	if !access.UsesKeys(in.client) {
		cred.step = keys.End(cred.before, cred.waiting != nil)
		return nil
	}
	facts := keys.Facts{
		Records: cred.before, Client: held(cred.secret), ClientExists: cred.secret != nil, Waiting: held(cred.waiting), WaitingExists: cred.waiting != nil,
		Revoked: in.client.Spec.RevokedKeys, Now: in.now,
		Sourced: sources(cred.store.spec), Source: cred.store.offered,
		Push: pushes(cred.store.spec), Pushing: cred.store.pushing, Pushed: cred.store.pushed,
	}
	if err := r.listen(ctx, in, cred, &facts); err != nil {
		return err
	}
	cred.step = keys.Next(facts, cred.schedule)
	r.paces.pace(in, cred)
	if p := cred.store.problem; cred.step.Action == keys.Push && p != nil && p.lasting {
		cred.step.Action, cred.step.Storing = keys.Nothing, true // nothing can be sent
	}
	return nil
}

// held is the key that a Secret holds; nil when it holds none.
func held(secret *corev1.Secret) *keys.Held {
	if secret == nil {
		return nil
	}
	text := string(secret.Data[DataAPIKey])
	id, err := keys.Identify(text)
	if err != nil {
		return nil
	}
	return &keys.Held{ID: id, SHA256: keys.Hash(text), Since: secret.CreationTimestamp.Time}
}

// act takes the action of the step. Every write fails when the object is not the one that was looked at.
func (r *Reconciler) act(ctx context.Context, in *input, cred *credential) error {
	switch cred.step.Action {
	case keys.Issue:
		key, err := r.nextKey(cred)
		if err != nil {
			return err
		}
		if cred.secret != nil {
			return r.update(ctx, in, cred, key) // there is no key in it
		}
		data := content(cred.servers, key, in.granted[cred.servers], nil)
		return r.create(ctx, keySecret(in.client, cred.servers, SecretName(in.client.Name, cred.servers), data))
	case keys.Prepare:
		if cred.givesBack() {
			r.paces.gaveBack(in, cred)
		}
		key, err := r.nextKey(cred)
		if err != nil {
			return err
		}
		data := map[string][]byte{DataAPIKey: key}
		return r.create(ctx, keySecret(in.client, cred.servers, WaitingSecretName(in.client.Name, cred.servers), data))
	case keys.Deliver:
		key := cred.waiting.Data[DataAPIKey]
		if cred.secret == nil {
			data := content(cred.servers, key, in.granted[cred.servers], nil)
			return r.create(ctx, keySecret(in.client, cred.servers, SecretName(in.client.Name, cred.servers), data))
		}
		return r.update(ctx, in, cred, key)
	case keys.Push:
		return r.push(ctx, in, cred)
	case keys.Discard:
		return r.delete(ctx, cred.waiting)
	}
	return nil
}

// nextKey is the key that is offered or, for a client without a source, a new one.
func (r *Reconciler) nextKey(cred *credential) ([]byte, error) {
	if sources(cred.store.spec) {
		return cred.store.text, nil
	}
	key, err := r.newKey()
	return []byte(key.Text), err
}

// refresh brings everything in the client's Secret but the key up to date. A Secret that is about to get a key is left to
// that write.
func (r *Reconciler) refresh(ctx context.Context, in *input, cred *credential) error {
	if !access.UsesKeys(in.client) && !cred.blocked {
		if cred.secret != nil {
			return r.update(ctx, in, cred, nil)
		}
		data := content(cred.servers, nil, in.granted[cred.servers], nil)
		return r.create(ctx, keySecret(in.client, cred.servers, SecretName(in.client.Name, cred.servers), data))
	}
	if cred.secret == nil || cred.blocked || cred.step.Action == keys.Deliver || held(cred.secret) == nil {
		return nil
	}
	return r.update(ctx, in, cred, cred.secret.Data[DataAPIKey])
}

// update writes the whole content of the client's Secret, unless it is as wanted.
func (r *Reconciler) update(ctx context.Context, in *input, cred *credential, key []byte) error {
	wanted := cred.secret.DeepCopy()
	wanted.ManagedFields = nil // a cache may have shortened them; without them the API server keeps its own
	wanted.Data = content(cred.servers, key, in.granted[cred.servers], cred.secret.Data[DataCABundle])
	if wanted.Labels == nil {
		wanted.Labels = map[string]string{}
	}
	maps.Copy(wanted.Labels, objectLabels(in.client.Name, cred.servers))
	if reflect.DeepEqual(wanted.Data, cred.secret.Data) && maps.Equal(wanted.Labels, cred.secret.Labels) {
		return nil
	}
	err := r.Client.Update(ctx, wanted, client.FieldOwner(apply.FieldOwner))
	if apierrors.IsInvalid(err) {
		// Somebody made it immutable: the next look makes another.
		return r.delete(ctx, cred.secret)
	}
	if err == nil {
		cred.secret = wanted
	}
	return err
}

func (r *Reconciler) create(ctx context.Context, secret *corev1.Secret) error {
	return r.Client.Create(ctx, secret, client.FieldOwner(apply.FieldOwner))
}

func (r *Reconciler) delete(ctx context.Context, secret *corev1.Secret) error {
	uid, version := secret.UID, secret.ResourceVersion
	return client.IgnoreNotFound(r.Client.Delete(ctx, secret, client.Preconditions{UID: &uid, ResourceVersion: &version}))
}

// handle takes what an apply says about objects in the way; other errors are the caller's.
func (c *credential) handle(err error) (handled bool, _ error) {
	var conflict *apply.ConflictError
	var deleting *apply.DeletingError
	switch {
	case errors.As(err, &conflict) && conflict.Predecessor, errors.As(err, &deleting):
		c.deleting = true
	case errors.As(err, &conflict):
		c.conflict = conflict.Object
	default:
		return false, err
	}
	return true, nil
}

// anyPending says whether a look asks for anything to be done to a key.
func anyPending(all []*credential) bool {
	return anyRecorded(all) || slices.ContainsFunc(all, func(c *credential) bool { return c.step.Action != keys.Nothing })
}

// anyRecorded says whether a look changes what the status records of the keys.
func anyRecorded(all []*credential) bool {
	return slices.ContainsFunc(all, func(c *credential) bool { return !slices.EqualFunc(c.step.Records, c.before, sameRecord) })
}

func sameRecord(a, b keys.Record) bool {
	return a.ID == b.ID && a.SHA256 == b.SHA256 && a.State == b.State && a.IssuedAt.Equal(b.IssuedAt) && a.NotAfter.Equal(b.NotAfter) &&
		a.ActivatedAt.Equal(b.ActivatedAt) && a.ReplacedAt.Equal(b.ReplacedAt)
}

// records are the keys that the client's status records for a namespace of servers, in the order of package keys.
func records(c *v1alpha1.MCPClient, servers string) []keys.Record {
	var out []keys.Record
	for _, credential := range c.Status.Credentials {
		if credential.Namespace != servers {
			continue
		}
		for _, k := range credential.Keys {
			out = append(out, keys.Record{
				ID: k.ID, SHA256: k.SHA256, State: keys.State(k.State), IssuedAt: k.IssuedAt.UTC(), NotAfter: k.NotAfter.UTC(),
				ActivatedAt: timeOf(k.ActivatedAt), ReplacedAt: timeOf(k.ReplacedAt),
			})
		}
	}
	keys.Sort(out)
	return out
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func optionalTime(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t}
}

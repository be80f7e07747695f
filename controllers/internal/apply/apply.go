// Package apply brings objects to the state that a builder wants: by server-side apply, without a write where nothing
// differs, and never touching an object that is not ours.
package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldOwner is the field manager of everything that the operator applies; statuses have owners of their own.
const FieldOwner = "bartizan"

// HashAnnotation holds the hash of the configuration that was last applied. It shows that a field was taken out of the
// configuration, which the object alone cannot show.
const HashAnnotation = "bartizan.dev/applied"

// The labels that make an object without a controller ours.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	NameLabel      = "app.kubernetes.io/name"
	ManagedBy      = "bartizan"
)

// Configuration is an apply configuration as the generators write them.
type Configuration interface {
	runtime.ApplyConfiguration
	GetKind() *string
	GetAPIVersion() *string
	GetName() *string
	GetNamespace() *string
}

// Outcome is what Apply did.
type Outcome string

// What Apply did. Repaired: fields that somebody else had added or changed were taken back.
const (
	Unchanged Outcome = "Unchanged"
	Created   Outcome = "Created"
	Changed   Outcome = "Changed"
	Repaired  Outcome = "Repaired"
)

// Applier writes objects.
type Applier struct {
	client     client.Client
	live       client.Reader
	contention contention
}

// New returns an Applier. It reads through c, whose caches may be restricted to our objects, and asks live, which has no
// cache, only before it creates an object and after it found a foreign change.
func New(c client.Client, live client.Reader) *Applier {
	return &Applier{client: c, live: live}
}

// Apply makes the object as desired, unless it already is. An object that exists is ours when it has the controller
// that desired names or, where desired names none, desired's managed-by and name labels; otherwise the error is a
// *ConflictError and nothing is written.
func (a *Applier) Apply(ctx context.Context, desired Configuration) (Outcome, error) {
	want, err := content(desired)
	if err != nil {
		return Unchanged, err
	}
	live, err := a.find(ctx, want)
	switch {
	case apierrors.IsNotFound(err):
		return Created, a.write(ctx, want)
	case err != nil:
		return Unchanged, err
	}
	if err := owned(want, live); err != nil {
		return Unchanged, err
	}
	if live.GetDeletionTimestamp() != nil {
		return Unchanged, &DeletingError{Object: describe(live)}
	}
	outcome := Changed
	if foreign(live.GetManagedFields()) {
		outcome = Repaired
		if !a.contention.allow(live.GetUID(), time.Now()) {
			return Unchanged, &ContendedError{Object: describe(live), Manager: writer(live.GetManagedFields())}
		}
		if err := a.takeOver(ctx, live); err != nil {
			return Unchanged, err
		}
	} else if current(want, live) {
		return Unchanged, nil
	}
	// An apply to another object than the one just judged fails.
	want.SetUID(live.GetUID())
	return outcome, a.write(ctx, want)
}

// Adopt adds owner as a plain owner of an object that another controller writes, so that the object goes when owner goes.
// It does nothing where owner is an owner already.
func (a *Applier) Adopt(ctx context.Context, owner client.Object, object client.Object) error {
	for _, reference := range object.GetOwnerReferences() {
		if reference.UID == owner.GetUID() {
			return nil
		}
	}
	gvk, err := a.client.GroupVersionKindFor(object)
	if err != nil {
		return err
	}
	ownerGVK, err := a.client.GroupVersionKindFor(owner)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(object.GetNamespace())
	u.SetName(object.GetName())
	u.SetUID(object.GetUID())
	u.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: ownerGVK.GroupVersion().String(), Kind: ownerGVK.Kind, Name: owner.GetName(), UID: owner.GetUID(),
	}})
	return a.write(ctx, u)
}

func (a *Applier) write(ctx context.Context, u *unstructured.Unstructured) error {
	return a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldOwner), client.ForceOwnership)
}

// find returns the object from the cache or, where the cache does not hold it, from the API server: what is not ours may
// be hidden from the cache.
func (a *Applier) find(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	typed, err := a.typed(want.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	key := client.ObjectKeyFromObject(want)
	err = a.client.Get(ctx, key, typed)
	if apierrors.IsNotFound(err) {
		err = a.live.Get(ctx, key, typed)
	}
	if err != nil {
		return nil, err
	}
	return toUnstructured(typed, want.GroupVersionKind())
}

func (a *Applier) typed(gvk schema.GroupVersionKind) (client.Object, error) {
	object, err := a.client.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	typed, ok := object.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", gvk)
	}
	return typed, nil
}

func toUnstructured(object client.Object, gvk schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// content returns the configuration with the annotation that holds its hash.
func content(desired Configuration) (*unstructured.Unstructured, error) {
	encoded, err := json.Marshal(desired)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(encoded, &u.Object); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(encoded)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[HashAnnotation] = hex.EncodeToString(sum[:16])
	u.SetAnnotations(annotations)
	return u, nil
}

func describe(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
}

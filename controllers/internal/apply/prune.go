package apply

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Reference names an object of some namespace.
type Reference struct {
	Kind, Name string
}

// ReferenceTo returns the reference of a configuration.
func ReferenceTo(c Configuration) Reference {
	r := Reference{}
	if c.GetKind() != nil {
		r.Kind = *c.GetKind()
	}
	if c.GetName() != nil {
		r.Name = *c.GetName()
	}
	return r
}

// Prune deletes the objects of the given kinds that owner controls and keep does not name. Call it only after every
// apply succeeded. It reads the cache, so the kinds must be watched.
func (a *Applier) Prune(ctx context.Context, owner client.Object, kinds []schema.GroupVersionKind, keep map[Reference]bool) ([]Reference, error) {
	var pruned []Reference
	for _, kind := range kinds {
		list, err := a.client.Scheme().New(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err != nil {
			return pruned, err
		}
		objects := list.(client.ObjectList)
		if err := a.client.List(ctx, objects, client.InNamespace(owner.GetNamespace()), client.MatchingLabels{ManagedByLabel: ManagedBy}); err != nil {
			return pruned, err
		}
		items, err := meta.ExtractList(objects)
		if err != nil {
			return pruned, err
		}
		for _, item := range items {
			object := item.(client.Object)
			reference := Reference{Kind: kind.Kind, Name: object.GetName()}
			if keep[reference] || object.GetDeletionTimestamp() != nil || !metav1.IsControlledBy(object, owner) {
				continue
			}
			if err := a.Delete(ctx, object); err != nil {
				return pruned, err
			}
			pruned = append(pruned, reference)
		}
	}
	return pruned, nil
}

// Delete deletes exactly the object that was read, with what it owns. That it is gone already is no error.
func (a *Applier) Delete(ctx context.Context, object client.Object) error {
	uid := object.GetUID()
	err := a.client.Delete(ctx, object, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}

package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ConflictError says that an object of the wanted name exists and is not ours.
type ConflictError struct {
	// Object is the object, as "Kind namespace/name".
	Object string
	// Controller is who controls it, as "Kind name"; empty when nobody does.
	Controller string
	// Predecessor says that the controller is an earlier object of the same kind and name: the garbage collector has
	// yet to remove this one.
	Predecessor bool
}

func (e *ConflictError) Error() string {
	switch {
	case e.Predecessor:
		return fmt.Sprintf("%s still belongs to a deleted %s and is about to be collected", e.Object, e.Controller)
	case e.Controller != "":
		return fmt.Sprintf("%s exists and belongs to %s", e.Object, e.Controller)
	default:
		return fmt.Sprintf("%s exists and was not made by bartizan", e.Object)
	}
}

// DeletingError says that an object of ours is being deleted, so that it cannot be brought to any state now.
type DeletingError struct {
	// Object is the object, as "Kind namespace/name".
	Object string
}

func (e *DeletingError) Error() string { return e.Object + " is being deleted" }

// owned returns nil when live is the object that want is about, and a *ConflictError when it is somebody else's.
func owned(want, live *unstructured.Unstructured) error {
	mine, theirs := metav1.GetControllerOfNoCopy(want), metav1.GetControllerOfNoCopy(live)
	if theirs != nil {
		if mine != nil && mine.UID == theirs.UID {
			return nil
		}
		return &ConflictError{
			Object: describe(live), Controller: theirs.Kind + " " + theirs.Name,
			Predecessor: mine != nil && mine.Kind == theirs.Kind && mine.Name == theirs.Name,
		}
	}
	labels := live.GetLabels()
	if mine == nil && labels[ManagedByLabel] == ManagedBy && labels[NameLabel] == want.GetLabels()[NameLabel] {
		return nil
	}
	return &ConflictError{Object: describe(live)}
}

// takeOver makes us the owner of all contents of the object, so that the next apply removes what it does not name. It is
// the only way: an apply leaves alone what others own.
func (a *Applier) takeOver(ctx context.Context, cached *unstructured.Unstructured) error {
	object, err := a.typed(cached.GroupVersionKind())
	if err != nil {
		return err
	}
	if err := a.live.Get(ctx, client.ObjectKeyFromObject(cached), object); err != nil {
		return err
	}
	entries, err := united(object.GetManagedFields())
	if err != nil {
		return err
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": cached.GetUID()},
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()},
	})
	if err != nil {
		return err
	}
	return a.client.Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(FieldOwner))
}

// united returns the entries with what is foreign in the contents merged into ours. The rest of a foreign entry stays
// somebody else's: a finalizer that we owned would go with our next apply.
func united(entries []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	var ours *metav1.ManagedFieldsEntry
	var others, taken []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		switch {
		case entry.Manager == FieldOwner && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "":
			ours = &entry
		case foreignEntry(entry):
			taken = append(taken, entry)
		default:
			others = append(others, entry)
		}
	}
	if ours == nil {
		if len(taken) == 0 {
			return entries, nil
		}
		first := taken[0]
		first.Manager, first.Operation = FieldOwner, metav1.ManagedFieldsOperationApply
		first.FieldsV1 = metav1.NewFieldsV1("{}")
		ours = &first
	}
	set, err := fields(*ours)
	if err != nil {
		return nil, err
	}
	for _, entry := range taken {
		more, err := fields(entry)
		if err != nil {
			return nil, err
		}
		theirs := beyondContents(more)
		set = set.Union(more.Difference(theirs))
		if theirs.Empty() {
			continue
		}
		if entry.FieldsV1, err = encoded(theirs); err != nil {
			return nil, err
		}
		others = append(others, entry)
	}
	if ours.FieldsV1, err = encoded(set); err != nil {
		return nil, err
	}
	return append(others, *ours), nil
}

func encoded(set *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return nil, err
	}
	return metav1.NewFieldsV1(string(bytes.TrimSpace(raw))), nil
}

package apply

import (
	"bytes"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// current says whether an apply of want would change nothing: all that want says is in live, and want is what was
// applied last.
func current(want, live *unstructured.Unstructured) bool {
	return want.GetAnnotations()[HashAnnotation] == live.GetAnnotations()[HashAnnotation] && within(want.Object, live.Object)
}

// within says whether live says all that want says. A list of objects holds its elements in any order: the API server
// keeps them by key. What live has beyond want is judged by its owner, see foreign.
func within(want, live any) bool {
	switch want := want.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		for key, value := range want {
			if empty(value) && empty(live[key]) {
				continue
			}
			other, ok := live[key]
			if !ok || !within(value, other) {
				return false
			}
		}
		return true
	case []any:
		live, _ := live.([]any)
		if len(live) < len(want) {
			return false
		}
		for i, value := range want {
			if _, object := value.(map[string]any); !object {
				if len(live) != len(want) || !reflect.DeepEqual(value, live[i]) {
					return false
				}
				continue
			}
			found := within(value, live[i])
			for j := 0; j < len(live) && !found; j++ {
				found = within(value, live[j])
			}
			if !found {
				return false
			}
		}
		return true
	default:
		return same(want, live)
	}
}

// same says whether two scalars mean the same: types of Kubernetes rewrite durations (1h, 1h0m0s) and quantities.
func same(want, live any) bool {
	if reflect.DeepEqual(want, live) {
		return true
	}
	a, isString := want.(string)
	b, areStrings := live.(string)
	if !isString || !areStrings {
		return false
	}
	if x, err := time.ParseDuration(a); err == nil {
		if y, err := time.ParseDuration(b); err == nil {
			return x == y
		}
	}
	x, errA := resource.ParseQuantity(a)
	y, errB := resource.ParseQuantity(b)
	return errA == nil && errB == nil && x.Cmp(y) == 0
}

// empty says whether the API server may leave a value out.
func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	default:
		return false
	}
}

// contents are the top-level fields that the operator alone decides. Metadata may carry more than ours, status is
// somebody else's, and some clusters add to ServiceAccounts.
var contents = map[string]bool{"spec": true, "rules": true, "subjects": true, "data": true}

// restartAnnotations is the one place inside contents where others may add: "kubectl rollout restart" does.
var restartAnnotations = fieldpath.MakePathOrDie("spec", "template", "metadata", "annotations")

// foreign says whether somebody else owns a field of the object's contents.
func foreign(entries []metav1.ManagedFieldsEntry) bool {
	for _, entry := range entries {
		if foreignEntry(entry) {
			return true
		}
	}
	return false
}

func foreignEntry(entry metav1.ManagedFieldsEntry) bool {
	if entry.Manager == FieldOwner || entry.Subresource != "" || entry.FieldsV1 == nil {
		return false
	}
	set, err := fields(entry)
	if err != nil {
		return true
	}
	found := false
	set.Leaves().Iterate(func(path fieldpath.Path) {
		if len(path) == 0 || path[0].FieldName == nil || !contents[*path[0].FieldName] {
			return
		}
		if len(path) >= len(restartAnnotations) && path[:len(restartAnnotations)].Equals(restartAnnotations) {
			return
		}
		found = true
	})
	return found
}

// beyondContents returns the part of a set that is not about contents.
func beyondContents(set *fieldpath.Set) *fieldpath.Set {
	rest := fieldpath.NewSet()
	set.Iterate(func(path fieldpath.Path) {
		if len(path) == 0 || path[0].FieldName == nil || !contents[*path[0].FieldName] {
			rest.Insert(path.Copy())
		}
	})
	return rest
}

func fields(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := &fieldpath.Set{}
	return set, set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes()))
}

// Strip is a transform for caches of objects that are applied: of the managed fields, which are most of a small object,
// it keeps only what Apply looks at.
func Strip(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		var kept []metav1.ManagedFieldsEntry
		for _, entry := range o.GetManagedFields() {
			if foreignEntry(entry) {
				kept = append(kept, entry)
			}
		}
		o.SetManagedFields(kept)
	}
	return object, nil
}

// Foreign says whether somebody else changed the contents of an object.
func Foreign(object client.Object) bool { return foreign(object.GetManagedFields()) }

package apply

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Taking back the contents of an object must not take what others legitimately put beside them: an apply that owns a
// finalizer and does not name it removes it.
func TestUnitedLeavesMetadataToOthers(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
	}
	theirs := entry("others", metav1.ManagedFieldsOperationUpdate,
		`{"f:metadata":{"f:finalizers":{".":{},"v:\"example.com/cleanup\"":{}}},"f:spec":{"f:interval":{}}}`)
	for name, entries := range map[string][]metav1.ManagedFieldsEntry{
		"beside ours": {entry(FieldOwner, metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:name":{}}}`), theirs},
		"alone":       {theirs},
	} {
		t.Run(name, func(t *testing.T) {
			united, err := united(entries)
			if err != nil {
				t.Fatal(err)
			}
			if foreign(united) {
				t.Error("somebody else still owns contents")
			}
			var found int
			for _, e := range united {
				set, err := fields(e)
				if err != nil {
					t.Fatal(err)
				}
				switch rest := beyondContents(set); {
				case e.Manager == FieldOwner && !rest.Empty():
					t.Errorf("we own what is not contents: %s", rest)
				case e.Manager != FieldOwner:
					found++
					if want := `{"f:metadata":{"f:finalizers":{".":{},"v:\"example.com/cleanup\"":{}}}}`; string(e.FieldsV1.GetRawBytes()) != want {
						t.Errorf("the other owner is left with %s, want %s", e.FieldsV1.GetRawBytes(), want)
					}
				}
			}
			if found != 1 {
				t.Errorf("%d other owners are left, want 1", found)
			}
		})
	}
}

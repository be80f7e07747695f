package apply

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := utiljson.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestWithin(t *testing.T) {
	for _, test := range []struct {
		name, want, live string
		within           bool
	}{
		{"equal", `{"a":1,"b":["x"]}`, `{"a":1,"b":["x"]}`, true},
		{"defaults beside", `{"a":1}`, `{"a":1,"b":2}`, true},
		{"another value", `{"a":1}`, `{"a":2}`, false},
		{"missing", `{"a":1}`, `{}`, false},
		{"empty and missing", `{"a":{},"b":[]}`, `{}`, true},
		{"zero is not missing", `{"a":0}`, `{}`, false},
		{"another type", `{"a":"1"}`, `{"a":1}`, false},
		{"scalars in another order", `{"a":["x","y"]}`, `{"a":["y","x"]}`, false},
		{"one scalar more", `{"a":["x"]}`, `{"a":["x","y"]}`, false},
		{"objects with defaults, in another order", `{"a":[{"n":"x"},{"n":"y"}]}`, `{"a":[{"n":"y","d":1},{"n":"x","d":1}]}`, true},
		{"an object is missing", `{"a":[{"n":"x"},{"n":"y"}]}`, `{"a":[{"n":"x"}]}`, false},
		{"an object of another value", `{"a":[{"n":"x","v":1}]}`, `{"a":[{"n":"x","v":2}]}`, false},
		{"a duration spelled otherwise", `{"a":"1h"}`, `{"a":"1h0m0s"}`, true},
		{"another duration", `{"a":"1h"}`, `{"a":"2h0m0s"}`, false},
		{"a quantity spelled otherwise", `{"a":"1000m"}`, `{"a":"1"}`, true},
		{"another quantity", `{"a":"1Gi"}`, `{"a":"1G"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := within(decode(t, test.want), decode(t, test.live)); got != test.within {
				t.Errorf("got %v", got)
			}
		})
	}
}

func entry(manager, subresource, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func TestForeign(t *testing.T) {
	for _, test := range []struct {
		name    string
		entry   metav1.ManagedFieldsEntry
		foreign bool
	}{
		{"ours", entry(FieldOwner, "", `{"f:spec":{"f:replicas":{}}}`), false},
		{"the status of a controller", entry("kube-controller-manager", "status", `{"f:status":{"f:replicas":{}}}`), false},
		{"an annotation", entry("kubectl", "", `{"f:metadata":{"f:annotations":{"f:note":{}}}}`), false},
		{"a restart", entry("kubectl-rollout", "", `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`), false},
		{"a label of the pods", entry("kubectl", "", `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{"f:a":{}}}}}}`), true},
		{"a field of the spec", entry("kubectl-edit", "", `{"f:spec":{"f:template":{"f:spec":{"f:hostNetwork":{}}}}}`), true},
		{"rules", entry("kubectl-edit", "", `{"f:rules":{}}`), true},
		{"data", entry("kubectl-edit", "", `{"f:data":{"f:config.json":{}}}`), true},
		{"something else than fields", entry("kubectl-edit", "", `no JSON`), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := foreign([]metav1.ManagedFieldsEntry{test.entry}); got != test.foreign {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestOwned(t *testing.T) {
	object := func(labels map[string]string, owner ...metav1.OwnerReference) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"kind": "Secret"}}
		u.SetName("x")
		u.SetLabels(labels)
		u.SetOwnerReferences(owner)
		return u
	}
	yes := true
	mine := metav1.OwnerReference{Kind: "MCPServer", Name: "a", UID: "1", Controller: &yes}
	earlier, another := mine, mine
	earlier.UID = "0"
	another.UID, another.Name = "2", "b"
	ours := map[string]string{ManagedByLabel: ManagedBy, NameLabel: "authority"}
	others := map[string]string{ManagedByLabel: ManagedBy, NameLabel: "mcpserver"}
	for _, test := range []struct {
		name        string
		want, live  *unstructured.Unstructured
		conflict    bool
		predecessor bool
	}{
		{"ours", object(nil, mine), object(nil, mine), false, false},
		{"an earlier object's of the same name", object(nil, mine), object(nil, earlier), true, true},
		{"another object's", object(nil, mine), object(nil, another), true, false},
		{"nobody's", object(nil, mine), object(others), true, false},
		{"ours by label", object(ours), object(ours), false, false},
		{"a label of another part", object(ours), object(others), true, false},
		{"somebody's with our label", object(ours), object(ours, another), true, false},
		{"without labels", object(ours), object(nil), true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := owned(test.want, test.live)
			var conflict *ConflictError
			ok := errors.As(err, &conflict)
			if ok != test.conflict || (ok && conflict.Predecessor != test.predecessor) {
				t.Errorf("got %v", err)
			}
		})
	}
}

package api_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// foreign are the fields whose content is Kubernetes' own.
var foreign = []string{
	"metadata",
	"spec.kubernetesAccess.rules[*]",
	"spec.network.egress[*].ports[*]",
	"spec.network.egress[*].to[*]",
	"spec.network.ingress[*].from[*]",
	"spec.pod.affinity",
	"spec.pod.probes.liveness",
	"spec.pod.probes.readiness",
	"spec.pod.probes.startup",
	"spec.pod.tolerations[*]",
	"spec.pod.topologySpreadConstraints[*]",
	"spec.podSelector",
	"spec.resources",
	"spec.servers.selector",
	"status",
}

func fieldName(path []string) string {
	return strings.ReplaceAll(strings.Join(path, "."), "."+anyItem, anyItem)
}

func isForeign(name string) bool {
	return slices.ContainsFunc(foreign, func(f string) bool {
		return name == f || strings.HasPrefix(name, f+".") || strings.HasPrefix(name, f+"[")
	})
}

// place is where a value is in an object.
type place struct {
	// name is as the API server writes it: spec.env[0].name.
	name string
	set  func(value any)
	get  func() any
}

// places finds the values at a path of the schema.
func places(object map[string]any, path []string) []place {
	found := []place{{get: func() any { return object }}}
	for _, step := range path {
		var next []place
		for _, at := range found {
			switch value := at.get().(type) {
			case map[string]any:
				if _, ok := value[step]; ok {
					next = append(next, place{
						name: strings.TrimPrefix(at.name+"."+step, "."),
						set:  func(v any) { value[step] = v },
						get:  func() any { return value[step] },
					})
				}
			case []any:
				for i := range value {
					next = append(next, place{
						name: at.name + "[" + strconv.Itoa(i) + "]",
						set:  func(v any) { value[i] = v },
						get:  func() any { return value[i] },
					})
				}
			}
		}
		found = next
	}
	return found
}

// breach is a change that goes beyond one bound, and what the user then reads.
type breach struct {
	bound  string
	change func(at place) (want string)
}

func breaches(t testing.TB, n *node) []breach {
	t.Helper()
	var all []breach
	add := func(bound string, change func(at place) string) { all = append(all, breach{bound, change}) }
	for _, field := range n.Required {
		add("required "+field, func(at place) string {
			delete(at.get().(map[string]any), field)
			return at.name + "." + field + ": Required value"
		})
	}
	if values := n.enum(t); len(values) > 0 {
		add("enum", func(at place) string {
			at.set("Unheard")
			return fmt.Sprintf("%s: Unsupported value: %q: supported values: %s", at.name, "Unheard", `"`+strings.Join(values, `", "`)+`"`)
		})
	}
	if n.Pattern != "" {
		add("pattern", func(at place) string {
			at.set("!")
			return fmt.Sprintf(`%s: Invalid value: "!": %s in body should match '%s'`, at.name, at.name, n.Pattern)
		})
	}
	if n.MinLength != nil && *n.MinLength > 0 {
		add("minLength", func(at place) string {
			at.set("")
			return fmt.Sprintf(`%s: Invalid value: "": %s in body should be at least %d chars long`, at.name, at.name, *n.MinLength)
		})
	}
	if n.MaxLength != nil {
		add("maxLength", func(at place) string {
			at.set(strings.Repeat("a", int(*n.MaxLength)+1))
			return fmt.Sprintf("%s: Too long: may not be more than %d bytes", at.name, *n.MaxLength)
		})
	}
	if n.Minimum != nil {
		add("minimum", func(at place) string {
			at.set(int64(*n.Minimum) - 1)
			return fmt.Sprintf("%s: Invalid value: %d: %s in body should be greater than or equal to %d", at.name, int64(*n.Minimum)-1, at.name, int64(*n.Minimum))
		})
	}
	if n.Maximum != nil && *n.Maximum < 1<<31-1 {
		add("maximum", func(at place) string {
			at.set(int64(*n.Maximum) + 1)
			return fmt.Sprintf("%s: Invalid value: %d: %s in body should be less than or equal to %d", at.name, int64(*n.Maximum)+1, at.name, int64(*n.Maximum))
		})
	}
	if n.MinItems != nil {
		add("minItems", func(at place) string {
			at.set([]any{})
			return fmt.Sprintf("%s: Invalid value: 0: %s in body should have at least %d items", at.name, at.name, *n.MinItems)
		})
	}
	if n.MaxItems != nil {
		add("maxItems", func(at place) string {
			many := make([]any, *n.MaxItems+1)
			for i := range many {
				many[i] = at.get().([]any)[0]
			}
			at.set(many)
			return fmt.Sprintf("%s: Too many: %d: must have at most %d items", at.name, *n.MaxItems+1, *n.MaxItems)
		})
	}
	if n.MaxProperties != nil {
		add("maxProperties", func(at place) string {
			many := map[string]any{}
			for i := range *n.MaxProperties + 1 {
				many["k"+strconv.Itoa(int(i))] = "v"
			}
			at.set(many)
			return fmt.Sprintf("%s: Too many: %d: must have at most %d items", at.name, *n.MaxProperties+1, *n.MaxProperties)
		})
	}
	return all
}

// TestIntegrationEveryBoundIsEnforced goes beyond each bound of each field of the API, one at a time, in objects that are
// accepted otherwise. It fails where no sample has the field.
func TestIntegrationEveryBoundIsEnforced(t *testing.T) {
	c := client(t)
	objects := readAll(t)
	tried := 0
	for _, root := range schemas(t) {
		root.walk(func(path []string, n *node) {
			name := fieldName(path)
			if name == "" || isForeign(name) {
				return
			}
			for _, b := range breaches(t, n) {
				tried++
				t.Run(root.kind+" "+name+" "+b.bound, func(t *testing.T) {
					object, want := broken(objects, root.kind, path, b)
					if object == nil {
						t.Fatal("no sample has this field")
					}
					_, got := try(t.Context(), t, c, object)
					if !slices.Contains(got, want) {
						t.Errorf("the user reads %q, not %q", got, want)
					}
				})
			}
		})
	}
	if tried < 100 {
		t.Errorf("only %d bounds were found", tried)
	}
}

// broken returns a copy of the first object of a kind that has the path, changed at its first place.
func broken(objects []*unstructured.Unstructured, kind string, path []string, b breach) (*unstructured.Unstructured, string) {
	for _, object := range objects {
		if object.GetKind() != kind {
			continue
		}
		object = object.DeepCopy()
		if at := places(object.Object, path); len(at) > 0 {
			return object, b.change(at[0])
		}
	}
	return nil, ""
}

// TestNothingIsUnbounded shows that every string and list of the API's own has an upper bound.
func TestNothingIsUnbounded(t *testing.T) {
	for _, root := range schemas(t) {
		root.walk(func(path []string, n *node) {
			name := fieldName(path)
			if !strings.HasPrefix(name, "spec.") || isForeign(name) || strings.HasSuffix(name, anyKey) {
				return
			}
			unbounded := n.Type == "array" && n.MaxItems == nil ||
				n.Type == "object" && n.AdditionalProperties != nil && n.MaxProperties == nil ||
				n.Type == "string" && n.MaxLength == nil && len(n.Enum) == 0 && n.Format != "date-time"
			if unbounded {
				t.Errorf("%s: %s has no upper bound", root.kind, name)
			}
		})
	}
}

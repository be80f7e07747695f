package api_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// node is a part of a kind's schema.
type node struct {
	apiextensionsv1.JSONSchemaProps
}

// root is the schema of one kind.
type root struct {
	kind string
	node
}

// schemas returns the schemas of all kinds, from the generated CRDs.
func schemas(t testing.TB) []root {
	t.Helper()
	files, err := controlplane.CRDs(controlplane.Bartizan)
	if err != nil || len(files) != len(resources) {
		t.Fatalf("%d files with CRDs for %d kinds: %v", len(files), len(resources), err)
	}
	var roots []root
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(content, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		roots = append(roots, root{kind: crd.Spec.Names.Kind, node: node{*crd.Spec.Versions[0].Schema.OpenAPIV3Schema}})
	}
	return roots
}

// anyItem stands for each element of a list, anyKey for each value of a map, in a path.
const (
	anyItem = "[*]"
	anyKey  = "{*}"
)

// walk visits the schema and all below it.
func (n node) walk(visit func(path []string, n *node)) { n.walkFrom(nil, visit) }

func (n node) walkFrom(path []string, visit func([]string, *node)) {
	visit(path, &n)
	for _, name := range slices.Sorted(maps.Keys(n.Properties)) {
		node{n.Properties[name]}.walkFrom(append(slices.Clone(path), name), visit)
	}
	if n.Items != nil && n.Items.Schema != nil {
		node{*n.Items.Schema}.walkFrom(append(slices.Clone(path), anyItem), visit)
	}
	if n.AdditionalProperties != nil && n.AdditionalProperties.Schema != nil {
		node{*n.AdditionalProperties.Schema}.walkFrom(append(slices.Clone(path), anyKey), visit)
	}
}

func (n node) enum(t testing.TB) []string {
	t.Helper()
	var values []string
	for _, raw := range n.Enum {
		var value string
		if err := json.Unmarshal(raw.Raw, &value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	return values
}

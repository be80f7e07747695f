package helm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationManifestsConform: what either Helm renders is what the API server's own schemas say, with no field besides.
// The schemas are those of the API server of the tests, so that nothing is downloaded.
func TestIntegrationManifestsConform(t *testing.T) {
	schemas := schemasOf(t)
	check := func(t *testing.T, manifests []byte) error {
		_, err := conform(t, schemas, manifests)
		return err
	}
	for name, values := range variants {
		t.Run(name, func(t *testing.T) {
			for version, helm := range map[string]toolchain.Tool{"3": toolchain.Helm3, "4": toolchain.Helm4} {
				manifests, err := template(t, helm, values...)
				if err != nil {
					t.Fatal(err)
				}
				if err := check(t, manifests); err != nil {
					t.Errorf("Helm %s: %v", version, err)
				}
			}
		})
	}
	for _, overlay := range []string{"default", "namespaced", "ha", "monitoring"} {
		t.Run("config/"+overlay, func(t *testing.T) {
			manifests, err := execute(t, nil, program(t, toolchain.Kustomize), "build", filepath.Join(root, "config", overlay))
			if err != nil {
				t.Fatal(err)
			}
			if err := check(t, manifests); err != nil {
				t.Error(err)
			}
		})
	}
	// This test sees what is wrong.
	for name, wrong := range map[string]string{
		"an unknown field": "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selektor: {}}}",
		"a wrong type":     "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: two}}",
		"an unknown kind":  "{apiVersion: v1, kind: Servise, metadata: {name: a}}",
	} {
		t.Run(name, func(t *testing.T) {
			if check(t, []byte(wrong)) == nil {
				t.Error("it is accepted")
			}
		})
	}
}

func conform(t *testing.T, schemas string, manifests []byte) ([]byte, error) {
	t.Helper()
	printed, err := execute(t, manifests, program(t, toolchain.Kubeconform), "-strict", "-summary",
		"-schema-location", filepath.Join(schemas, "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"))
	if err != nil {
		return printed, fmt.Errorf("%w\n%s", err, printed)
	}
	return printed, nil
}

// schemasOf writes the schemas of all kinds into a folder, one file each, in which a field that is not named is wrong.
func schemasOf(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	clients, err := kubernetes.NewForConfig(controlplane.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	document, err := clients.Discovery().RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var served struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(document, &served); err != nil {
		t.Fatal(err)
	}
	for name, definition := range served.Definitions {
		served.Definitions[name] = strict(definition).(map[string]any)
	}
	kinds := 0
	for name, definition := range served.Definitions {
		names, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, entry := range names {
			kind := entry.(map[string]any)
			write(t, schemaFile(folder, kind["kind"].(string), kind["group"].(string), kind["version"].(string)),
				map[string]any{"$ref": "#/definitions/" + name, "definitions": needed(served.Definitions, name)})
			kinds++
		}
	}
	if kinds < 100 {
		t.Fatalf("the API server knows only %d kinds", kinds)
	}
	// The API server of the tests does not serve these.
	files, err := controlplane.CRDs(controlplane.Monitoring)
	if err != nil || len(files) == 0 {
		t.Fatalf("the CRDs of the Prometheus operator: %d, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(content, &crd); err != nil {
			t.Fatal(err)
		}
		for _, version := range crd.Spec.Versions {
			raw, err := json.Marshal(version.Schema.OpenAPIV3Schema)
			if err != nil {
				t.Fatal(err)
			}
			var schema map[string]any
			if err := json.Unmarshal(raw, &schema); err != nil {
				t.Fatal(err)
			}
			write(t, schemaFile(folder, crd.Spec.Names.Kind, crd.Spec.Group, version.Name), strict(schema))
		}
	}
	return folder
}

// needed are the definitions that one refers to, with itself.
func needed(definitions map[string]map[string]any, name string) map[string]any {
	found := map[string]any{}
	var follow func(any)
	follow = func(schema any) {
		switch s := schema.(type) {
		case []any:
			for _, part := range s {
				follow(part)
			}
		case map[string]any:
			if reference, ok := s["$ref"].(string); ok {
				to := strings.TrimPrefix(reference, "#/definitions/")
				if found[to] == nil {
					found[to] = definitions[to]
					follow(definitions[to])
				}
			}
			for _, part := range s {
				follow(part)
			}
		}
	}
	found[name] = definitions[name]
	follow(definitions[name])
	return found
}

// schemaFile is where kubeconform looks, for which the core group is called by its version.
func schemaFile(folder, kind, group, version string) string {
	if group == "" {
		group = version
	}
	return filepath.Join(folder, fmt.Sprintf("%s-%s-%s.json", strings.ToLower(kind), group, version))
}

// strict turns a schema of the API server into one that refuses unknown fields, and that a validator of JSON understands.
func strict(schema any) any {
	switch s := schema.(type) {
	case []any:
		for i := range s {
			s[i] = strict(s[i])
		}
	case map[string]any:
		if reference, ok := s["$ref"]; ok {
			return map[string]any{"$ref": reference}
		}
		if s["format"] == "int-or-string" || s["x-kubernetes-int-or-string"] == true {
			return map[string]any{"type": []any{"integer", "string"}}
		}
		delete(s, "format") // int32 and the like
		if _, ok := s["properties"].(map[string]any); ok && s["additionalProperties"] == nil && s["x-kubernetes-preserve-unknown-fields"] != true {
			s["additionalProperties"] = false
		}
		for _, key := range []string{"items", "additionalProperties"} {
			if _, ok := s[key]; ok {
				s[key] = strict(s[key])
			}
		}
		for _, key := range []string{"properties"} {
			if properties, ok := s[key].(map[string]any); ok {
				for name := range maps.Clone(properties) {
					properties[name] = strict(properties[name])
				}
			}
		}
		for _, key := range []string{"oneOf", "anyOf", "allOf", "not"} {
			delete(s, key)
		}
	}
	return schema
}

func write(t *testing.T, file string, content any) {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

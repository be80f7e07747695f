// Package api_test tests the API of the group bartizan.dev as users meet it: on a real API server, with the words that they
// read when something is wrong.
package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

// resources are the kinds of the API by name.
var resources = map[string]string{
	"MCPServer":       "mcpservers",
	"MCPClient":       "mcpclients",
	"MCPAccessPolicy": "mcpaccesspolicies",
	clusterScoped:     "mcpsecurityprofiles",
}

// clusterScoped is the kind that is in no namespace.
const clusterScoped = "MCPSecurityProfile"

// of is where objects of a kind are: those of a namespace, but for the kind that is in none.
func of(client dynamic.Interface, kind, namespace string) dynamic.ResourceInterface {
	if kind == clusterScoped {
		return client.Resource(resource(kind))
	}
	return client.Resource(resource(kind)).Namespace(namespace)
}

const samples = "../../config/samples"

func resource(kind string) schema.GroupVersionResource {
	return v1alpha1.GroupVersion.WithResource(resources[kind])
}

// read returns the objects of a YAML file.
func read(t testing.TB, file string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, content)
}

func decode(t testing.TB, content []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// readAll returns the objects of the samples and of testdata that are of this API.
func readAll(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, dir := range []string{samples, samples + "/*", "testdata"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no file in %s: %v", dir, err)
		}
		for _, file := range files {
			for _, object := range read(t, file) {
				if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
					objects = append(objects, object)
				}
			}
		}
	}
	return objects
}

// merged returns a copy of base with the fields of a YAML patch: objects are merged, everything else is replaced, and null
// removes.
func merged(t testing.TB, base *unstructured.Unstructured, patch string) *unstructured.Unstructured {
	t.Helper()
	changes := map[string]any{}
	if err := yaml.Unmarshal([]byte(patch), &changes); err != nil {
		t.Fatal(err)
	}
	object := base.DeepCopy()
	merge(object.Object, changes)
	return object
}

func merge(into, changes map[string]any) {
	for key, change := range changes {
		nested, isObject := change.(map[string]any)
		existing, wasObject := into[key].(map[string]any)
		switch {
		case change == nil:
			delete(into, key)
		case isObject && wasObject:
			merge(existing, nested)
		default:
			into[key] = change
		}
	}
}

// try asks the API server to create an object in the namespace default, without keeping it, and returns what it would
// have stored and the causes of a refusal, each as "field: message".
func try(ctx context.Context, t testing.TB, client dynamic.Interface, object *unstructured.Unstructured) (stored *unstructured.Unstructured, causes []string) {
	t.Helper()
	object = object.DeepCopy()
	if object.GetKind() != clusterScoped {
		object.SetNamespace(metav1.NamespaceDefault)
	}
	stored, err := of(client, object.GetKind(), metav1.NamespaceDefault).Create(ctx, object,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	if err == nil {
		return stored, nil
	}
	return nil, causesOf(t, err)
}

func causesOf(t testing.TB, err error) []string {
	t.Helper()
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		t.Fatalf("not an answer of the API server: %v", err)
	}
	if status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0 {
		return []string{status.ErrStatus.Message}
	}
	causes := map[string]bool{}
	for _, cause := range status.ErrStatus.Details.Causes {
		causes[cause.Field+": "+cause.Message] = true
	}
	return slices.Sorted(maps.Keys(causes))
}

func client(t testing.TB) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(controlplane.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

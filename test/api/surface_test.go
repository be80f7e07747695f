package api_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestIntegrationNamesOfTheKinds(t *testing.T) {
	found, err := discovery.NewDiscoveryClientForConfigOrDie(controlplane.Start(t)).ServerResourcesForGroupVersion("bartizan.dev/v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	type names struct {
		ShortNames, Categories []string
		Namespaced             bool
	}
	got := map[string]names{}
	for _, r := range found.APIResources {
		got[r.Name] = names{r.ShortNames, r.Categories, r.Namespaced}
	}
	want := map[string]names{
		"mcpservers":               {[]string{"mcps"}, []string{"mcp"}, true},
		"mcpservers/status":        {Namespaced: true},
		"mcpservers/scale":         {Namespaced: true},
		"mcpclients":               {[]string{"mcpc"}, []string{"mcp"}, true},
		"mcpclients/status":        {Namespaced: true},
		"mcpaccesspolicies":        {[]string{"mcpap"}, []string{"mcp"}, true},
		"mcpaccesspolicies/status": {Namespaced: true},

		"mcpsecurityprofiles":        {[]string{"mcpsp"}, []string{"mcp"}, false},
		"mcpsecurityprofiles/status": {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the resources (-want +got):\n%s", diff)
	}
}

// created returns an object of a sample that is stored in a namespace of its own, with a status.
func created(t *testing.T, config *rest.Config, file, status string) (dynamic.ResourceInterface, *unstructured.Unstructured) {
	t.Helper()
	sample := read(t, samples+"/"+file)[0]
	resource := of(dynamic.NewForConfigOrDie(config), sample.GetKind(), controlplane.Namespace(t, config, "api"))
	// A status that comes with the object must not be kept: it is the operator's to write. Until it does, the status is of no generation of the
	// spec: to tools that read kstatus an object without any status would be done.
	sample.Object["status"] = object(t, status)
	stored, err := resource.Create(t.Context(), sample, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if sample.GetKind() == clusterScoped {
		t.Cleanup(func() {
			if err := resource.Delete(context.Background(), sample.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	if diff := cmp.Diff(map[string]any{"observedGeneration": int64(-1)}, stored.Object["status"]); diff != "" {
		t.Errorf("the status after create (-want +got):\n%s", diff)
	}
	stored.Object["status"] = object(t, status)
	stored.SetLabels(map[string]string{"changed": "by-status"})
	if stored, err = resource.UpdateStatus(t.Context(), stored, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if stored.Object["status"] == nil {
		t.Error("the status subresource did not keep the status")
	}
	if stored.GetLabels()["changed"] != "" {
		t.Error("the status subresource changed the metadata")
	}
	return resource, stored
}

const ready = `{"type": "Ready", "status": "False", "reason": "ImageNotPinned", "message": "spec.image has no digest", "lastTransitionTime": "2026-01-01T00:00:00Z"}`

func TestIntegrationColumns(t *testing.T) {
	config := controlplane.Start(t)
	for _, test := range []struct {
		file, status string
		want         []string
	}{
		{
			"mcpserver-all-fields.yaml",
			`{"conditions": [` + ready + `, {"type": "Verified", "status": "True", "reason": "Verified", "message": "", "lastTransitionTime": "2030-01-01T00:00:00Z"}],
			"posture": {"score": 87, "coverage": 60, "passed": 1, "failed": 2, "warned": 3, "unknown": 4, "exempted": 5}, "url": "https://mcp.example.com/mcp", "readyReplicas": 0, "image": "a@sha256:b"}`,
			[]string{
				"Name=github-tools", "Ready=False", "Reason=ImageNotPinned", "Replicas=0", "Class=Confidential", "Posture=87", "URL=https://mcp.example.com/mcp", "Age",
				"wide Owner=team-a@example.com", "wide Image=a@sha256:b", "wide Verified=True", "wide Message=spec.image has no digest",
			},
		},
		{
			"mcpclient.yaml",
			`{"conditions": [` + ready + `], "credentials": [{"namespace": "default", "secretName": "agent.default", "nextRotation": "2030-01-01T00:00:00Z"}]}`,
			[]string{"Name=agent", "Ready=False", "Reason=ImageNotPinned", "Secrets=agent.default", "Next rotation=2030-01-01T00:00:00Z", "Age", "wide Message=spec.image has no digest"},
		},
		{
			"mcpaccesspolicy.yaml",
			`{"conditions": [` + ready + `], "matchedServers": 1}`,
			[]string{"Name=agents", "Ready=False", "Reason=ImageNotPinned", "Servers=1", "Age", "wide Message=spec.image has no digest"},
		},
		{
			"mcpsecurityprofile.yaml",
			`{"namespaces": 3, "servers": 5, "clients": 7, "below": 2}`,
			[]string{"Name=everything", "Enforcement=DryRun", "Namespaces=3", "Servers=5", "Clients=7", "Below=2", "Age"},
		},
	} {
		t.Run(test.file, func(t *testing.T) {
			_, stored := created(t, config, test.file, test.status)
			at := path.Join("/apis/bartizan.dev/v1alpha1/namespaces", stored.GetNamespace(), resources[stored.GetKind()])
			if stored.GetKind() == clusterScoped {
				at = path.Join("/apis/bartizan.dev/v1alpha1", resources[clusterScoped])
			}
			var table metav1.Table
			err := kubernetes.NewForConfigOrDie(config).Discovery().RESTClient().Get().
				AbsPath(at).
				SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
				Do(t.Context()).Into(&table)
			if err != nil {
				t.Fatal(err)
			}
			if len(table.Rows) != 1 {
				t.Fatalf("%d rows", len(table.Rows))
			}
			var got []string
			for i, column := range table.ColumnDefinitions {
				text := column.Name
				if column.Name != "Age" {
					text += "=" + fmt.Sprint(table.Rows[0].Cells[i])
				}
				if column.Priority > 0 {
					text = "wide " + text
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("what kubectl shows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIntegrationScale(t *testing.T) {
	config := controlplane.Start(t)
	servers, stored := created(t, config, "mcpserver.yaml", `{"replicas": 2, "selector": "bartizan.dev/server=everything"}`)
	scale, err := servers.Get(t.Context(), stored.GetName(), metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if selector, _, _ := unstructured.NestedString(scale.Object, "status", "selector"); selector != "bartizan.dev/server=everything" {
		t.Errorf("status.selector of the scale is %q", selector)
	}
	if replicas, _, _ := unstructured.NestedInt64(scale.Object, "status", "replicas"); replicas != 2 {
		t.Errorf("status.replicas of the scale is %d", replicas)
	}
	if err := unstructured.SetNestedField(scale.Object, int64(3), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	if _, err := servers.Update(t.Context(), scale, metav1.UpdateOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	scaled, err := servers.Get(t.Context(), stored.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if replicas, _, _ := unstructured.NestedInt64(scaled.Object, "spec", "replicas"); replicas != 3 {
		t.Errorf("spec.replicas is %d after scaling to 3", replicas)
	}
	// The manifest, which says nothing about replicas, is applied again.
	manifest := read(t, samples+"/mcpserver.yaml")[0]
	again, err := servers.Apply(t.Context(), manifest.GetName(), manifest, metav1.ApplyOptions{FieldManager: "gitops", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if replicas, _, _ := unstructured.NestedInt64(again.Object, "spec", "replicas"); replicas != 3 {
		t.Errorf("spec.replicas is %d after the manifest was applied again", replicas)
	}
}

// TestIntegrationStatusIsBounded shows that a status, too, must keep to its schema, so that a fault of the operator shows early.
func TestIntegrationStatusIsBounded(t *testing.T) {
	config := controlplane.Start(t)
	clients, stored := created(t, config, "mcpclient.yaml", `{"observedGeneration": 1}`)
	stored.Object["status"] = object(t, `{"credentials": [{"namespace": "default", "keys": [
		{"id": "a", "sha256": "b", "state": "Lost", "issuedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-02T00:00:00Z"}]}]}`)
	_, err := clients.UpdateStatus(t.Context(), stored, metav1.UpdateOptions{})
	if err == nil {
		t.Fatal("a key in an unknown state was accepted")
	}
	const want = `status.credentials[0].keys[0].state: Unsupported value: "Lost": supported values: "Pending", "Distributed", "Current", "Draining", "Retired", "Revoked"`
	if got := causesOf(t, err); !slices.Contains(got, want) {
		t.Errorf("the operator reads %q, not %q", got, want)
	}
}

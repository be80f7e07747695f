package gitops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kinds are Flux's, with their API versions.
var kinds = map[string]string{
	"Kustomization": "kustomize.toolkit.fluxcd.io/v1", "HelmRelease": "helm.toolkit.fluxcd.io/v2", "OCIRepository": "source.toolkit.fluxcd.io/v1",
}

func get(ctx context.Context, f *fleet, apiVersion, kind, namespace, name string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	return object, f.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
}

func (f *fleet) exists(t *testing.T, apiVersion, kind, namespace, name string) bool {
	t.Helper()
	_, err := get(t.Context(), f, apiVersion, kind, namespace, name)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

// condition is a condition of one of Flux's objects.
func (f *fleet) condition(t *testing.T, kind, namespace, name, condition string) metav1.Condition {
	t.Helper()
	object, err := get(t.Context(), f, kinds[kind], kind, namespace, name)
	must(t, err)
	all, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	must(t, err)
	for _, one := range all {
		fields, _ := one.(map[string]any)
		if fields["type"] == condition {
			text := func(name string) string { value, _ := fields[name].(string); return value }
			return metav1.Condition{Type: condition, Status: metav1.ConditionStatus(text("status")), Reason: text("reason"), Message: text("message")}
		}
	}
	return metav1.Condition{}
}

// An application is a line of the log of kustomize-controller: it has applied the objects of a Kustomization, and says what became of each.
// Its events say less, and are dropped when there are many.
type application struct {
	Time          string            `json:"ts"`
	Message       string            `json:"msg"`
	Kustomization client.ObjectKey  `json:"Kustomization"`
	Output        map[string]string `json:"output"`
}

func (f *fleet) applications(t *testing.T) []application {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(filepath.Dir(f.environment.AuditLog), "fluxkustomize.log"))
	must(t, err)
	var all []application
	for line := range strings.Lines(string(log)) {
		var a application
		if strings.Contains(line, `"server-side apply `) && json.Unmarshal([]byte(line), &a) == nil && len(a.Output) > 0 {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		t.Fatal("kustomize-controller's log has nothing of what it applies: this test sees nothing")
	}
	return all
}

// applied is how often Flux has applied the servers.
func (f *fleet) applied(t *testing.T) (times int) {
	t.Helper()
	for _, a := range f.applications(t) {
		if a.Kustomization.Name == "servers" && a.Output["MCPServer/tools/pods"] != "" {
			times++
		}
	}
	return times
}

// changes are what Flux says that it has changed since a time.
func (f *fleet) changes(t *testing.T, since time.Time) []string {
	t.Helper()
	var all []string
	for _, a := range f.applications(t) {
		at, err := time.Parse("2006-01-02T15:04:05.000Z0700", a.Time)
		must(t, err)
		for object, action := range a.Output {
			if at.After(since) && action != "unchanged" {
				all = append(all, object+" "+action)
			}
		}
	}
	var events corev1.EventList
	must(t, f.List(t.Context(), &events, client.InNamespace("flux-system")))
	for _, event := range events.Items {
		// Times of events have seconds.
		if event.InvolvedObject.Kind == "HelmRelease" && !event.LastTimestamp.Time.Before(since.Truncate(time.Second)) {
			all = append(all, event.Reason+": "+event.Message)
		}
	}
	return all
}

// pods are the names of the servers' pods.
func (f *fleet) pods(t *testing.T) []string {
	t.Helper()
	var list corev1.PodList
	must(t, f.List(t.Context(), &list, client.InNamespace("tools")))
	var names []string
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

// assistant starts the pod that uses the servers.
func (f *fleet) assistant(t *testing.T) {
	t.Helper()
	manifest, err := os.ReadFile("testdata/pod.yaml")
	must(t, err)
	apply := exec.CommandContext(t.Context(), "bash", "-c", "kubectl apply --filename - && kubectl wait --namespace assistants pod/assistant --for condition=Ready --timeout 3m")
	apply.Env, apply.Stdin = f.variables, bytes.NewReader(bytes.ReplaceAll(manifest, []byte("CLIENT_IMAGE"), []byte(f.environment.Images["mcpclient"])))
	if output, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

// passing are kinds whose objects come and go by themselves.
var passing = []string{"events", "leases", "certificaterequests"}

// inventory is everything in the cluster, by kind and name.
func (f *fleet) inventory(t *testing.T) map[string]bool {
	t.Helper()
	served, err := discovery.NewDiscoveryClientForConfigOrDie(f.config).ServerPreferredResources()
	must(t, err)
	objects, err := metadata.NewForConfig(f.config)
	must(t, err)
	found := map[string]bool{}
	for _, list := range served {
		groupVersion, err := schema.ParseGroupVersion(list.GroupVersion)
		must(t, err)
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || slices.Contains(passing, resource.Name) {
				continue
			}
			all, err := objects.Resource(groupVersion.WithResource(resource.Name)).List(t.Context(), metav1.ListOptions{})
			var status *apierrors.StatusError
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || errors.As(err, &status) && status.ErrStatus.Reason == metav1.StatusReasonNotAcceptable {
				continue // It has just gone with its definition, or is no object.
			}
			must(t, err)
			for _, object := range all.Items {
				found[fmt.Sprintf("%s %s/%s", resource.Name, object.Namespace, object.Name)] = true
			}
		}
	}
	return found
}

// explain shows what Flux says of itself when something failed.
func (f *fleet) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	output, err := f.run("kubectl get kustomizations,helmreleases,ocirepositories --all-namespaces; kubectl get mcp --all-namespaces; " +
		"kubectl get pods --all-namespaces; kubectl get events --namespace flux-system --sort-by .lastTimestamp | tail -40")
	t.Logf("%s (%v)", output, err)
}

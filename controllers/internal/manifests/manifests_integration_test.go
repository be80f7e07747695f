package manifests

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgo "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

// cluster is an API server with a namespace that enforces the restricted Pod Security Standard.
func cluster(t *testing.T) (client.Client, string) {
	t.Helper()
	config := controlplane.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgo.AddToScheme, certmanagerv1.AddToScheme, esv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme, FieldOwner: "bartizan"})
	if err != nil {
		t.Fatal(err)
	}
	return c, controlplane.Namespace(t, config, "manifests", "pod-security.kubernetes.io/enforce", "restricted")
}

func in(namespace string, s *v1alpha1.MCPServer) Params {
	s.Namespace = namespace
	return params(s)
}

// TestIntegrationChildrenAreAccepted applies the children of every server twice: the API server takes them, and the second
// time nothing changes.
func TestIntegrationChildrenAreAccepted(t *testing.T) {
	c, namespace := cluster(t)
	for _, name := range servers(t) {
		if name == "suspended" {
			continue // the same server as minimal
		}
		t.Run(name, func(t *testing.T) {
			first, second := versions(t, c, in(namespace, server(t, name))), versions(t, c, in(namespace, server(t, name)))
			for child, version := range first {
				if second[child] != version {
					t.Errorf("an apply of the unchanged %s changes it", child)
				}
			}
		})
	}
}

// versions applies the children and returns their resource versions.
func versions(t *testing.T, c client.Client, p Params) map[string]string {
	t.Helper()
	children, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, child := range all(children) {
		if err := c.Apply(context.Background(), child.(runtime.ApplyConfiguration)); err != nil {
			t.Fatalf("%T: %v", child, err)
		}
		m := into[metav1.PartialObjectMetadata](t, withoutRest(t, child))
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(m.GroupVersionKind())
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(m), live); err != nil {
			t.Fatal(err)
		}
		seen[m.Kind+" "+m.Name] = live.GetResourceVersion()
	}
	return seen
}

// TestIntegrationPodsAreAdmitted makes pods of the templates in a namespace that enforces the restricted standard.
func TestIntegrationPodsAreAdmitted(t *testing.T) {
	c, namespace := cluster(t)
	for _, name := range servers(t) {
		p := in(namespace, server(t, name))
		p.Server.Spec.Pod = withoutClasses(p.Server.Spec.Pod)
		children, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		template := into[apps.Deployment](t, children.Deployment).Spec.Template
		account := &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: template.Spec.ServiceAccountName, Namespace: namespace}}
		if err := c.Create(context.Background(), account); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
		pod := &core.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Name, pod.Namespace = name, namespace
		if err := c.Create(context.Background(), pod); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, v := range pod.Spec.Volumes {
			if v.Projected != nil && v.Name != gateVolume && v.Name != tokenVolume {
				t.Errorf("%s: admission has added volume %s", name, v.Name)
			}
		}
	}
}

// withoutClasses are the settings without what the cluster would have to have.
func withoutClasses(pod *v1alpha1.PodSettings) *v1alpha1.PodSettings {
	if pod != nil {
		pod.PriorityClassName, pod.RuntimeClassName = "", ""
	}
	return pod
}

// TestIntegrationNothingIsHalfApplied: what Validate lets pass, the API server lets pass, in every child. Otherwise a bad spec
// would be noticed only after some children were applied.
func TestIntegrationNothingIsHalfApplied(t *testing.T) {
	c, namespace := cluster(t)
	accepted := 0
	for seed := uint64(0); accepted < 200; seed++ {
		children, err := Build(in(namespace, newDice(seed).server()))
		if err != nil {
			continue
		}
		accepted++
		for _, child := range all(children) {
			if err := c.Apply(context.Background(), child.(runtime.ApplyConfiguration), client.DryRunAll); err != nil {
				content, _ := json.MarshalIndent(child, "", " ")
				t.Errorf("seed %d: %v\n%s", seed, err, content)
			}
		}
	}
}

// TestIntegrationVariablesKeepTheirOrder: a value can refer only to variables before it, so secrets that are added later must
// still come first.
func TestIntegrationVariablesKeepTheirOrder(t *testing.T) {
	c, namespace := cluster(t)
	s := server(t, "secrets")
	s.Name = "order"
	withSecrets := in(namespace, s.DeepCopy())
	without := in(namespace, s.DeepCopy())
	without.Server.Spec.Secrets = nil
	for _, p := range []Params{without, withSecrets} {
		children, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(context.Background(), children.Deployment); err != nil {
			t.Fatal(err)
		}
	}
	var live apps.Deployment
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: "order"}, &live); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range live.Spec.Template.Spec.Containers[0].Env {
		names = append(names, e.Name)
	}
	if want := []string{"MAIL_USER", "MAIL_PASSWORD", "URL"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

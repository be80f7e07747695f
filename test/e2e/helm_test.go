package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

const (
	release       = "bartizan"
	gateContainer = "gate"
)

// kinds are ours, by their plural names.
var kinds = []string{"mcpservers", "mcpclients", "mcpaccesspolicies"}

// TestE2EHelm takes the operator through its life with Helm: two replicas, an uninstallation that keeps what runs; by Helm 4 an
// installation for some namespaces, an upgrade to one with everything off, and an uninstallation that leaves nothing; and an upgrade from
// an earlier version under load. It has the cluster for itself, and leaves it as it found it.
func TestE2EHelm(t *testing.T) {
	c := start(t)
	h := &helm{cluster: c}
	earlier := c.compilePrevious(t)
	kept := h.save(t)
	t.Cleanup(func() { h.restore(t, kept) })
	g := c.guard(t, func(s *v1alpha1.MCPServer) { s.Spec.Replicas = ptr.To(int32(2)) })
	for _, part := range []struct {
		name string
		do   func(*testing.T, *helm, *guarded)
	}{
		{"TwoReplicas", twoReplicas},
		{"UninstallKeeps", uninstallKeeps},
		{"Namespaced", namespaced},
		{"EverythingOff", everythingOff},
		{"UninstallRemoves", uninstallRemoves},
		{"UpgradeFromPrevious", func(t *testing.T, h *helm, _ *guarded) { upgradeFromPrevious(t, h, earlier()) }},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.do(t, h, g) }) {
			return // What follows needs it.
		}
	}
}

// helm runs Helm on a cluster.
type helm struct{ *cluster }

// run runs one version of Helm.
func (h *helm) run(t *testing.T, tool toolchain.Tool, arguments ...string) {
	t.Helper()
	// Not t.Context(), which has ended when the cluster is restored.
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	program, err := tool.Path(ctx)
	must(t, err)
	if h.kubeconfig != "" {
		arguments = append(arguments, "--kubeconfig", h.kubeconfig)
	}
	if h.context != "" {
		arguments = append(arguments, "--kube-context", h.context)
	}
	began := time.Now()
	if output, err := exec.CommandContext(ctx, program, append(arguments, "--namespace", operatorNamespace)...).CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v: %s", strings.Join(arguments, " "), err, output)
	}
	t.Logf("helm %s: %s", arguments[0], time.Since(began).Round(time.Millisecond))
}

// install installs this checkout's chart, or brings the release to it and to these values and no others.
func (h *helm) install(t *testing.T, tool toolchain.Tool, values ...string) {
	t.Helper()
	h.installChart(t, tool, "../../charts/bartizan", h.images["manager"], h.images["authproxy"], values...)
}

// installChart is install for any chart and images.
func (h *helm) installChart(t *testing.T, tool toolchain.Tool, chart, manager, gate string, values ...string) {
	t.Helper()
	arguments := []string{"upgrade", "--install", release, chart, "--wait", "--timeout", "3m", "--reset-values"}
	for name, image := range map[string]string{"manager": manager, "gate": gate} {
		repository, digest, _ := strings.Cut(image, "@")
		values = append(values, fmt.Sprintf("images.%s={%q:%q,%q:%q}", name, "repository", repository, "digest", digest))
	}
	for _, value := range values {
		arguments = append(arguments, "--set-json", value)
	}
	h.run(t, tool, arguments...)
}

// save returns the objects of ours that are there before the test.
func (h *helm) save(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, kind := range []string{"MCPServer", "MCPClient", "MCPAccessPolicy"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "bartizan.dev", Version: "v1alpha1", Kind: kind + "List"})
		must(t, h.List(t.Context(), list))
		for i := range list.Items {
			object := &unstructured.Unstructured{Object: map[string]any{"spec": list.Items[i].Object["spec"]}}
			object.SetGroupVersionKind(schema.GroupVersionKind{Group: "bartizan.dev", Version: "v1alpha1", Kind: kind})
			object.SetNamespace(list.Items[i].GetNamespace())
			object.SetName(list.Items[i].GetName())
			object.SetLabels(list.Items[i].GetLabels())
			all = append(all, object)
		}
	}
	return all
}

// restore installs the operator as the other tests expect it, and makes what went away with the definitions.
func (h *helm) restore(t *testing.T, kept []*unstructured.Unstructured) {
	h.install(t, toolchain.Helm3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, object := range kept {
		if err := h.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Errorf("restoring %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// deployment returns the Deployment of a server.
func (h *helm) deployment(ctx context.Context, server *v1alpha1.MCPServer) (*appsv1.Deployment, error) {
	d := &appsv1.Deployment{}
	return d, h.Get(ctx, client.ObjectKeyFromObject(server), d)
}

// twoReplicas: when the one at work dies, the other takes over.
func twoReplicas(t *testing.T, h *helm, g *guarded) {
	h.install(t, toolchain.Helm3, "replicas=2")
	holder := func(ctx context.Context) (string, error) {
		lease := &coordinationv1.Lease{}
		err := h.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "bartizan.dev"}, lease)
		name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
		if err == nil && name == "" {
			err = errors.New("nobody holds the lease")
		}
		return name, err
	}
	var first string
	eventually(t, "somebody is at work", time.Minute, func(ctx context.Context) (err error) {
		first, err = holder(ctx)
		return err
	})
	// Without a chance to give the lease up.
	must(t, h.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: first}}, client.GracePeriodSeconds(0)))
	took := eventually(t, "another takes over", time.Minute, func(ctx context.Context) error {
		now, err := holder(ctx)
		if err == nil && now == first {
			err = fmt.Errorf("%s still holds the lease", first)
		}
		return err
	})
	t.Logf("another operator was at work after %s", took)
	server := h.server(g.server.Namespace, "after-the-change")
	h.create(t, server)
	h.ready(t, server)
}

// uninstallKeeps: without the operator everything goes on as it was.
func uninstallKeeps(t *testing.T, h *helm, g *guarded) {
	before := h.processes(t, g.server)
	h.run(t, toolchain.Helm3, "uninstall", release, "--wait")
	for _, kind := range kinds {
		must(t, h.Get(t.Context(), client.ObjectKey{Name: kind + ".bartizan.dev"}, definition()))
	}
	must(t, h.Get(t.Context(), client.ObjectKeyFromObject(g.server), g.server))
	if err := h.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "bartizan-controller-manager"}, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("the operator is still there: %v", err)
	}
	if got := g.call(t, "echo", `{"text":"still here"}`); got.Outcome != result.OK {
		t.Errorf("the server does not answer any more: %+v", got)
	}
	g.unchanged(t, before)
}

// namespaced: the operator works where it was told to, and nowhere else. It is installed by Helm 4, beside the definitions
// that the last release left.
func namespaced(t *testing.T, h *helm, g *guarded) {
	elsewhere := h.server(h.namespace(t, "elsewhere"), "unseen")
	h.create(t, elsewhere)
	adoptable(t, h)
	h.install(t, toolchain.Helm4,
		fmt.Sprintf("watchNamespaces=[%q,%q]", g.server.Namespace, g.client.Namespace), `podAnnotations={"example.com/installed-by":"helm 4"}`)
	server := h.server(g.server.Namespace, "namespaced")
	server.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}}
	h.create(t, server)
	h.ready(t, server)
	change(t, h.cluster, g.policy, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Tools = []string{"boot"} })
	g.becomes(t, "the changed policy is in force", inForce, result.Forbidden, "echo", `{"text":"a"}`)
	change(t, h.cluster, g.policy, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Tools = []string{"*"} })
	g.becomes(t, "the policy of before is in force", inForce, result.OK, "echo", `{"text":"a"}`)
	must(t, h.Get(t.Context(), client.ObjectKeyFromObject(elsewhere), elsewhere))
	if len(elsewhere.Status.Conditions) > 0 {
		t.Errorf("the operator has touched a server of another namespace: %s", conditions(elsewhere.Status.Conditions))
	}
	if _, err := h.deployment(t.Context(), elsewhere); !apierrors.IsNotFound(err) {
		t.Errorf("a server of another namespace has a Deployment: %v", err)
	}
}

// everythingOff: with nothing that can be turned off, servers still come up.
func everythingOff(t *testing.T, h *helm, g *guarded) {
	h.install(t, toolchain.Helm4, "crds.enabled=false", "metrics.enabled=false", "networkPolicy.enabled=false",
		"externalSecrets.enabled=false", "grantableRules=[]", "rbac.userRoles=false", "podDisruptionBudget.enabled=false")
	must(t, h.Get(t.Context(), client.ObjectKey{Name: "mcpservers.bartizan.dev"}, definition()))
	server := h.server(g.server.Namespace, "bare")
	greedy := h.server(g.server.Namespace, "greedy")
	greedy.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}}
	h.create(t, server, greedy)
	h.ready(t, server)
	eventually(t, "a server that wants rights is told that none are given", time.Minute, func(ctx context.Context) error {
		must(t, h.Get(ctx, client.ObjectKeyFromObject(greedy), greedy))
		if !meta.IsStatusConditionTrue(greedy.Status.Conditions, v1alpha1.ConditionStalled) {
			return fmt.Errorf("conditions:%s", conditions(greedy.Status.Conditions))
		}
		return nil
	})
	if got := g.call(t, "echo", `{"text":"a"}`); got.Outcome != result.OK {
		t.Errorf("the server does not answer any more: %+v", got)
	}
}

// uninstallRemoves: nothing of ours is left.
func uninstallRemoves(t *testing.T, h *helm, g *guarded) {
	adoptable(t, h)
	h.install(t, toolchain.Helm4, "crds.keep=false")
	h.run(t, toolchain.Helm4, "uninstall", release, "--wait")
	eventually(t, "the definitions are gone", time.Minute, func(ctx context.Context) error {
		for _, kind := range kinds {
			if err := h.Get(ctx, client.ObjectKey{Name: kind + ".bartizan.dev"}, definition()); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %w", kind, errors.Join(err, errors.New("still there")))
			}
		}
		return nil
	})
	eventually(t, "and all that ran for them", time.Minute, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := h.List(ctx, &pods, client.InNamespace(g.server.Namespace), client.HasLabels{"bartizan.dev/server"}); err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil {
				return fmt.Errorf("pod %s runs", pod.Name)
			}
		}
		return nil
	})
}

// adoptable: the definitions that a release left are still marked as its own, so that it takes them back by itself.
func adoptable(t *testing.T, h *helm) {
	t.Helper()
	for _, kind := range kinds {
		crd := definition()
		must(t, h.Get(t.Context(), client.ObjectKey{Name: kind + ".bartizan.dev"}, crd))
		if owner := crd.GetAnnotations()["meta.helm.sh/release-name"]; owner != release {
			t.Errorf("%s belongs to release %q", kind, owner)
		}
	}
}

func definition() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return object
}

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// upgradeFromPrevious: an earlier chart with its operator and its gates, on a cluster that never had another, becomes this checkout's.
// Servers roll one after the other, no request fails, and what was proven of a server still is.
func upgradeFromPrevious(t *testing.T, h *helm, from previous) {
	const budget = "operator.rolloutBudget=1"
	manager, gate := h.image(t, "previous-manager", from.manager, "/manager"), h.image(t, "previous-authproxy", from.gate, "/authproxy")
	h.installChart(t, toolchain.Helm3, from.chart, manager, gate, budget)
	g := h.guard(t, func(s *v1alpha1.MCPServer) {
		s.Spec.Replicas = ptr.To(int32(2))
		s.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "e2e", Categories: []string{"Nothing"}}
	})
	single := *g // a server with one replica
	single.server = h.server(g.server.Namespace, "single")
	servers := []*v1alpha1.MCPServer{g.server, single.server, h.server(g.server.Namespace, "unused")}
	for _, server := range servers[1:] {
		h.create(t, server)
	}
	h.create(t, accessPolicy(single.server, g.client, "*"))
	change(t, h.cluster, g.client, func(c *v1alpha1.MCPClient) {
		c.Spec.Servers = append(c.Spec.Servers, v1alpha1.ServerRef{Namespace: single.server.Namespace, Name: single.server.Name})
	})
	for _, server := range servers {
		h.ready(t, server)
	}
	h.ready(t, g.client)
	single.becomes(t, "the client may use both servers", time.Minute, result.OK, "echo", `{"text":"a"}`)
	before := h.verified(t, g.server)
	stale := h.outdatedDefinitions(t)
	if len(stale) == 0 && !from.same {
		t.Errorf("the definitions of %s are those of this checkout: the upgrade would show nothing about them", from.version)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	friend := as("friend", "friend")
	loads := map[string]func() result.Load{
		"kept connections":        g.keepLoading(t, ctx, friend, "--parallel", "2", "--pause", "20ms"),
		"new connections":         g.keepLoading(t, ctx, friend, "--parallel", "1", "--fresh", "--pause", "50ms"),
		"a server of one replica": single.keepLoading(t, ctx, friend, "--parallel", "1", "--fresh", "--pause", "50ms"),
	}
	var watching sync.WaitGroup
	most := 0
	watching.Go(func() {
		for ctx.Err() == nil {
			// All at one time, or two that follow each other would be taken for two at once.
			var all appsv1.DeploymentList
			rolling := 0
			if h.List(ctx, &all, client.InNamespace(g.server.Namespace)) == nil {
				for i := range all.Items {
					if !settled(&all.Items[i]) {
						rolling++
					}
				}
			}
			most = max(most, rolling)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	h.install(t, toolchain.Helm3, budget)
	took := eventually(t, "every server has the new gate", 4*time.Minute, func(ctx context.Context) error {
		for _, server := range servers {
			d, err := h.deployment(ctx, server)
			if err != nil {
				return err
			}
			if gateOf(d) != h.images["authproxy"] || !settled(d) {
				return fmt.Errorf("%s: gate %s, status %+v", server.Name, gateOf(d), d.Status)
			}
		}
		return nil
	})
	stop()
	watching.Wait()
	t.Logf("%d servers of %s had the new gate %s after the upgrade; at most %d rolled at once", len(servers), from.version, took, most)
	if most != 1 {
		t.Errorf("%d servers rolled at once, and the budget is 1", most)
	}
	for what, end := range loads {
		account := end()
		t.Logf("%s: %d calls, %d failed, slowest %d ms", what, account.Calls, account.Failures, account.Slowest)
		if account.Failures > 0 || account.Calls < 50 {
			t.Errorf("%s: %d calls, dropped: %+v", what, account.Calls, account.Examples)
		}
	}
	for _, server := range servers {
		h.ready(t, server)
	}
	h.ready(t, g.client)
	if left := h.outdatedDefinitions(t); len(left) > 0 {
		t.Errorf("definitions that the upgrade left as they were: %q", left)
	}
	t.Logf("definitions that the upgrade changed: %q", stale)
	after := h.verified(t, g.server)
	t.Logf("posture: score %d, coverage %d, then %d, %d", *before.Score, *before.Coverage, *after.Score, *after.Coverage)
	for _, control := range after.Failing {
		if slices.Contains(before.PassedControls, control.Control) {
			t.Errorf("%s passed before the upgrade, and does not now: %+v", control.Control, control)
		}
	}
	// A control may ask for more than before, for which there is no evidence yet.
	for _, control := range before.PassedControls {
		if slices.Contains(after.UnknownControls, control) {
			t.Logf("%s passed before the upgrade, and is unknown now", control)
		}
	}
}

// verified has a server verified, and returns its posture when the attacks have failed.
func (c *cluster) verified(t *testing.T, server *v1alpha1.MCPServer) *v1alpha1.PostureStatus {
	t.Helper()
	request := time.Now().Format(time.RFC3339Nano)
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationVerificationRequestedAt, request)
	found := &v1alpha1.MCPServer{}
	found.Namespace, found.Name = server.Namespace, server.Name
	must(t, c.Patch(t.Context(), found, client.RawPatch(types.MergePatchType, patch)))
	eventually(t, server.Name+" is verified", 2*time.Minute, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(server), found); err != nil {
			return err
		}
		posture := found.Status.Posture
		if posture == nil || posture.HandledRequest != request || !meta.IsStatusConditionTrue(found.Status.Conditions, v1alpha1.ConditionVerified) {
			return fmt.Errorf("posture %+v, conditions:%s", posture, conditions(found.Status.Conditions))
		}
		return nil
	})
	return found.Status.Posture
}

// outdatedDefinitions are the definitions of this checkout that the cluster has otherwise, or not at all.
func (c *cluster) outdatedDefinitions(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(checkout, "config", "crd", "bases", "*.yaml"))
	must(t, err)
	if len(files) < len(kinds) {
		t.Fatalf("there are only %d definitions", len(files))
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		must(t, err)
		want := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal(content, &want.Object))
		got := &unstructured.Unstructured{}
		got.SetGroupVersionKind(want.GroupVersionKind())
		err = c.Get(t.Context(), client.ObjectKeyFromObject(want), got)
		must(t, client.IgnoreNotFound(err))
		if err != nil || !reflect.DeepEqual(versions(t, got), versions(t, want)) {
			names = append(names, want.GetName())
		}
	}
	return names
}

// versions are those of a definition, in one form of numbers.
func versions(t *testing.T, definition *unstructured.Unstructured) (all any) {
	t.Helper()
	list, found, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
	if must(t, err); !found {
		must(t, errors.New("the definition "+definition.GetName()+" has no versions"))
	}
	encoded, err := json.Marshal(list)
	must(t, err)
	must(t, json.Unmarshal(encoded, &all))
	return all
}

// keepLoading calls a tool until ctx ends, and a little longer. What it returns waits for the end and sums up.
func (g *guarded) keepLoading(t *testing.T, ctx context.Context, credentials []string, arguments ...string) (end func() result.Load) {
	done := make(chan struct{})
	var sum result.Load
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			account := g.pod.load(t, g.server, "friend", credentials, 15*time.Second, append([]string{"--tool", "echo", "--args", `{"text":"a"}`}, arguments...)...)
			<-account.done
			if account.err != nil || account.got.Load == nil {
				sum.Failures++
				sum.Examples = append(sum.Examples, result.Example{After: fmt.Sprint(account.err), Result: account.got})
				return
			}
			part := account.got.Load
			sum.Calls += part.Calls
			sum.Failures += part.Failures
			sum.Slowest = max(sum.Slowest, part.Slowest)
			sum.Examples = append(sum.Examples, part.Examples...)
		}
	}()
	return func() result.Load {
		<-done
		return sum
	}
}

// gateOf is the image of the gate in a pod template.
func gateOf(d *appsv1.Deployment) string {
	for _, container := range d.Spec.Template.Spec.InitContainers {
		if container.Name == gateContainer {
			return container.Image
		}
	}
	return ""
}

func settled(d *appsv1.Deployment) bool {
	wanted, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted && s.Replicas == wanted && s.AvailableReplicas == wanted
}

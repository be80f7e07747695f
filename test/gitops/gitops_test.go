// Package gitops tells the story of docs/gitops.md on a real cluster with real Flux controllers: what is committed happens, what fails is
// reported, what is reverted heals, and what is removed leaves nothing. It runs the page's commands, in their order, and looks at the
// cluster after each. "make gitops" brings the cluster up and runs it.
package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

func TestGitOps(t *testing.T) {
	f := newFleet(t)
	t.Cleanup(func() { f.explain(t) })
	before := f.inventory(t)
	for _, part := range []struct {
		name string
		do   func(*testing.T, *fleet)
	}{
		{"ACommitInstalls", installs},
		{"ACommitChangesAPolicy", changesAPolicy},
		{"KeysRotateWithoutDrift", keysRotate},
		{"ACommitBreaksAServer", breaksAServer},
		{"ACommitIsRefused", isRefused},
		{"ARevertHeals", heals},
		{"PruningRemovesServers", prunesServers},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.do(t, f) }) {
			return // What follows needs it.
		}
	}
	t.Run("PruningRemovesEverything", func(t *testing.T) { prunesEverything(t, f, before) })
	if len(f.blocks) > 0 {
		t.Errorf("commands of %s were not run: %q", page, f.blocks)
	}
}

// installs: one commit brings the operator, by its chart, and three servers.
func installs(t *testing.T, f *fleet) {
	f.next(t, "kubectl apply")
	release := f.condition(t, "HelmRelease", "flux-system", "bartizan", "Ready")
	if release.Status != "True" || release.Reason != "InstallSucceeded" {
		t.Errorf("the release: %+v", release)
	}
	for _, name := range []string{"pods", "notes", "search"} {
		server := &v1alpha1.MCPServer{}
		must(t, f.Get(t.Context(), client.ObjectKey{Namespace: "tools", Name: name}, server))
		if !meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReady) {
			t.Errorf("Flux says that all is ready, and %s is not: %+v", name, server.Status.Conditions)
		}
	}
	f.assistant(t)
	f.becomes(t, result.OK, "notes", "boot", `{}`)
	f.becomes(t, result.OK, "search", "echo", `{"text":"a"}`)
	f.becomes(t, result.OK, "pods", "pods_list_in_namespace", `{"namespace":"tools"}`)
}

// changesAPolicy: what a commit takes away is refused, and the rest goes on.
func changesAPolicy(t *testing.T, f *fleet) {
	pods := f.pods(t)
	f.next(t, "policy.yaml")
	f.becomes(t, result.Forbidden, "search", "echo", `{"text":"a"}`)
	f.becomes(t, result.OK, "search", "boot", `{}`)
	if after := f.pods(t); !slices.Equal(pods, after) {
		t.Errorf("pods were replaced for a policy: %v, then %v", pods, after)
	}
}

// keysRotate: while keys are replaced several times Flux applies the same again and again, and finds nothing to change. That it would
// say so is shown by two real differences.
func keysRotate(t *testing.T, f *fleet) {
	began := time.Now()
	applied := f.applied(t)
	seen := map[string]bool{}
	const rotations = 3
	took := eventually(t, fmt.Sprintf("the client has %d new keys", rotations), 15*time.Minute, func(ctx context.Context) error {
		assistant := &v1alpha1.MCPClient{}
		if err := f.Get(ctx, client.ObjectKey{Namespace: "assistants", Name: "assistant"}, assistant); err != nil {
			return err
		}
		for _, credential := range assistant.Status.Credentials {
			for _, key := range credential.Keys {
				if key.State == v1alpha1.KeyCurrent {
					seen[key.ID] = true
				}
			}
		}
		if len(seen) <= rotations {
			return fmt.Errorf("%d keys were current so far", len(seen))
		}
		return nil
	})
	eventually(t, "Flux has applied all of it again", 2*time.Minute, func(context.Context) error {
		if now := f.applied(t); now <= applied {
			return fmt.Errorf("%d times, as before", now)
		}
		return nil
	})
	f.becomes(t, result.OK, "notes", "boot", `{}`)
	if changes := f.changes(t, began); len(changes) > 0 {
		t.Errorf("Flux found differences while only keys changed: %q", changes)
	}
	t.Logf("%d new keys in %s; Flux applied everything %d times and changed nothing", len(seen)-1, took.Round(time.Second), f.applied(t)-applied)

	// What is different is found, and set right.
	began = time.Now()
	policy := &v1alpha1.MCPAccessPolicy{}
	must(t, f.Get(t.Context(), client.ObjectKey{Namespace: "tools", Name: "assistants"}, policy))
	policy.Spec.Rules[0].Tools = []string{"*"}
	must(t, f.Update(t.Context(), policy))
	deployment := &appsv1.Deployment{}
	must(t, f.Get(t.Context(), client.ObjectKey{Namespace: "bartizan-system", Name: "bartizan-controller-manager"}, deployment))
	must(t, f.Patch(t.Context(), deployment, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))))
	for _, difference := range []string{"MCPAccessPolicy/tools/assistants configured", "Deployment/bartizan-system/bartizan-controller-manager"} {
		eventually(t, "Flux reports "+difference, 2*time.Minute, func(context.Context) error {
			changes := f.changes(t, began)
			if !slices.ContainsFunc(changes, func(c string) bool { return strings.Contains(c, difference) }) {
				return fmt.Errorf("it said: %q", changes)
			}
			return nil
		})
	}
	eventually(t, "the operator is there again", 2*time.Minute, func(ctx context.Context) error {
		if err := f.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); err != nil {
			return err
		}
		if deployment.Status.ReadyReplicas == 0 {
			return errors.New("no replica is ready")
		}
		return nil
	})
	f.becomes(t, result.Forbidden, "search", "echo", `{"text":"a"}`)
}

// breaksAServer: what the operator refuses fails the commit, the server's status says why and what to do, and what ran goes on.
func breaksAServer(t *testing.T, f *fleet) {
	pods := f.pods(t)
	f.next(t, "notes.yaml")
	ready := f.condition(t, "Kustomization", "flux-system", "servers", "Ready")
	if ready.Reason != "HealthCheckFailed" || !strings.Contains(ready.Message, "MCPServer/tools/notes status: 'Failed'") || strings.Contains(ready.Message, "search") {
		t.Errorf("Flux says: %+v", ready)
	}
	server := &v1alpha1.MCPServer{}
	must(t, f.Get(t.Context(), client.ObjectKey{Namespace: "tools", Name: "notes"}, server))
	stalled := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled == nil || stalled.Reason != "ImageNotPinned" || !strings.Contains(stalled.Message, "is not an image by digest; write") {
		t.Errorf("the server says: %+v", server.Status.Conditions)
	}
	f.becomes(t, result.OK, "notes", "boot", `{}`)
	if after := f.pods(t); !slices.Equal(pods, after) {
		t.Errorf("the broken server's pods were replaced: %v, then %v", pods, after)
	}
}

// isRefused: what the API server refuses is reported by Flux in the words of the API.
func isRefused(t *testing.T, f *fleet) {
	f.commit(t, "Nobody has to show who they are", `printf '  authentication: {apiKeys: {mode: Disabled}, clientCertificates: {mode: Disabled}}\n' >> fleet/servers/search.yaml`)
	eventually(t, "Flux says why", 2*time.Minute, func(context.Context) error {
		ready := f.condition(t, "Kustomization", "flux-system", "servers", "Ready")
		const words = "apiKeys and clientCertificates cannot both be Disabled without tokens: no client could ever authenticate"
		if ready.Status != "False" || !strings.Contains(ready.Message, "MCPServer/tools/search") || !strings.Contains(ready.Message, words) {
			return fmt.Errorf("%+v", ready)
		}
		t.Logf("Flux says: %s", ready.Message)
		return nil
	})
	// The page goes on from the commit before.
	_, err := f.run("git reset --quiet --hard HEAD~1")
	must(t, err)
}

// heals: a revert is enough.
func heals(t *testing.T, f *fleet) {
	f.next(t, "git revert")
	server := &v1alpha1.MCPServer{}
	must(t, f.Get(t.Context(), client.ObjectKey{Namespace: "tools", Name: "notes"}, server))
	if !meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("the server is not well: %+v", server.Status.Conditions)
	}
	f.becomes(t, result.OK, "notes", "boot", `{}`)
	f.becomes(t, result.OK, "search", "boot", `{}`)
}

// prunesServers: with their file the servers go, and all that was made for them.
func prunesServers(t *testing.T, f *fleet) {
	f.next(t, "git rm")
	for _, name := range []string{"tools", "assistants"} {
		if f.exists(t, "v1", "Namespace", "", name) {
			t.Errorf("the namespace %s is still there", name)
		}
	}
	if !f.exists(t, "apps/v1", "Deployment", "bartizan-system", "bartizan-controller-manager") {
		t.Error("the operator went, too")
	}
}

// prunesEverything: nothing is left that was not there before.
func prunesEverything(t *testing.T, f *fleet, before map[string]bool) {
	f.next(t, "keep: false")
	eventually(t, "nothing is left", 3*time.Minute, func(context.Context) error {
		var left []string
		for name := range f.inventory(t) {
			if !before[name] {
				left = append(left, name)
			}
		}
		if len(left) > 0 {
			slices.Sort(left)
			return fmt.Errorf("left: %s", strings.Join(left, ", "))
		}
		return nil
	})
}

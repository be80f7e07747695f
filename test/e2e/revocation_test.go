package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// watched is what is tried at one replica, and the last that is known of it.
type watched struct {
	replica string
	what    []string

	mu   sync.Mutex
	rest []byte
	// now is the last outcome of each thing that is watched, since is when the test heard of it.
	now   map[string]result.Result
	since map[string]time.Time
	// failures is what has not worked at any time.
	failures []string
}

// Write takes what mcpclient watch prints.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.rest = rest
		var change result.Change
		if json.Unmarshal(line, &change) == nil && change.What != "" {
			w.now[change.What], w.since[change.What] = change.Result, time.Now()
			if change.Outcome != result.OK {
				w.failures = append(w.failures, fmt.Sprintf("%s: %s is %q (HTTP %d, %s)", w.replica, change.What, change.Outcome, change.Status, change.Message))
			}
		}
	}
}

// all says whether everything that is watched works, or nothing does.
func (w *watched) all(works bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range w.what {
		if now, known := w.now[what]; !known || (now.Outcome == result.OK) != works {
			return fmt.Errorf("%s: %s is %q (HTTP %d, %s)", w.replica, what, now.Outcome, now.Status, now.Message)
		}
	}
	return nil
}

// watchAll tries a client's credentials at every replica of every server until the test ends. What is not answered within the
// timeout has failed.
func (c *cluster) watchAll(t *testing.T, from *pod, servers []*v1alpha1.MCPServer, name string, timeout time.Duration) []*watched {
	t.Helper()
	var all []*watched
	for _, server := range servers {
		replicas, err := c.running(t.Context(), server)
		must(t, err)
		if len(replicas) != int(*server.Spec.Replicas) {
			t.Fatalf("%d replicas of %s run, want %d", len(replicas), server.Name, *server.Spec.Replicas)
		}
		what, revision := []string{result.Kept, result.Fresh, result.Subscription, result.Call}, ""
		if server.Spec.Transport.Sessions == v1alpha1.SessionsStateful {
			what, revision = []string{result.Kept, result.Fresh, result.Session}, "2025-11-25"
		}
		for _, replica := range replicas {
			w := &watched{replica: replica.Name, what: what, now: map[string]result.Result{}, since: map[string]time.Time{}}
			all = append(all, w)
			command := append([]string{"/mcpclient", "watch", "--url", url(server), "--ca", "/" + name + "/ca.crt", "--tool", "echo", "--args", `{"text":"a"}`,
				"--connect", fmt.Sprintf("%s:%d", replica.Status.PodIP, gateconfig.GatePort), "--revision", revision,
				"--pause", "100ms", "--timeout", timeout.String(), "--for", "10m"}, as(name, name)...)
			inBackground(t, func(ctx context.Context) { _ = from.exec(ctx, command, nil, w, w) })
		}
	}
	eventually(t, "calls and streams work at every replica", time.Minute, func(context.Context) error { return works(all, true) })
	return all
}

func works(all []*watched, want bool) error {
	var errs []error
	for _, w := range all {
		errs = append(errs, w.all(want))
	}
	return errors.Join(errs...)
}

// TestE2ERevocation: a key that is revoked, a client that is deleted and a policy that is deleted are out of force at every
// replica within ten seconds, with the kubelet's defaults: on connections that are kept and on new ones, and open streams end.
// Another client is not disturbed.
func TestE2ERevocation(t *testing.T) {
	c := start(t)
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	modern, legacy := c.server(tools, "modern"), c.server(tools, "legacy", "--stateless=false")
	legacy.Spec.Transport.Sessions = v1alpha1.SessionsStateful
	modern.Spec.Replicas, legacy.Spec.Replicas = ptr.To(int32(2)), ptr.To(int32(2))
	servers := []*v1alpha1.MCPServer{modern, legacy}
	// granted is a client of both servers with its policy.
	granted := func(name string) (*v1alpha1.MCPClient, *v1alpha1.MCPAccessPolicy) {
		made := mcpClient(callers, name, servers...)
		policy := accessPolicy(modern, made, "*")
		policy.Name, policy.Spec.Servers.Names = name, []string{modern.Name, legacy.Name}
		c.create(t, made, policy)
		return made, policy
	}
	other, _ := granted("other")
	c.create(t, modern, legacy)
	tests := map[string]struct {
		revoke func(*testing.T, *v1alpha1.MCPClient, *v1alpha1.MCPAccessPolicy)
		// kept is what a connection from before is told. Without a grant there is no network either, once that connection is closed.
		kept []result.Outcome
	}{
		"revoked-key": {func(t *testing.T, made *v1alpha1.MCPClient, _ *v1alpha1.MCPAccessPolicy) {
			change(t, c, made, func(m *v1alpha1.MCPClient) { m.Spec.RevokedKeys = []string{m.Status.Credentials[0].Keys[0].ID} })
		}, []result.Outcome{result.Unauthorized}},
		"deleted-client": {func(t *testing.T, made *v1alpha1.MCPClient, _ *v1alpha1.MCPAccessPolicy) {
			must(t, c.Delete(t.Context(), made))
		}, []result.Outcome{result.Unauthorized, result.NoConnection}},
		"deleted-policy": {func(t *testing.T, _ *v1alpha1.MCPClient, policy *v1alpha1.MCPAccessPolicy) {
			must(t, c.Delete(t.Context(), policy))
		}, []result.Outcome{result.Unauthorized, result.Forbidden, result.NoConnection}},
	}
	clients, policies := map[string]*v1alpha1.MCPClient{}, map[string]*v1alpha1.MCPAccessPolicy{}
	for name := range tests {
		clients[name], policies[name] = granted(name)
	}
	c.ready(t, modern)
	c.ready(t, legacy)
	c.ready(t, other)
	otherPod := c.pod(t, callers, "other", tools, "other")
	otherPod.reaches(t, modern, "other")
	otherPod.reaches(t, legacy, "other")
	bystander := c.watchAll(t, otherPod, servers, "other", 2*time.Minute)
	pods := map[string]*pod{}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		c.ready(t, clients[name])
		pods[name] = c.pod(t, callers, name, tools, name)
		pods[name].reaches(t, modern, name)
		pods[name].reaches(t, legacy, name)
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		test := tests[name]
		t.Run(name, func(t *testing.T) {
			all := c.watchAll(t, pods[name], servers, name, 3*time.Second) // to be kept from connecting is to be refused
			revoked := time.Now()
			test.revoke(t, clients[name], policies[name])
			took := eventually(t, "nothing works at any replica", inForce, func(context.Context) error { return works(all, false) })
			t.Logf("out of force at every replica after %s", took)
			for _, w := range all {
				w.mu.Lock()
				var figures []string
				for _, what := range slices.Sorted(maps.Keys(w.now)) {
					figures = append(figures, fmt.Sprintf("%s %s after %s", what, w.now[what].Outcome, w.since[what].Sub(revoked).Round(time.Millisecond)))
				}
				kept := w.now[result.Kept]
				w.mu.Unlock()
				t.Logf("%s: %s", w.replica, strings.Join(figures, ", "))
				if !slices.Contains(test.kept, kept.Outcome) {
					t.Errorf("%s: a connection from before is told %s (%s), want one of %v", w.replica, kept.Outcome, kept.Message, test.kept)
				}
			}
			// And it stays so: five seconds are fifty tries of each kind.
			stays := time.NewTimer(5 * time.Second)
			defer stays.Stop()
			select {
			case <-t.Context().Done():
			case <-stays.C:
			}
			if err := works(all, false); err != nil {
				t.Errorf("later: %v", err)
			}
		})
	}
	for _, w := range bystander {
		w.mu.Lock()
		if len(w.failures) > 0 {
			t.Errorf("another client was disturbed: %s", strings.Join(w.failures, "; "))
		}
		w.mu.Unlock()
	}
}

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// fleet is some servers of one namespace with many clients of another, all of them at work.
type fleet struct {
	*cluster
	tools, callers string
	servers        []*v1alpha1.MCPServer
	clients        []*v1alpha1.MCPClient
	// carriers are the pods with the clients' Secrets.
	carriers []*carrier
	ledger   *ledger
}

// carrier is a pod with the Secrets of some clients, which reads them as a client does.
type carrier struct {
	*pod
	clients []string
	// hurried says that the pod's owner annotates it when a Secret of it has changed, so that its kubelet updates the mounted
	// files at once. The others wait for their kubelet, up to two minutes.
	hurried bool
}

// The life of certificates that cert-manager renews every few minutes.
const (
	shortLife        = "1h"
	shortRenewBefore = "57m"
)

// fleet makes servers and clients, whose certificates are renewed every few minutes, and has the clients begin to work.
func (c *cluster) fleet(t *testing.T, servers, replicas, carriers, clients int) *fleet {
	t.Helper()
	f := &fleet{cluster: c, tools: c.namespace(t, "tools"), callers: c.namespace(t, "callers")}
	for i := range servers {
		server := c.server(f.tools, fmt.Sprintf("server-%d", i))
		server.Spec.Replicas = ptr.To(int32(replicas))
		server.Spec.TLS = &v1alpha1.TLS{Duration: shortLife, RenewBefore: shortRenewBefore}
		f.servers = append(f.servers, server)
		c.create(t, server)
	}
	f.ledger = c.follow(t, f.callers)
	policy := accessPolicy(f.servers[0], &v1alpha1.MCPClient{}, "echo")
	policy.Name, policy.Spec.Servers.Names, policy.Spec.Rules[0].Subjects = "everybody", nil, nil
	for _, server := range f.servers {
		policy.Spec.Servers.Names = append(policy.Spec.Servers.Names, server.Name)
	}
	for i := range carriers {
		carried := &carrier{hurried: i%2 == 0}
		for j := range clients {
			made := mcpClient(f.callers, fmt.Sprintf("client-%d-%d", i, j), f.servers...)
			made.Spec.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("carrier-%d", i)}}
			made.Spec.Rotation = &v1alpha1.KeyRotation{Overlap: "1m"}
			made.Spec.Certificate = v1alpha1.ClientCertificate{Duration: shortLife, RenewBefore: shortRenewBefore}
			carried.clients = append(carried.clients, made.Name)
			f.clients = append(f.clients, made)
			policy.Spec.Rules[0].Subjects = append(policy.Spec.Rules[0].Subjects, v1alpha1.Subject{
				Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: made.Namespace, Name: made.Name},
			})
			c.create(t, made)
		}
		f.carriers = append(f.carriers, carried)
	}
	c.create(t, policy)
	for _, server := range f.servers {
		c.ready(t, server)
	}
	for _, made := range f.clients {
		c.ready(t, made)
	}
	for i, carried := range f.carriers {
		made := c.podSpec(f.callers, fmt.Sprintf("carrier-%d", i))
		command := []string{"/mcpclient", "users", "--tool", "echo", "--args", `{"text":"hello"}`, "--pause", "1s", "--timeout", "2m"}
		for _, name := range carried.clients {
			secret := name + "." + f.tools
			mount(made, name, corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}, tlsOf(secret))
			command = append(command, "--client", name)
		}
		for _, server := range f.servers {
			command = append(command, "--server", url(server))
		}
		made.Spec.Containers[0].Command = command
		// Where processors are short, it is not those who measure that should wait for them.
		made.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
		carried.pod = c.run(t, made)
	}
	f.working(t)
	return f
}

// every does something again and again until the context ends.
func every(ctx context.Context, d time.Duration, do func()) {
	for ticker := time.NewTicker(d); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
			do()
		}
	}
}

// rotate asks for new keys of all clients, each as soon as it can get one, until each has had so many. What fails is tried
// again: the API server may be away.
func (f *fleet) rotate(t *testing.T, times int) {
	inBackground(t, func(ctx context.Context) {
		every(ctx, 250*time.Millisecond, func() {
			for _, c := range f.clients {
				activated, ok := f.ledger.restful(c.Name)
				now := time.Now().UTC().Truncate(time.Second)
				if !ok || !activated.Before(now) || f.ledger.rotations([]*v1alpha1.MCPClient{c}) >= times {
					continue
				}
				patch := fmt.Appendf(nil, `{"spec":{"rotation":{"rotateAfter":%q}}}`, now.Format(time.RFC3339))
				_ = f.Patch(ctx, &v1alpha1.MCPClient{ObjectMeta: c.ObjectMeta}, client.RawPatch("application/merge-patch+json", patch))
			}
		})
	})
}

// hurry annotates the pods that are to be hurried when a Secret of theirs has changed.
func (f *fleet) hurry(t *testing.T) {
	told := map[string]int{}
	inBackground(t, func(ctx context.Context) {
		every(ctx, 500*time.Millisecond, func() {
			for _, carried := range f.carriers {
				version := 0
				f.ledger.mu.Lock()
				for _, name := range carried.clients {
					version += f.ledger.versions[name]
				}
				f.ledger.mu.Unlock()
				if !carried.hurried || version == told[carried.name] {
					continue
				}
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/secrets":"%d"}}}`, version)
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: carried.namespace, Name: carried.name}}
				if f.Patch(ctx, pod, client.RawPatch("application/merge-patch+json", patch)) == nil {
					told[carried.name] = version
				}
			}
		})
	})
}

// accounts are what the clients have met until now.
func (f *fleet) accounts(ctx context.Context) (map[string]*result.Load, error) {
	all := map[string]*result.Load{}
	for _, carried := range f.carriers {
		got, err := carried.do(ctx, "account")
		if err != nil {
			return nil, err
		}
		if got.Outcome != result.OK {
			return nil, fmt.Errorf("pod %s: %s", carried.name, got.Message)
		}
		maps.Copy(all, got.Users)
	}
	if len(all) != len(f.clients) {
		return nil, fmt.Errorf("%d of %d clients have an account", len(all), len(f.clients))
	}
	return all, nil
}

// working waits until every client was served at least once more, and returns what all have met.
func (f *fleet) working(t *testing.T) (all map[string]*result.Load) {
	t.Helper()
	since := time.Now()
	eventually(t, "every client is at work", 3*time.Minute, func(ctx context.Context) error {
		var err error
		if all, err = f.accounts(ctx); err != nil {
			return err
		}
		for name, account := range all {
			var last time.Time
			for _, at := range account.Succeeded {
				if at.After(last) {
					last = at
				}
			}
			if last.Before(since) && account.Failures == 0 {
				return fmt.Errorf("%s was served last at %s", name, last)
			}
		}
		return nil
	})
	return all
}

// unharmed fails the test when any request of any client has failed.
func (f *fleet) unharmed(t *testing.T, after string) {
	t.Helper()
	calls, failures, connections := 0, 0, int64(0)
	slowest, median := int64(0), int64(0)
	for name, account := range f.working(t) {
		calls, failures, connections = calls+account.Calls, failures+account.Failures, connections+account.Connections
		slowest, median = max(slowest, account.Slowest), max(median, account.Median)
		if account.Failures > 0 {
			t.Errorf("after %s: %d of %d calls of %s failed: %+v", after, account.Failures, account.Calls, name, account.Examples)
		}
	}
	f.ledger.mu.Lock()
	broken := slices.Clone(f.ledger.broken)
	f.ledger.mu.Unlock()
	if len(broken) > 0 {
		t.Errorf("after %s: %s", after, strings.Join(broken, "; "))
	}
	t.Logf("after %s: %d rotations of each client, %d calls on %d connections, %d failed, slowest %d ms, largest median %d ms",
		after, f.ledger.rotations(f.clients), calls, connections, failures, slowest, median)
	if failures > 0 || len(broken) > 0 {
		t.FailNow()
	}
}

// settled waits until each client has had so many new keys and no replaced key is accepted any more.
func (f *fleet) settled(t *testing.T, rotations int, limit time.Duration) {
	t.Helper()
	took := eventually(t, fmt.Sprintf("every client has had %d new keys, and the old ones are retired", rotations), limit, func(context.Context) error {
		var waiting []string
		for _, c := range f.clients {
			if n, accepted := f.ledger.rotations([]*v1alpha1.MCPClient{c}), f.ledger.accepted(c.Name); n < rotations || len(accepted) != 1 {
				waiting = append(waiting, fmt.Sprintf("%s: %d rotations, %d keys accepted", c.Name, n, len(accepted)))
			}
		}
		if len(waiting) > 0 {
			return errors.New(strings.Join(waiting, "; "))
		}
		return nil
	})
	t.Logf("the last old key was retired after %s", took.Round(time.Second))
}

// refused tries every key that there ever was at every replica, beside the client's certificate: the present one is accepted, all others are refused.
func (f *fleet) refused(t *testing.T) {
	t.Helper()
	tried := 0
	for _, carried := range f.carriers {
		var lines bytes.Buffer
		want := map[string]result.Outcome{}
		f.ledger.mu.Lock()
		for _, name := range carried.clients {
			for id, state := range f.ledger.states[name] {
				if f.ledger.texts[id] == "" {
					t.Errorf("key %s of %s was in no Secret that was seen", id, name)
					continue
				}
				fmt.Fprintf(&lines, "%s %s\n", name, f.ledger.texts[id])
				if want[id] = result.Unauthorized; state.Accepted() {
					want[id] = result.OK
				}
			}
		}
		f.ledger.mu.Unlock()
		for _, server := range f.servers {
			replicas, err := f.running(t.Context(), server)
			must(t, err)
			if len(replicas) != int(*server.Spec.Replicas) {
				t.Errorf("%s has %d replicas, want %d", server.Name, len(replicas), *server.Spec.Replicas)
			}
			for _, replica := range replicas {
				got, err := carried.doWith(t.Context(), bytes.NewReader(lines.Bytes()), "keys", "--url", url(server),
					"--connect", fmt.Sprintf("%s:%d", replica.Status.PodIP, gateconfig.GatePort))
				must(t, err)
				for id, outcome := range want {
					// So many that are refused are throttled, which a key that is accepted never is.
					throttled := outcome == result.Unauthorized && got.Keys[id] == result.Throttled
					if got.Keys[id] != outcome && !throttled {
						t.Errorf("%s: key %s: %q, want %q", replica.Name, id, got.Keys[id], outcome)
					}
				}
				tried += len(got.Keys)
			}
		}
	}
	t.Logf("tried %d times a key at a replica: every retired one was refused, every present one accepted", tried)
}

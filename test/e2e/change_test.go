package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// inForce is how long a change of what is allowed may take until every gate obeys it.
const inForce = 10 * time.Second

// guarded is one server with one client and its pod.
type guarded struct {
	*cluster
	server *v1alpha1.MCPServer
	client *v1alpha1.MCPClient
	policy *v1alpha1.MCPAccessPolicy
	pod    *pod
}

// guard makes a server that one client may use with all its tools.
func (c *cluster) guard(t *testing.T, mutate func(*v1alpha1.MCPServer), arguments ...string) *guarded {
	t.Helper()
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	g := &guarded{cluster: c, server: c.server(tools, "talker", arguments...)}
	if mutate != nil {
		mutate(g.server)
	}
	g.client = mcpClient(callers, "friend", g.server)
	g.policy = accessPolicy(g.server, g.client, "*")
	c.create(t, g.server, g.client, g.policy)
	c.ready(t, g.server)
	c.ready(t, g.client)
	g.pod = c.pod(t, callers, "friend", tools, "friend")
	g.pod.reaches(t, g.server, "friend")
	return g
}

// call calls a tool with the right credentials.
func (g *guarded) call(t *testing.T, tool, arguments string) result.Result {
	t.Helper()
	return g.pod.mcp(t, g.server, "friend", as("friend", "friend"), "call", "--tool", tool, "--args", arguments)
}

// becomes calls until the outcome is as wanted.
func (g *guarded) becomes(t *testing.T, what string, limit time.Duration, want result.Outcome, tool, arguments string) time.Duration {
	t.Helper()
	return eventually(t, what, limit, func(ctx context.Context) error {
		got, err := g.pod.try(ctx, g.server, "friend", as("friend", "friend"), "call", "--tool", tool, "--args", arguments)
		if err == nil && got.Outcome != want {
			err = fmt.Errorf("it is %s: HTTP %d %s%s", got.Outcome, got.Status, got.Message, got.Text)
		}
		return err
	})
}

// unchanged fails when any container of the server was replaced or restarted.
func (g *guarded) unchanged(t *testing.T, before map[string]int32) {
	t.Helper()
	if after := g.processes(t, g.server); !maps.Equal(before, after) {
		t.Errorf("containers and their restarts changed from %v to %v", before, after)
	}
}

// TestE2EPolicyChange: a changed policy is in force without a restart, within seconds.
func TestE2EPolicyChange(t *testing.T) {
	t.Parallel()
	g := start(t).guard(t, nil)
	expect(t, "before", g.call(t, "echo", `{"text":"a"}`), result.OK)
	before := g.processes(t, g.server)
	boot := g.call(t, "boot", `{}`).Text

	change(t, g.cluster, g.policy, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Tools = []string{"boot"} })
	t.Logf("a withdrawn tool is refused after %s", g.becomes(t, "a withdrawn tool is refused", inForce, result.Forbidden, "echo", `{"text":"a"}`))
	change(t, g.cluster, g.policy, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Tools = []string{"boot", "ec*"} })
	t.Logf("a granted tool works after %s", g.becomes(t, "a granted tool works", inForce, result.OK, "echo", `{"text":"a"}`))
	// A rule of its own, because with the last rule the client would lose the network, too.
	change(t, g.cluster, g.policy, func(p *v1alpha1.MCPAccessPolicy) {
		ending := *p.Spec.Rules[0].DeepCopy()
		p.Spec.Rules[0].Tools = []string{"boot"}
		ending.Tools = []string{"echo"}
		ending.NotAfter = &metav1.Time{Time: time.Now().Add(6 * time.Second).Truncate(time.Second)}
		p.Spec.Rules = append(p.Spec.Rules, ending)
	})
	t.Logf("a rule ends by itself after %s", g.becomes(t, "a rule ends by itself", 8*time.Second+inForce, result.Forbidden, "echo", `{"text":"a"}`))
	expect(t, "the other rule", g.call(t, "boot", `{}`), result.OK)

	if now := g.call(t, "boot", `{}`).Text; now != boot {
		t.Errorf("the server's process changed from %s to %s", boot, now)
	}
	g.unchanged(t, before)
	g.ready(t, g.server)
}

// TestE2ERevokedClient: a client that is deleted is refused within 10 seconds, on an open connection as on a new one, while
// another goes on.
func TestE2ERevokedClient(t *testing.T) {
	t.Parallel()
	g := start(t).guard(t, nil)
	other := mcpClient(g.client.Namespace, "other", g.server)
	g.create(t, other, accessPolicy(g.server, other, "echo"))
	g.ready(t, other)
	otherPod := g.cluster.pod(t, other.Namespace, "other", g.server.Namespace, "other")
	before := g.processes(t, g.server)
	const echo = `{"text":"a"}`
	g.becomes(t, "the client may", inForce, result.OK, "echo", echo)
	eventually(t, "the other client may", inForce, func(ctx context.Context) error {
		got, err := otherPod.try(ctx, g.server, "other", as("other", "other"), "call", "--tool", "echo", "--args", echo)
		if err == nil && got.Outcome != result.OK {
			err = errors.New(got.Message)
		}
		return err
	})

	// On connections that were open before: everything from ten seconds after the deletion on is refused.
	open := g.pod.load(t, g.server, "friend", as("friend", "friend"), 20*time.Second, "--tool", "echo", "--args", echo, "--pause", "100ms", "--parallel", "1")
	bystander := otherPod.load(t, g.server, "other", as("other", "other"), 20*time.Second, "--tool", "echo", "--args", echo, "--pause", "100ms", "--parallel", "1")
	eventually(t, "the load has begun", inForce, func(context.Context) error {
		if requests := g.call(t, "requests", `{}`); requests.Outcome != result.OK {
			return errors.New(requests.Message)
		}
		return nil
	})
	deleted := time.Now()
	must(t, g.Delete(t.Context(), g.client))
	took := eventually(t, "the client is refused", inForce, func(ctx context.Context) error {
		got, err := g.pod.try(ctx, g.server, "friend", as("friend", "friend"), "call", "--tool", "echo", "--args", echo)
		if err != nil {
			return err
		}
		if got.Outcome == result.OK {
			return errors.New("it is still served")
		}
		return nil
	})
	t.Logf("refused after %s", took)
	if account := open.wait(t); account.Failures == 0 {
		t.Errorf("a connection from before was served for %s after the deletion: %+v", time.Since(deleted), account)
	}
	if account := bystander.wait(t); account.Failures > 0 {
		t.Errorf("another client was disturbed: %+v", account)
	}
	g.unchanged(t, before)
}

// TestE2ECertificateRenewed: a renewed serving certificate is shown to new connections, and old ones go on.
func TestE2ECertificateRenewed(t *testing.T) {
	t.Parallel()
	g := start(t).guard(t, nil)
	before := g.processes(t, g.server)
	load := func(duration time.Duration) *load {
		return g.pod.load(t, g.server, "friend", as("friend", "friend"), duration, "--tool", "echo", "--args", `{"text":"a"}`, "--parallel", "3")
	}
	first := load(time.Second).wait(t)
	// The kubelet looks at mounted Secrets about once a minute, and nothing hurries it: there are hours left.
	const slow = 110 * time.Second
	held := load(slow + 10*time.Second)

	certificate := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: g.server.Namespace, Name: g.server.Name + "-tls"}}
	must(t, g.Get(t.Context(), client.ObjectKeyFromObject(certificate), certificate))
	// What cmctl renew does.
	certificate.Status.Conditions = append(certificate.Status.Conditions, cmapi.CertificateCondition{
		Type: cmapi.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered", Message: "by the test",
		LastTransitionTime: &metav1.Time{Time: time.Now()}, ObservedGeneration: certificate.Generation,
	})
	must(t, g.Status().Update(t.Context(), certificate))
	var renewed string
	took := eventually(t, "new connections see the new certificate", slow, func(ctx context.Context) error {
		got, err := g.pod.try(ctx, g.server, "friend", as("friend", "friend"), "load", "--for", "100ms", "--parallel", "1", "--tool", "echo", "--args", `{"text":"a"}`)
		if err != nil {
			return err
		}
		if renewed = got.Load.Serial; renewed == first.Serial {
			return errors.New("it is the old one")
		}
		return nil
	})
	t.Logf("the new certificate was served after %s", took)
	account := held.wait(t)
	if account.Failures > 0 || account.Connections != 3 {
		t.Errorf("%d of %d calls failed on %d connections (3 were opened at first): %+v", account.Failures, account.Calls, account.Connections, account.Examples)
	}
	t.Logf("meanwhile %d calls on %d connections, none failed", account.Calls, account.Connections)
	g.unchanged(t, before)
	g.ready(t, g.server)
}

// TestE2EExternalSecret: values of the external store reach the server, as files and as environment variables; a change
// reaches a file without a restart, and what the store loses is kept.
func TestE2EExternalSecret(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers := c.namespace(t, "tools"), c.namespace(t, "callers")
	secret := c.store(t, tools, map[string]string{"token": "first", "mode": "strict"})
	server := c.server(tools, "talker")
	server.Spec.Secrets = []v1alpha1.SecretGroup{{
		Name:            "upstream",
		StoreRef:        v1alpha1.SecretStoreRef{Kind: v1alpha1.SecretStoreNamespaced, Name: "store"},
		RefreshInterval: "5s",
		Data: []v1alpha1.SecretData{
			{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "token"}, File: "token"},
			{RemoteRef: v1alpha1.RemoteRef{Key: "values", Property: "mode"}, Env: "MODE"},
		},
	}}
	friend := mcpClient(callers, "friend", server)
	c.create(t, server, friend, accessPolicy(server, friend, "*"))
	c.ready(t, server)
	c.ready(t, friend)
	g := &guarded{cluster: c, server: server, client: friend, pod: c.pod(t, callers, "friend", tools, "friend")}
	g.pod.reaches(t, server, "friend")
	const file = `{"path":"/var/run/secrets/mcp/upstream/token"}`
	if got := g.call(t, "file", file); got.Text != "first" {
		t.Fatalf("the file has %q (%s), want the store's value", got.Text, got.Message)
	}
	if got := g.call(t, "environment", `{}`); !strings.Contains(got.Text, "MODE=strict") {
		t.Errorf("MODE is not in the environment: %s", got.Text)
	}
	before := c.processes(t, server)

	change(t, c, secret, func(stored *corev1.Secret) { stored.Data["token"] = []byte("second") })
	// The kubelet looks at mounted Secrets about once a minute.
	took := eventually(t, "the changed value reaches the file", 150*time.Second, func(ctx context.Context) error {
		got, err := g.pod.try(ctx, server, "friend", as("friend", "friend"), "call", "--tool", "file", "--args", file)
		if err == nil && got.Text != "second" {
			err = fmt.Errorf("it is %q %s", got.Text, got.Message)
		}
		return err
	})
	t.Logf("the changed value reached the file after %s", took)
	g.unchanged(t, before)

	// What the store has lost is kept here, and told.
	change(t, c, secret, func(stored *corev1.Secret) { delete(stored.Data, "token") })
	becomes(t, c, server, ofServer, v1alpha1.ConditionSecretsReady, metav1.ConditionFalse, "spec.secrets[upstream]")
	if got := g.call(t, "file", file); got.Text != "second" {
		t.Errorf("the store lost the value: the file has %q (%s), want the last good one", got.Text, got.Message)
	}
	change(t, c, secret, func(stored *corev1.Secret) { stored.Data["token"] = []byte("second") })
	becomes(t, c, server, ofServer, v1alpha1.ConditionSecretsReady, metav1.ConditionTrue, "")
	g.unchanged(t, before)

	change(t, c, secret, func(stored *corev1.Secret) { stored.Data["mode"] = []byte("lenient") })
	took = eventually(t, "the changed value reaches the environment, by a rollout", 150*time.Second, func(ctx context.Context) error {
		got, err := g.pod.try(ctx, server, "friend", as("friend", "friend"), "call", "--tool", "environment")
		if err == nil && !strings.Contains(got.Text, "MODE=lenient") {
			err = errors.New("it is still the old one")
		}
		return err
	})
	t.Logf("the changed value reached the environment after %s", took)
}

// TestE2EForeignNetworkPolicy: a network policy of somebody else that opens the pods is reported, and so is its end.
func TestE2EForeignNetworkPolicy(t *testing.T) {
	t.Parallel()
	g := start(t).guard(t, nil)
	isolated := func(want metav1.ConditionStatus, contains string) {
		t.Helper()
		eventually(t, fmt.Sprintf("Isolated is %s", want), 30*time.Second, func(ctx context.Context) error {
			if err := g.Get(ctx, client.ObjectKeyFromObject(g.server), g.server); err != nil {
				return err
			}
			condition := meta.FindStatusCondition(g.server.Status.Conditions, v1alpha1.ConditionIsolated)
			if condition == nil || condition.Status != want || !strings.Contains(condition.Message, contains) {
				return fmt.Errorf("conditions:%s", conditions(g.server.Status.Conditions))
			}
			return nil
		})
	}
	isolated(metav1.ConditionTrue, "")
	opening := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.server.Namespace, Name: "let-everyone-in"},
		Spec: networkingv1.NetworkPolicySpec{
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		},
	}
	g.create(t, opening)
	isolated(metav1.ConditionFalse, "let-everyone-in")
	must(t, g.Delete(t.Context(), opening))
	isolated(metav1.ConditionTrue, "")
}

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// TestE2ESabotage breaks single controls of servers on a real node: the right control fails, no other does, and it heals. One
// server listens on all addresses, so that only the network keeps others from it; of the other a gate is broken.
func TestE2ESabotage(t *testing.T) {
	t.Parallel()
	c := start(t)
	table := &sabotageTable{}
	t.Run("rows", func(t *testing.T) {
		t.Run("around", func(t *testing.T) {
			t.Parallel()
			c.sabotageAround(t, table)
		})
		t.Run("gates", func(t *testing.T) {
			t.Parallel()
			c.sabotageGates(t, table)
		})
		t.Run("rights", func(t *testing.T) {
			t.Parallel()
			c.sabotageRights(t, table)
		})
	})
	table.write(t)
}

// sabotaged is a server that is verified every 10 seconds, and of which nothing fails.
func (c *cluster) sabotaged(t *testing.T, namespace, name string, arguments ...string) *v1alpha1.MCPServer {
	t.Helper()
	server := c.server(namespace, name, arguments...)
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "e2e", Categories: []string{"Nothing"}}
	server.Spec.Verification = &v1alpha1.Verification{Interval: "10s", Exemptions: []v1alpha1.Exemption{{
		Control: "LOG-4", Owner: "e2e", Reason: "the cluster has no Prometheus, which is known after ten minutes",
		NotAfter: metav1.NewTime(time.Now().Add(24 * time.Hour).Truncate(time.Second)),
	}}}
	server.Spec.Tools = &v1alpha1.Tools{Forbidden: []string{"file", "environment"}}
	c.create(t, server)
	c.ready(t, server)
	c.pin(t, server)
	t.Logf("nothing fails after %s", c.failing(t, server))
	found := &v1alpha1.MCPServer{}
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), found))
	if !meta.IsStatusConditionTrue(found.Status.Conditions, v1alpha1.ConditionVerified) {
		t.Errorf("not verified: %s", conditions(found.Status.Conditions))
	}
	t.Logf("posture: %+v, score %d, coverage %d", found.Status.Posture.Failing, *found.Status.Posture.Score, *found.Status.Posture.Coverage)
	return server
}

// sabotageAround breaks what is around a gate.
func (c *cluster) sabotageAround(t *testing.T, table *sabotageTable) {
	namespace := c.namespace(t, "sabotage")
	// Nothing but the operator is to notice what is wrong with a pod.
	change(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, func(n *corev1.Namespace) {
		n.Labels["pod-security.kubernetes.io/enforce"] = "privileged"
	})
	server := c.sabotaged(t, namespace, "target", fmt.Sprintf("--address=0.0.0.0:%d", serverPort))
	pods := metav1.LabelSelector{MatchLabels: map[string]string{"bartizan.dev/server": server.Name}}
	policy := func(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
		spec.PodSelector = pods
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	}
	stray := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		pod := c.twin(t, server, name)
		change(pod)
		return pod
	}
	for _, sabotage := range []struct {
		by     string
		object client.Object
		want   []string
	}{
		{"a NetworkPolicy that lets the pods out", policy("out", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		}), []string{"LEAST-5"}},
		{"a NetworkPolicy that opens the pods of a server that listens on all addresses", policy("in", networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}), []string{"LEAST-5", "LEAST-6", "TEST-2"}},
		{"a second Service that leads to the server's port", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "round"},
			Spec:       corev1.ServiceSpec{Selector: pods.MatchLabels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(serverPort)}}},
		}, []string{"LEAST-8"}},
		{"a pod of the server with one more container", stray("crowded", func(p *corev1.Pod) {
			more := *p.Spec.Containers[0].DeepCopy()
			more.Name, more.Args = "debug", []string{"--address=127.0.0.1:9999"}
			p.Spec.Containers = append(p.Spec.Containers, more)
		}), []string{"LEAST-8"}},
		{"a pod of the server that may gain privileges", stray("privileged", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = ptr.To(true)
		}), []string{"LEAST-1"}},
		{"a pod of the server that may write to its root filesystem", stray("writable", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = ptr.To(false)
		}), []string{"LEAST-2"}},
		{"a pod of the server with a ServiceAccount's token", stray("token", func(p *corev1.Pod) {
			p.Spec.AutomountServiceAccountToken = ptr.To(true)
		}), []string{"LEAST-3"}},
		{"a pod of the server with another release of the gate", stray("other", func(p *corev1.Pod) {
			p.Spec.InitContainers[0].Image = c.images["authproxy-next"]
		}), []string{"UPD-4"}},
		{"a pod with the server's labels, and plain HTTP where its gate should be", c.impostor(server), []string{"ENC-2", "TEST-2", "UPD-4"}},
		{"a pod with the server's label, and no gate", stray("gateless", func(p *corev1.Pod) {
			p.Labels = pods.MatchLabels
			p.Spec.InitContainers = nil
		}), []string{"LEAST-8"}},
		{"a gate that goes on with an old configuration, and so with a key that was retired", c.outdated(t, server), []string{"AUTH-5"}},
	} {
		t.Run(sabotage.by, func(t *testing.T) {
			table.row(t, c, server, sabotage.by, sabotage.want, func() { c.create(t, sabotage.object) }, func() {
				must(t, c.Delete(t.Context(), sabotage.object, client.GracePeriodSeconds(0)))
			})
		})
	}
	t.Run("without its NetworkPolicy", func(t *testing.T) {
		none := noPolicies(namespace)
		table.row(t, c, server, "a NetworkPolicy that is removed, and cannot be made again, of a server that listens on all addresses", []string{"LEAST-5", "LEAST-6", "TEST-2"}, func() {
			c.create(t, none)
			eventually(t, "NetworkPolicies are refused", time.Minute, func(ctx context.Context) error {
				if err := c.Create(ctx, policy("refused", networkingv1.NetworkPolicySpec{}), client.DryRunAll); !apierrors.IsForbidden(err) {
					return fmt.Errorf("a NetworkPolicy is created: %w", err)
				}
				return nil
			})
			must(t, c.Delete(t.Context(), policy(server.Name, networkingv1.NetworkPolicySpec{})))
		}, func() { must(t, c.Delete(t.Context(), none)) })
	})
	t.Run("with a wider policy", func(t *testing.T) {
		caller := mcpClient(namespace, "caller", server)
		allowed := accessPolicy(server, caller, "echo")
		c.create(t, caller, allowed)
		c.ready(t, caller)
		c.failing(t, server)
		tools := func(all ...string) func() {
			return func() {
				change(t, c, allowed, func(p *v1alpha1.MCPAccessPolicy) { p.Spec.Rules[0].Tools = all })
			}
		}
		table.row(t, c, server, "a policy that is widened to a pattern over tools that write", []string{"PERM-3"}, tools("echo*"), tools("echo"))
	})
	for _, sabotage := range []struct {
		by       string
		do, undo func(*v1alpha1.MCPServer)
		want     string
	}{
		{"a secret in a variable of the spec", func(s *v1alpha1.MCPServer) {
			s.Spec.Env = []v1alpha1.EnvVar{{Name: "API_TOKEN", Value: ptr.To("s3cr3t-of-mine")}}
		}, func(s *v1alpha1.MCPServer) { s.Spec.Env = nil }, "ENC-6"},
		{"a tool that says something else of itself", func(s *v1alpha1.MCPServer) {
			s.Spec.Args = append(s.Spec.Args, "--echo-says=poison")
		}, func(s *v1alpha1.MCPServer) { s.Spec.Args = server.Spec.Args }, "PERM-4"},
		{"a server that may reach the whole internet", func(s *v1alpha1.MCPServer) {
			s.Spec.Network = &v1alpha1.Network{Internet: v1alpha1.InternetAllowed}
		}, func(s *v1alpha1.MCPServer) { s.Spec.Network = nil }, "LEAST-7"},
		{"tools that read files, and are not forbidden any more", func(s *v1alpha1.MCPServer) {
			s.Spec.Tools.Forbidden = nil
		}, func(s *v1alpha1.MCPServer) { s.Spec.Tools.Forbidden = server.Spec.Tools.Forbidden }, "PERM-5"},
		{"a server without a classification", func(s *v1alpha1.MCPServer) {
			s.Spec.Classification = nil
		}, func(s *v1alpha1.MCPServer) { s.Spec.Classification = server.Spec.Classification }, "INV-1"},
	} {
		t.Run(sabotage.by, func(t *testing.T) {
			table.row(t, c, server, sabotage.by, []string{sabotage.want},
				func() { change(t, c, server.DeepCopy(), sabotage.do) }, func() { change(t, c, server.DeepCopy(), sabotage.undo) })
		})
	}
}

// noPolicies is a quota that lets nobody make a NetworkPolicy in a namespace.
func noPolicies(namespace string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "none"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{"count/networkpolicies.networking.k8s.io": resource.MustParse("0")},
	}}
}

// pin approves all that a server offers, and has it enforced.
func (c *cluster) pin(t *testing.T, server *v1alpha1.MCPServer) {
	t.Helper()
	var pins []v1alpha1.Pin
	eventually(t, "what the server offers is known", 2*time.Minute, func(ctx context.Context) error {
		kept := &corev1.ConfigMap{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: inventory.ConfigMapName(server.Name)}, kept); err != nil {
			return err
		}
		document, err := inventory.ParseDocument(kept.Data[inventory.DocumentKey])
		pins = nil
		for _, f := range document.Judge(nil) {
			if f.Kind.Pinnable() {
				pins = append(pins, v1alpha1.Pin{Kind: v1alpha1.DefinitionKind(f.Kind), Name: f.Name, SHA256: f.SHA256})
			}
		}
		return err
	})
	change(t, c, server, func(s *v1alpha1.MCPServer) {
		if s.Spec.Tools == nil {
			s.Spec.Tools = &v1alpha1.Tools{}
		}
		s.Spec.Tools.Pinning, s.Spec.Tools.Pins = v1alpha1.PinningEnforce, pins
	})
	c.pinned(t, server, metav1.ConditionTrue)
}

// pinned waits until the condition DefinitionsPinned of a server is about its newest spec and has the status.
func (c *cluster) pinned(t *testing.T, server *v1alpha1.MCPServer, want metav1.ConditionStatus) time.Duration {
	t.Helper()
	return eventually(t, "the definitions are pinned: "+string(want), 2*time.Minute, func(ctx context.Context) error {
		found := &v1alpha1.MCPServer{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(server), found); err != nil {
			return err
		}
		for _, kind := range []string{v1alpha1.ConditionDefinitionsPinned, v1alpha1.ConditionConfigurationInForce} {
			condition := meta.FindStatusCondition(found.Status.Conditions, kind)
			if condition == nil || condition.ObservedGeneration != found.Generation ||
				kind == v1alpha1.ConditionDefinitionsPinned && condition.Status != want || kind != v1alpha1.ConditionDefinitionsPinned && condition.Status != metav1.ConditionTrue {
				return fmt.Errorf("%s", conditions(found.Status.Conditions))
			}
		}
		return nil
	})
}

// failing waits until exactly these controls of a server fail.
func (c *cluster) failing(t *testing.T, server *v1alpha1.MCPServer, want ...string) time.Duration {
	t.Helper()
	return eventually(t, fmt.Sprintf("%v fail", want), 2*time.Minute, func(ctx context.Context) error {
		_, err := c.fails(ctx, server, want)
		return err
	})
}

// turns is failing after a state in which others failed. No control that is of neither may fail meanwhile.
func (c *cluster) turns(t *testing.T, server *v1alpha1.MCPServer, want, before []string) time.Duration {
	t.Helper()
	others := map[string]bool{}
	took := eventually(t, fmt.Sprintf("%v fail", want), 2*time.Minute, func(ctx context.Context) error {
		got, err := c.fails(ctx, server, want)
		for _, control := range got {
			others[control] = others[control] || !slices.Contains(want, control) && !slices.Contains(before, control)
		}
		return err
	})
	for control, other := range others {
		if other {
			t.Errorf("%s failed as well", control)
		}
	}
	return took
}

// fails returns which controls of a server fail, and an error when they are others than is wanted.
func (c *cluster) fails(ctx context.Context, server *v1alpha1.MCPServer, want []string) (got []string, err error) {
	found := &v1alpha1.MCPServer{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(server), found); err != nil {
		return nil, err
	}
	verified := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionVerified)
	if found.Status.Posture == nil || verified == nil || verified.ObservedGeneration != found.Generation {
		return nil, fmt.Errorf("no posture yet: %s", conditions(found.Status.Conditions))
	}
	for _, f := range found.Status.Posture.Failing {
		if f.Result == "Fail" {
			got = append(got, f.Control)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) == 0 && verified.Status != metav1.ConditionTrue {
		return got, fmt.Errorf("%+v fail; %s", found.Status.Posture.Failing, conditions(found.Status.Conditions))
	}
	return got, nil
}

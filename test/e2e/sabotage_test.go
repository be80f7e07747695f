package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// TestE2ESabotage breaks single controls of a server on a real node: the right control fails, no other does, and it heals. The
// server listens on all addresses, so that only the network keeps others from it.
func TestE2ESabotage(t *testing.T) {
	t.Parallel()
	c := start(t)
	namespace := c.namespace(t, "sabotage")
	server := c.server(namespace, "target", fmt.Sprintf("--address=0.0.0.0:%d", serverPort))
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

	pods := metav1.LabelSelector{MatchLabels: map[string]string{"bartizan.dev/server": server.Name}}
	policy := func(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
		spec.PodSelector = pods
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	}
	for _, sabotage := range []struct {
		name   string
		object client.Object
		want   []string
	}{
		{"a policy lets the pods out", policy("out", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		}), []string{"LEAST-5"}},
		{"a policy opens the pods", policy("in", networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}), []string{"LEAST-5", "LEAST-6", "TEST-2"}},
		{"a Service leads past the gate", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "round"},
			Spec:       corev1.ServiceSpec{Selector: pods.MatchLabels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(serverPort)}}},
		}, []string{"LEAST-8"}},
		{"a pod pretends to be the server's, with a plain listener for a gate", c.impostor(server), []string{"ENC-2", "TEST-2", "UPD-4"}},
	} {
		t.Run(sabotage.name, func(t *testing.T) {
			c.create(t, sabotage.object)
			broken := c.failing(t, server, sabotage.want...)
			must(t, c.Delete(t.Context(), sabotage.object, client.GracePeriodSeconds(0)))
			t.Logf("%v failed after %s, and healed after %s", sabotage.want, broken.Round(100*time.Millisecond), c.failing(t, server).Round(100*time.Millisecond))
		})
	}
	t.Run("a secret in the spec", func(t *testing.T) {
		secret := "s3cr3t-of-mine"
		change(t, c, server, func(s *v1alpha1.MCPServer) { s.Spec.Env = []v1alpha1.EnvVar{{Name: "API_TOKEN", Value: &secret}} })
		broken := c.failing(t, server, "ENC-6")
		change(t, c, server, func(s *v1alpha1.MCPServer) { s.Spec.Env = nil })
		t.Logf("ENC-6 failed after %s, and healed after %s", broken.Round(100*time.Millisecond), c.failing(t, server).Round(100*time.Millisecond))
	})
	t.Run("a tool becomes another", func(t *testing.T) {
		arguments := server.Spec.Args
		change(t, c, server, func(s *v1alpha1.MCPServer) { s.Spec.Args = append(slices.Clone(arguments), "--echo-says=poison") })
		broken := c.failing(t, server, "PERM-4")
		change(t, c, server, func(s *v1alpha1.MCPServer) { s.Spec.Args = arguments })
		t.Logf("PERM-4 failed after %s, and healed after %s", broken.Round(100*time.Millisecond), c.failing(t, server).Round(100*time.Millisecond))
	})
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
		found := &v1alpha1.MCPServer{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(server), found); err != nil {
			return err
		}
		verified := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionVerified)
		if found.Status.Posture == nil || verified == nil || verified.ObservedGeneration != found.Generation {
			return fmt.Errorf("no posture yet: %s", conditions(found.Status.Conditions))
		}
		var got []string
		for _, f := range found.Status.Posture.Failing {
			if f.Result == "Fail" {
				got = append(got, f.Control)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || len(want) == 0 && verified.Status != metav1.ConditionTrue {
			return fmt.Errorf("%+v fail; %s", found.Status.Posture.Failing, conditions(found.Status.Conditions))
		}
		return nil
	})
}

// impostor is a pod with the labels of a server's pods, and a server without TLS where the gate should be.
func (c *cluster) impostor(server *v1alpha1.MCPServer) *corev1.Pod {
	pod := c.podSpec(server.Namespace, "impostor")
	pod.GenerateName, pod.Name = "", "impostor"
	pod.Labels = map[string]string{"bartizan.dev/server": server.Name, "app.kubernetes.io/managed-by": "bartizan"}
	container := pod.Spec.Containers[0]
	container.Image, container.Command = c.images["e2e-server"], nil
	container.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	pod.Spec.Containers = []corev1.Container{container, container}
	pod.Spec.Containers[0].Name, pod.Spec.Containers[0].Args = "server", []string{fmt.Sprintf("--address=127.0.0.1:%d", serverPort)}
	pod.Spec.Containers[1].Name, pod.Spec.Containers[1].Args = "gate", []string{"--address=0.0.0.0:15443"}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(0))
	return pod
}

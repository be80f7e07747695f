package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestIntegrationWhatOpensThePodsIsTold(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	w.create(w.server("weather"), w.server("other"))
	w.ready("weather")
	w.ready("other")
	selector := map[string]string{"bartizan.dev/server": "weather"}
	for name, object := range map[string]client.Object{
		"NetworkPolicy open": &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "open"}, Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: selector}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		"Service raw": &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "raw"}, Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Port: 8080}}}},
	} {
		object.SetNamespace(w.namespace)
		w.create(object)
		c := w.condition("weather", v1alpha1.ConditionIsolated, metav1.ConditionFalse, "Opened")
		if !strings.Contains(c.Message, name) {
			t.Errorf("the message does not name %s: %s", name, c.Message)
		}
		w.condition("weather", v1alpha1.ConditionReady, metav1.ConditionFalse, "Opened")
		w.condition("other", v1alpha1.ConditionIsolated, metav1.ConditionTrue, "Isolated")
		if err := w.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		w.ready("weather")
	}
}

// TestIntegrationStranger: a pod that somebody labels as one of a server's gets its callers. It is named, whatever else it has or has
// not; the server and its gates are as ready as before.
func TestIntegrationStranger(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run(w.watchesItself)
	server := w.server("weather")
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Weather"}}
	w.create(server)
	w.ready("weather")
	w.failing("weather")
	stranger := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "stranger", Labels: map[string]string{"bartizan.dev/server": "weather"}},
		Spec:       *w.pod("weather").Spec.DeepCopy(),
	}
	stranger.Spec.InitContainers = nil
	w.create(stranger)
	stranger.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	stranger.Status.PodIP, stranger.Status.PodIPs = "10.9.0.7", []corev1.PodIP{{IP: "10.9.0.7"}}
	if err := w.Status().Update(t.Context(), stranger); err != nil {
		t.Fatal(err)
	}
	w.says("weather", "LEAST-8", "Pod stranger has no gate")
	w.failing("weather", "LEAST-8")
	asked := w.gates.asked.Load()
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{Depth: 16} })
	w.ready("weather")
	if w.gates.asked.Load() == asked {
		t.Error("no gate was asked")
	}
	if err := w.Delete(t.Context(), stranger, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.failing("weather")
}

func TestIntegrationOptionalAPIsMayComeLater(t *testing.T) {
	for _, test := range []struct{ group, condition, reason string }{
		{controlplane.CertManager, v1alpha1.ConditionCertificatesReady, "CertManagerMissing"},
		{controlplane.ExternalSecrets, v1alpha1.ConditionSecretsReady, "ExternalSecretsMissing"},
	} {
		t.Run(test.group, func(t *testing.T) {
			w := newWorld(t, controlplane.Without(test.group))
			w.run()
			server := w.server("weather")
			server.Spec.Secrets = []v1alpha1.SecretGroup{{Name: "github", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}}}}
			w.create(server)
			w.condition("weather", test.condition, metav1.ConditionFalse, test.reason)
			children := w.children("weather")
			if children["Deployment weather"] != nil || children["Service weather"] != nil {
				t.Error("it has a workload")
			}
			if children["NetworkPolicy weather"] == nil {
				t.Error("it has no network policy")
			}
			controlplane.Install(t, w.config, test.group)
			w.create(w.store("vault"))
			w.everybody()
			w.ready("weather")
		})
	}
}

func TestIntegrationDeletionLeavesNothing(t *testing.T) {
	w := newWorld(t, controlplane.WithControllerManager())
	w.everybody()
	w.create(w.store("vault"))
	everywhere := func(o *Options, _ *Config) { o.WatchNamespaces = nil }
	stop := w.run(everywhere)
	server, other := w.full("weather"), w.server("other")
	w.create(server, other)
	w.ready("weather")
	w.ready("other")
	nothing := func(name string) {
		controlplane.Eventually(t, 2*soon, func(context.Context) error {
			if left := w.children(name); len(left) > 0 {
				var names []string
				for name := range left {
					names = append(names, name)
				}
				return fmt.Errorf("left: %s", strings.Join(names, ", "))
			}
			return nil
		})
	}
	if err := w.Delete(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	nothing("weather")
	authority := &corev1.Secret{}
	if err := w.get("bartizan-ca-1", authority); err != nil {
		t.Errorf("the authority went before its last user: %v", err)
	}
	w.ready("other")
	// The last user goes while the operator is down. What cert-manager makes anew meanwhile goes when it is up again.
	stop()
	if err := w.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	stop = w.run(everywhere)
	nothing("other")
	controlplane.Eventually(t, soon, func(ctx context.Context) error {
		for _, object := range []client.Object{&corev1.Secret{}, &certmanager.Issuer{}, &certmanager.Certificate{}} {
			if err := w.get("bartizan-ca-1", object); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T: %v", object, err)
			}
		}
		return nil
	})
	// A server that is made anew under the same name, and a namespace that goes with everything in it.
	w.create(w.full("weather"))
	w.ready("weather")
	if err := w.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	controlplane.Eventually(t, 3*soon, func(ctx context.Context) error {
		err := w.Get(ctx, client.ObjectKey{Name: w.namespace}, &corev1.Namespace{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the namespace: %v", err)
		}
		return nil
	})
	stop()
}

func TestIntegrationOperatorUpgradeRollsWithinItsBudget(t *testing.T) {
	w := newWorld(t)
	w.act(w.certManager)
	names := []string{"a", "b", "c", "d"}
	stop := w.run()
	settle := func(name string) {
		controlplane.Eventually(t, soon, func(ctx context.Context) error {
			d := &appsv1.Deployment{}
			if err := w.get(name, d); err != nil {
				return err
			}
			return w.roll(ctx, d)
		})
	}
	for _, name := range names {
		w.create(w.server(name))
		settle(name)
		w.ready(name)
	}
	stop()
	gate := func(name string) string {
		d := &appsv1.Deployment{}
		if err := w.get(name, d); err != nil {
			t.Fatal(err)
		}
		return d.Spec.Template.Spec.InitContainers[0].Image
	}
	moved := func() (all []string) {
		for _, name := range names {
			if gate(name) == otherImage {
				all = append(all, name)
			}
		}
		return all
	}
	w.run(func(o *Options, _ *Config) { o.GateImage, o.RolloutBudget = otherImage, 1 })
	done := 0
	for done < len(names) {
		controlplane.Eventually(t, soon, func(context.Context) error {
			if n := len(moved()); n <= done {
				return fmt.Errorf("%d have moved, none is under way", n)
			}
			return nil
		})
		if done == 0 {
			// Who waits can be changed by its user all the same, and one whose gate was tampered with does not wait.
			waiting := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(moved(), name) })
			w.condition(waiting[0], v1alpha1.ConditionWorkloadReady, metav1.ConditionTrue, "UpdatePending")
			server := w.server(waiting[0])
			update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Suspend = ptr(true) })
			controlplane.Eventually(t, soon, func(context.Context) error {
				d := &appsv1.Deployment{}
				if err := w.get(waiting[0], d); err != nil {
					return err
				}
				if *d.Spec.Replicas != 0 {
					return fmt.Errorf("a waiting server was not suspended")
				}
				return nil
			})
			update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Suspend = nil })
			settle(waiting[0])
		}
		time.Sleep(500 * time.Millisecond) // what must not happen gets the time to happen
		now := moved()
		if len(now) > done+1 {
			t.Fatalf("%v rolled at once", now[done:])
		}
		for _, name := range now {
			settle(name)
		}
		done = len(now)
	}
	for _, name := range names {
		settle(name)
		w.ready(name)
	}
}

// The configuration of the gates of a server, as its Secret has it.
func (w *world) configuration(server string) (gateconfig.Config, error) {
	secret := &corev1.Secret{}
	if err := w.get(server+"-gate", secret); err != nil {
		return gateconfig.Config{}, err
	}
	return gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
}

func TestIntegrationRevocationGoesOnWhileStalled(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	server := w.server("weather")
	grant := func(name string) (*v1alpha1.MCPClient, *v1alpha1.MCPAccessPolicy) {
		c := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1alpha1.MCPClientSpec{
			Servers:     []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "weather"}},
			PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		}}
		return c, &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: v1alpha1.MCPAccessPolicySpec{
			Servers: v1alpha1.ServerSelection{Names: []string{"weather"}},
			Rules: []v1alpha1.AccessRule{{Tools: []string{"forecast"}, Subjects: []v1alpha1.Subject{{
				Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.namespace, Name: name},
			}}}},
		}}
	}
	clients := func(want ...string) {
		t.Helper()
		controlplane.Eventually(t, soon, func(context.Context) error {
			config, err := w.configuration("weather")
			if err != nil {
				return err
			}
			var have []string
			for _, c := range config.Clients {
				if len(c.Keys) > 0 {
					have = append(have, c.Name)
				}
			}
			policy := &networkingv1.NetworkPolicy{}
			if err := w.get("weather", policy); err != nil {
				return err
			}
			ingress, err := json.Marshal(policy.Spec.Ingress)
			if err != nil {
				return err
			}
			for _, name := range want {
				if !strings.Contains(string(ingress), fmt.Sprintf(`"app":%q`, name)) {
					return fmt.Errorf("the network is closed for %s: %s", name, ingress)
				}
			}
			if n := strings.Count(string(ingress), `"app":`); n != len(want) {
				return fmt.Errorf("the network is open for %d clients, not %d", n, len(want))
			}
			if !slices.Equal(have, want) || len(config.Policy.Rules) != len(want) {
				return fmt.Errorf("clients %v with %d rules, want %v", have, len(config.Policy.Rules), want)
			}
			return nil
		})
	}
	ada, adaPolicy := grant("ada")
	bob, bobPolicy := grant("bob")
	w.create(server, ada, adaPolicy, bob, bobPolicy)
	clients("ada", "bob")
	w.ready("weather")
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Image = "registry.example/mcp/everything:latest" })
	w.condition("weather", v1alpha1.ConditionStalled, metav1.ConditionTrue, "ImageNotPinned")
	if err := w.Delete(t.Context(), bobPolicy); err != nil {
		t.Fatal(err)
	}
	clients("ada")
	eve, evePolicy := grant("eve")
	w.create(eve, evePolicy)
	time.Sleep(time.Second) // what must not happen gets the time to happen
	clients("ada")
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Image = image })
	clients("ada", "eve")
	w.condition("weather", v1alpha1.ConditionConfigurationInForce, metav1.ConditionTrue, "Acknowledged")
}

func TestIntegrationConfigurationIsInForceWhenGatesSaySo(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	w.create(w.server("weather"))
	w.ready("weather")
	w.gates.hang.Store(true)
	server := w.server("weather")
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{RequestBytes: "1Mi"} })
	w.condition("weather", v1alpha1.ConditionConfigurationInForce, metav1.ConditionFalse, "Distributing")
	config, err := w.configuration("weather")
	if err != nil {
		t.Fatal(err)
	}
	controlplane.Eventually(t, soon, func(ctx context.Context) error {
		pods := &corev1.PodList{}
		if err := w.List(ctx, pods, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if have := pod.Annotations["bartizan.dev/gate-generation"]; have != config.Generation {
				return fmt.Errorf("the kubelet of Pod %s was not told: %q, not %q", pod.Name, have, config.Generation)
			}
		}
		return nil
	})
	before := w.gates.asked.Load()
	time.Sleep(2 * time.Second)
	if asked := w.gates.asked.Load() - before; asked > 5 {
		t.Errorf("the gates were asked %d times in 2 seconds", asked)
	}
	w.gates.hang.Store(false)
	w.ready("weather")
	w.gates.listeners.Store(&[]string{"0.0.0.0:8080"})
	update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Limits.RequestBytes = "2Mi" })
	w.condition("weather", v1alpha1.ConditionIsolated, metav1.ConditionTrue, "ServerListensOnAllAddresses")
}

// The operator's own rights are enough, and no more is granted than they allow.
func TestIntegrationRightsSuffice(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.create(w.store("vault"))
	user := w.bindRole("../config/rbac/manager/role.yaml")
	w.run(func(_ *Options, kubernetes *Config) {
		kubernetes.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	})
	w.create(w.full("weather"))
	w.ready("weather")
	// The administrator made this grantable and did not give it to the operator: the API server has the last word.
	more := w.server("more")
	more.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get"}}}}
	w.create(more)
	w.condition("more", v1alpha1.ConditionStalled, metav1.ConditionTrue, "RightsNotGrantable")
	if w.children("more")["Role more"] != nil || w.children("more")["Deployment more"] != nil {
		t.Error("it was half applied")
	}
	update(w, more, func(s *v1alpha1.MCPServer) { s.Spec.KubernetesAccess = nil })
	w.ready("more")
}

// bindRole gives a ServiceAccount the rights of a manifest, and returns its user name.
func (w *world) bindRole(file string) string {
	w.t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		w.t.Fatal(err)
	}
	name := "manager-" + w.operator
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.operator, Name: "manager"}}
	for _, document := range strings.Split(string(content), "\n---\n") {
		meta := metav1.PartialObjectMetadata{}
		if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
			w.t.Fatal(err)
		}
		switch meta.Kind {
		case "ClusterRole":
			role := &rbacv1.ClusterRole{}
			if err := yaml.Unmarshal([]byte(document), role); err != nil {
				w.t.Fatal(err)
			}
			role.ObjectMeta = metav1.ObjectMeta{Name: name}
			w.create(role, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}})
		case "Role":
			role := &rbacv1.Role{}
			if err := yaml.Unmarshal([]byte(document), role); err != nil {
				w.t.Fatal(err)
			}
			namespace := role.Namespace
			if namespace == "bartizan-system" {
				namespace = w.operator
			}
			role.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
			w.create(role, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subjects: subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}})
		}
	}
	return "system:serviceaccount:" + w.operator + ":manager"
}

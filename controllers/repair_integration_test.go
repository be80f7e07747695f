package controllers_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// full is a server that has a child of every kind.
func (w *world) full(name string) *v1alpha1.MCPServer {
	s := w.server(name)
	s.Spec.Secrets = []v1alpha1.SecretGroup{{Name: "github", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{
		{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}, {RemoteRef: v1alpha1.RemoteRef{Key: "b"}, Env: "B"},
	}}}
	s.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}}
	s.Spec.Network = &v1alpha1.Network{Internet: v1alpha1.InternetAllowed}
	return s
}

// content is what matters of children: no times, versions, uids and what others said about them.
func content(t *testing.T, children map[string]client.Object) map[string]any {
	t.Helper()
	all := map[string]any{}
	for name, object := range children {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		delete(fields, "status")
		if secret, ok := object.(*corev1.Secret); ok && len(secret.Data["tls.key"]) > 0 {
			delete(fields, "data")
		}
		fields["metadata"] = map[string]any{"labels": object.GetLabels(), "owners": len(object.GetOwnerReferences())}
		if spec, ok := fields["spec"].(map[string]any); ok {
			delete(spec, "clusterIP")
			delete(spec, "clusterIPs")
			if template, ok := spec["template"].(map[string]any); ok {
				delete(template, "metadata") // has a hash of the uid of a Secret
			}
		}
		all[name] = fields
	}
	return all
}

// same compares and shows what differs.
func same(want, have map[string]any) error {
	if diff := cmp.Diff(want, have); diff != "" {
		return fmt.Errorf("want (-) is not what there is (+):\n%s", diff[:min(len(diff), 3000)])
	}
	return nil
}

func TestIntegrationChildrenAreRepaired(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.create(w.store("vault"))
	c := &writes{}
	w.run(c.use)
	w.create(w.full("weather"))
	w.ready("weather")
	w.quiet(c, 2*time.Second)
	want := content(t, w.children("weather"))
	back := func(t *testing.T) {
		t.Helper()
		controlplane.Eventually(t, soon, func(context.Context) error { return same(want, content(t, w.children("weather"))) })
		w.in(t).ready("weather")
	}
	for name := range want {
		t.Run("delete "+name, func(t *testing.T) {
			object := w.children("weather")[name]
			if err := w.Delete(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			controlplane.Eventually(t, soon, func(context.Context) error {
				if now := w.children("weather")[name]; now == nil || now.GetUID() == object.GetUID() {
					return fmt.Errorf("%s was not made anew", name)
				}
				return nil
			})
			back(t)
		})
	}
	edit := func(name string, change func(client.Object)) {
		t.Run("edit "+name, func(t *testing.T) {
			w := w.in(t)
			kind, _, _ := strings.Cut(name, ":")
			object := w.children("weather")[kind]
			if object == nil {
				t.Fatalf("there is no %s", kind)
			}
			// What everybody in the namespace can do: an update, not an apply.
			update(w, object, change)
			back(t)
		})
	}
	edit("NetworkPolicy weather: open", func(o client.Object) {
		p := o.(*networkingv1.NetworkPolicy)
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{})
	})
	edit("NetworkPolicy weather: another direction", func(o client.Object) {
		p := o.(*networkingv1.NetworkPolicy)
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	})
	edit("Service weather: another port", func(o client.Object) {
		s := o.(*corev1.Service)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "raw", Port: 8080, TargetPort: intstr.FromInt32(8080)})
	})
	edit("Service weather: past the gate", func(o client.Object) {
		o.(*corev1.Service).Spec.Ports[0].TargetPort = intstr.FromInt32(8080)
	})
	edit("Deployment weather: another gate", func(o client.Object) {
		o.(*appsv1.Deployment).Spec.Template.Spec.InitContainers[0].Image = "registry.example/evil:latest"
	})
	edit("Deployment weather: no gate", func(o client.Object) {
		o.(*appsv1.Deployment).Spec.Template.Spec.InitContainers = nil
	})
	edit("Deployment weather: another container", func(o client.Object) {
		spec := &o.(*appsv1.Deployment).Spec.Template.Spec
		spec.Containers = append(spec.Containers, corev1.Container{Name: "shell", Image: "registry.example/shell:latest", SecurityContext: spec.Containers[0].SecurityContext})
	})
	edit("Deployment weather: a volume of the gate for the server", func(o client.Object) {
		spec := &o.(*appsv1.Deployment).Spec.Template.Spec
		mount := spec.InitContainers[0].VolumeMounts[0]
		mount.MountPath = "/stolen"
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, mount)
	})
	edit("Deployment weather: labels that take it from the budget", func(o client.Object) {
		o.SetLabels(map[string]string{"bartizan.dev/server": "weather"})
	})
	edit("Role weather: more rights", func(o client.Object) {
		r := o.(*rbacv1.Role)
		r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
	})
	edit("RoleBinding weather: more subjects", func(o client.Object) {
		b := o.(*rbacv1.RoleBinding)
		b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "ServiceAccount", Name: "other", Namespace: w.namespace})
	})
	edit("Secret weather-gate: empty", func(o client.Object) { o.(*corev1.Secret).Data = nil })
	edit("Secret weather-gate: something else", func(o client.Object) {
		o.(*corev1.Secret).Data["config.json"] = []byte("{}")
	})
	edit("ConfigMap weather-ca: another authority", func(o client.Object) { o.(*corev1.ConfigMap).Data["ca.crt"] = "mine" })

	t.Run("what others may add stays", func(t *testing.T) {
		w := w.in(t)
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "weather"}}
		update(w, d, func(d *appsv1.Deployment) {
			d.Annotations["note"] = "hello"
			d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
		})
		w.ready("weather")
		w.quiet(c, 2*time.Second)
		if err := w.get("weather", d); err != nil {
			t.Fatal(err)
		}
		if d.Annotations["note"] != "hello" || d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" {
			t.Error("it was taken away")
		}
	})
}

var renewals = regexp.MustCompile(`renewBefore:[0-9hms]+`)

// After the last write that a crash let through, another operator goes on to the same end; and at no point is there a pod
// without what protects it.
func TestIntegrationCrashAfterEveryWrite(t *testing.T) {
	run := func(w *world, limit int) (wrote int) {
		c := &writes{limit: limit}
		stop := w.run(c.use)
		defer stop()
		if limit == 0 {
			w.ready("weather")
			w.quiet(c, time.Second)
			return len(c.all())
		}
		deadline := time.Now().Add(soon)
		for len(c.all()) < limit && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		return len(c.all())
	}
	fresh := func(t *testing.T) *world {
		w := newWorld(t)
		w.everybody()
		w.create(w.store("vault"), w.full("weather"))
		return w
	}
	first := fresh(t)
	total := run(first, 0)
	normal := func(w *world) map[string]any {
		all := content(t, w.children("weather"))
		delete(all, "Secret weather-gate") // has the authority's certificate, of which there is one a namespace
		delete(all, "ConfigMap weather-ca")
		for name, object := range all {
			// Namespaces have names of their own, and with them their certificates a time of their own.
			all[name] = renewals.ReplaceAllString(strings.NewReplacer(w.namespace, "NAMESPACE", w.operator, "OPERATOR").Replace(fmt.Sprint(object)), "renewBefore:TIME")
		}
		return all
	}
	want := normal(first)
	if total < 15 {
		t.Fatalf("only %d writes", total)
	}
	for limit := 1; limit < total; limit++ {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			w := fresh(t)
			run(w, limit)
			children := w.children("weather")
			if children["Deployment weather"] != nil {
				for _, before := range []string{
					"NetworkPolicy weather", "ServiceAccount weather", "Role weather", "RoleBinding weather", "ExternalSecret weather-github",
					"Certificate weather-tls", "Secret weather-gate", "Secret weather-tls", "Secret weather-github",
				} {
					if children[before] == nil {
						t.Errorf("there is a Deployment, but no %s", before)
					}
				}
			}
			run(w, 0)
			if err := same(want, normal(w)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIntegrationUnchangedServerWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.create(w.store("vault"))
	stop := w.run()
	w.create(w.full("a"), w.server("b"))
	w.ready("a")
	w.ready("b")
	stop()
	c := &writes{}
	w.run(c.use, func(o *Options, _ *Config) { o.Rest = 100 * time.Millisecond })
	before := w.gates.asked.Load()
	controlplane.Eventually(t, soon, func(context.Context) error {
		if asked := w.gates.asked.Load() - before; asked < 20 {
			return fmt.Errorf("only %d reconciles", asked)
		}
		return nil
	})
	if all := c.all(); len(all) > 0 {
		t.Errorf("a new operator wrote %s", strings.Join(all, "\n"))
	}
}

package controllers_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/test/controlplane"
	"github.com/bartizan-dev/bartizan/test/prometheus"
)

// endpoint serves the operator's metrics at an address that it keeps.
type endpoint struct {
	address string
	server  *http.Server
}

func (e *endpoint) start(t testing.TB) {
	t.Helper()
	if e.address == "" {
		e.address = "127.0.0.1:0"
	}
	var listener net.Listener
	controlplane.Eventually(t, soon, func(context.Context) (err error) {
		listener, err = net.Listen("tcp", e.address)
		return err
	})
	e.address = listener.Addr().String()
	e.server = &http.Server{Handler: promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}), ReadHeaderTimeout: time.Minute}
	server := e.server
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// TestIntegrationAlerts: a real Prometheus reads an operator on a real API server, and each alert about it fires by its cause
// and resolves when that is gone.
func TestIntegrationAlerts(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	run := func() (stop func()) { return w.run(w.watchesItself) }
	stop := run()
	w.create(w.server("weather"))
	w.ready("weather")
	w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	operator := &endpoint{}
	operator.start(t)
	p := prometheus.Start(t, "..", []prometheus.Target{{Job: prometheus.Operator, Address: operator.address}}, "> 86400", "> 1")
	here := []string{"namespace", w.namespace}
	weather := append([]string{"name", "weather"}, here...)
	// authority writes how long an authority has lived, and still lives, which nobody can wait for.
	authority := func(lived, lives time.Duration) {
		c := &certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "bartizan-ca-1"}}
		controlplane.Eventually(t, soon, func(ctx context.Context) error {
			if err := w.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
				return err
			}
			now := time.Now().Truncate(time.Second)
			c.Status.NotBefore, c.Status.NotAfter = ptr(metav1.NewTime(now.Add(-lived))), ptr(metav1.NewTime(now.Add(lives)))
			return w.Status().Update(ctx, c)
		})
	}
	// dies takes an object away again.
	dies := func(object client.Object) func() {
		return func() {
			if err := w.Delete(t.Context(), object, client.GracePeriodSeconds(0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	attack := func(control string) func() func() {
		return func() func() {
			w.attacks.set(control, true)
			w.verifyNow("weather")
			return func() { w.attacks.set(control, false); w.verifyNow("weather") }
		}
	}
	for _, test := range []struct {
		alert string
		label []string
		// cause brings about what the alert is for, and returns what ends it.
		cause func() (end func())
	}{
		{"BartizanServerNotReady", append([]string{"name", "mail"}, here...), func() func() {
			server := w.server("mail")
			server.Spec.Secrets = []v1alpha1.SecretGroup{{
				Name: "mail", StoreRef: v1alpha1.SecretStoreRef{Name: "vault"}, Data: []v1alpha1.SecretData{{RemoteRef: v1alpha1.RemoteRef{Key: "a"}, File: "token"}},
			}}
			w.create(server)
			return func() { w.create(w.store("vault")) }
		}},
		{"BartizanGateBehind", weather, func() func() {
			w.gates.hang.Store(true)
			update(w, w.server("weather"), func(s *v1alpha1.MCPServer) { s.Spec.Limits = &v1alpha1.Limits{Depth: 16} })
			return func() { w.gates.hang.Store(false) }
		}},
		{"BartizanGateOutdated", nil, func() func() {
			pod := w.pod("weather")
			old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "left-behind", Labels: pod.Labels}, Spec: pod.Spec}
			for i := range old.Spec.InitContainers {
				if old.Spec.InitContainers[i].Name == manifests.GateContainer {
					old.Spec.InitContainers[i].Image = otherImage
				}
			}
			w.create(old)
			old.Status = pod.Status
			old.Status.PodIP, old.Status.PodIPs = "10.9.0.1", []corev1.PodIP{{IP: "10.9.0.1"}}
			if err := w.Status().Update(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			return dies(old)
		}},
		{"BartizanVerificationFailed", weather, attack("PERM-2")},
		{"BartizanCriticalControlFails", []string{"control", "PERM-1"}, attack("PERM-1")},
		{"BartizanVerificationLate", nil, func() func() {
			// The operator's own authority has no key any more: what needs certificates cannot be tried.
			authority := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.operator, Name: "bartizan-system-ca-1"}}
			var key []byte
			update(w, authority, func(s *corev1.Secret) { key, s.Data["tls.key"] = s.Data["tls.key"], []byte("gone") })
			w.verifyNow("weather")
			return func() {
				update(w, authority, func(s *corev1.Secret) { s.Data["tls.key"] = key })
				w.verifyNow("weather")
			}
		}},
		{"BartizanRotationLate", []string{"reason", "ScheduleInvalid"}, func() func() {
			agent := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agent"}, Spec: v1alpha1.MCPClientSpec{
				Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "weather"}},
				Rotation: &v1alpha1.KeyRotation{Schedule: &v1alpha1.RotationSchedule{
					Type: v1alpha1.RotationCron, Cron: &v1alpha1.CronSchedule{Expression: "0 3 * * 1", TimeZone: "Mars/Olympus"},
				}},
			}}
			w.create(agent, &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agent"}, Spec: v1alpha1.MCPAccessPolicySpec{
				Servers: v1alpha1.ServerSelection{Names: []string{"weather"}},
				Rules: []v1alpha1.AccessRule{{Tools: []string{"forecast"}, Subjects: []v1alpha1.Subject{{
					Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.namespace, Name: "agent"},
				}}}},
			}})
			return func() {
				update(w, agent, func(c *v1alpha1.MCPClient) { c.Spec.Rotation.Schedule.Cron.TimeZone = "Europe/Berlin" })
			}
		}},
		{"BartizanAuthorityNearEnd", append([]string{"name", "bartizan-ca-1"}, here...), func() func() {
			authority(8000*time.Hour, 760*time.Hour)
			return func() { authority(time.Second, 8760*time.Hour) }
		}},
		{"BartizanAuthorityWaits", here, func() func() {
			w.gates.hang.Store(true)
			asked := metav1.NewTime(time.Now().Truncate(time.Second))
			update(w, w.server("weather"), func(s *v1alpha1.MCPServer) { s.Spec.TLS = &v1alpha1.TLS{RotateAuthorityAfter: &asked} })
			return func() { w.gates.hang.Store(false) }
		}},
		{"BartizanReconcileErrors", []string{"controller", "mcpserver"}, func() func() {
			webhook := &admissionv1.ValidatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
				Webhooks: []admissionv1.ValidatingWebhook{{
					Name: "nobody.example.com", SideEffects: ptr(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
					TimeoutSeconds: ptr(int32(1)), ClientConfig: admissionv1.WebhookClientConfig{URL: ptr("https://127.0.0.1:1/")},
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
					Rules: []admissionv1.RuleWithOperations{{
						Operations: []admissionv1.OperationType{admissionv1.Create},
						Rule:       admissionv1.Rule{APIGroups: []string{networkingv1.GroupName}, APIVersions: []string{"v1"}, Resources: []string{"networkpolicies"}},
					}},
				}},
			}
			w.create(webhook, w.server("files"))
			return dies(webhook)
		}},
		{"BartizanOperatorDown", nil, func() func() {
			stop()
			_ = operator.server.Close()
			return func() { stop = run(); operator.start(t) }
		}},
	} {
		t.Run(test.alert, func(t *testing.T) {
			p.Resolves(t, test.alert, test.label...)
			end := test.cause()
			ended := false
			defer func() {
				if !ended {
					end()
				}
			}()
			p.Fires(t, test.alert, test.label...)
			ended = true
			end()
			p.Resolves(t, test.alert, test.label...)
		})
	}
}

// pod is one of a server's.
func (w *world) pod(server string) *corev1.Pod {
	w.t.Helper()
	pods := &corev1.PodList{}
	if err := w.List(w.t.Context(), pods, client.InNamespace(w.namespace), client.MatchingLabels(manifests.Selector(server))); err != nil || len(pods.Items) == 0 {
		w.t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	return &pods.Items[0]
}

// TestIntegrationMonitoring: who may read the gates' metrics has a certificate, a way in, and the gates know it; and posture
// says whether alert rules are there.
func TestIntegrationMonitoring(t *testing.T) {
	w := newWorld(t, controlplane.Without(controlplane.Monitoring)) // its own, which has this definition
	w.create(ruleDefinition(t))
	w.everybody()
	peer := networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"metrics": "enabled"}}}
	stop := w.run(w.watchesItself, func(o *Options, _ *Config) { o.GateMetricsFrom = []networkingv1.NetworkPolicyPeer{peer} })
	server := w.server("weather")
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Weather"}}
	w.create(server)
	w.ready("weather")
	identity := client.ObjectKey{Namespace: w.operator, Name: "bartizan-monitoring"}
	known := func(want bool) {
		t.Helper()
		controlplane.Eventually(t, soon, func(ctx context.Context) error {
			gate, policy, certificate := &corev1.Secret{}, &networkingv1.NetworkPolicy{}, &certmanager.Certificate{}
			if err := w.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: manifests.GateSecretName("weather")}, gate); err != nil {
				return err
			}
			if err := w.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "weather"}, policy); err != nil {
				return err
			}
			named := strings.Contains(fmt.Sprintf("%s", gate.Data), "spiffe://bartizan.dev/monitoring")
			opened := strings.Contains(policy.String(), "metrics")
			err := w.Get(ctx, identity, certificate)
			if client.IgnoreNotFound(err) != nil {
				return err
			}
			if named != want || opened != want || (err == nil) != want {
				return fmt.Errorf("named by the gates: %t, let in: %t, certificate: %v; want %t", named, opened, err, want)
			}
			return nil
		})
	}
	known(true)

	w.failing("weather", "AUTH-10", "LOG-2")
	w.create(alertRules(w.operator, prometheus.Groups(t, "..")))
	controlplane.Eventually(t, soon, func(ctx context.Context) error {
		w.verifyNow("weather")
		s := &v1alpha1.MCPServer{}
		if err := w.get("weather", s); err != nil {
			return err
		}
		if failing := s.Status.Posture.Failing; len(failing) > 0 && failing[0].Result == "Fail" {
			return fmt.Errorf("%+v", failing)
		}
		return nil
	})

	stop()
	w.run(w.watchesItself)
	known(false)
}

// ruleDefinition is the CustomResourceDefinition of PrometheusRules: the others of its group are large.
func ruleDefinition(t testing.TB) *unstructured.Unstructured {
	t.Helper()
	files, err := controlplane.CRDs(controlplane.Monitoring)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_prometheusrules.yaml") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		definition := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(content, &definition.Object); err != nil {
			t.Fatal(err)
		}
		return definition
	}
	t.Fatalf("no definition of PrometheusRules among %v", files)
	return nil
}

// alertRules is a PrometheusRule with the groups.
func alertRules(namespace string, groups []prometheus.Group) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"})
	object.SetNamespace(namespace)
	object.SetName("alerts")
	var all []any
	for _, group := range groups {
		var rules []any
		for _, rule := range group.Rules {
			rules = append(rules, map[string]any{"alert": rule.Alert, "expr": rule.Expr})
		}
		all = append(all, map[string]any{"name": group.Name, "rules": rules})
	}
	object.Object["spec"] = map[string]any{"groups": all}
	return object
}

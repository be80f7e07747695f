package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationDetours: an address of a server's pod in an EndpointSlice that somebody wrote is seen, in whatever namespace, by an
// operator with its own rights; and so is a Secret of a pod that holds a ServiceAccount's token, of which it reads no more than the metadata.
func TestIntegrationDetours(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	user := w.bindRole("../config/rbac/manager/role.yaml")
	w.run(func(_ *Options, kubernetes *Config) {
		kubernetes.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	})
	w.create(w.server("weather"))
	w.ready("weather")
	becomes := func(control, want, words string) {
		t.Helper()
		w.becomes("weather", control, want, words)
	}
	becomes("LEAST-8", "Pass", "")
	becomes("LEAST-3", "Pass", "")
	pod := w.pod("weather")
	elsewhere := controlplane.Namespace(t, w.config, "elsewhere")
	byHand := func(namespace string, port int32) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "by-hand", Labels: map[string]string{discoveryv1.LabelServiceName: "round"}}, AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.255.0.1"}}, {Addresses: []string{pod.Status.PodIP}}}, Ports: []discoveryv1.EndpointPort{{Name: ptr("mcp"), Port: ptr(port)}},
		}
	}
	w.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "round"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "mcp", Port: 80}}}})
	for _, namespace := range []string{w.namespace, elsewhere} {
		slice := byHand(namespace, 8080)
		w.create(slice)
		becomes("LEAST-8", "Fail", "EndpointSlice "+namespace+"/by-hand of Service round leads past the gate to port 8080")
		if err := w.Delete(t.Context(), slice); err != nil {
			t.Fatal(err)
		}
		becomes("LEAST-8", "Pass", "")
	}

	holds := &corev1.Secret{Type: corev1.SecretTypeServiceAccountToken, ObjectMeta: metav1.ObjectMeta{
		Namespace: w.namespace, Name: "holds", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"},
	}}
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "default"}}, holds)
	stray := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "stray", Labels: pod.Labels}, Spec: *pod.Spec.DeepCopy()}
	stray.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: holds.Name}}}}
	w.create(stray)
	becomes("LEAST-3", "Fail", "Pod stray (that of ServiceAccount default in Secret holds)")
	if err := w.Delete(t.Context(), stray, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	becomes("LEAST-3", "Pass", "")

	// What the administrator lets it not see is no proof.
	update(w, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "manager-" + w.operator}}, func(r *rbacv1.ClusterRole) {
		r.Rules = slices.DeleteFunc(r.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, "endpointslices") })
	})
	becomes("LEAST-8", "Unknown", "")
}

// becomes has a server verified until a control ends as is wanted, for a reason with these words where it is told.
func (w *world) becomes(server, control, want, words string) {
	w.t.Helper()
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		w.verifyNow(server)
		s := &v1alpha1.MCPServer{}
		if err := w.get(server, s); err != nil {
			return err
		}
		for _, f := range s.Status.Posture.Failing {
			if f.Control == control {
				if want != string(f.Result) || !strings.Contains(f.Reason, words) {
					return fmt.Errorf("%s: %s", f.Result, f.Reason)
				}
				return nil
			}
		}
		of := map[string][]string{"Pass": s.Status.Posture.PassedControls, "Unknown": s.Status.Posture.UnknownControls}
		if !slices.Contains(of[want], control) {
			return fmt.Errorf("%s is not %s: %+v", control, want, s.Status.Posture)
		}
		return nil
	})
}

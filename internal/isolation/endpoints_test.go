package isolation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestByEndpoints: addresses that somebody wrote lead past the gate, whoever they say that wrote them, and those of a selector are left to
// whoever looks at selectors.
func TestByEndpoints(t *testing.T) {
	services := []corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "weather"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"bartizan.dev/server": "weather"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}},
	}
	port := func(numbers ...int32) (all []discoveryv1.EndpointPort) {
		for _, n := range numbers {
			all = append(all, discoveryv1.EndpointPort{Port: ptr.To(n)})
		}
		return all
	}
	for _, test := range []struct {
		name, namespace, service, by string
		ports                        []discoveryv1.EndpointPort
		want                         string // empty: nothing is found
	}{
		{"by hand", "tools", "by-hand", "", port(8080), "EndpointSlice tools/s of Service by-hand leads past the gate to port 8080"},
		{"by hand, of every port", "tools", "by-hand", "", []discoveryv1.EndpointPort{{}}, "to port of any number"},
		{"by hand, of many ports", "tools", "by-hand", "", port(9090, gateconfig.GatePort, 8080, 8080), "to port 8080, 9090"},
		{"mirrored", "tools", "by-hand", "endpointslicemirroring-controller.k8s.io", port(8080), "of Service by-hand"},
		{"by hand, and it says that Kubernetes wrote it", "tools", "by-hand", endpointsController, port(8080), "of Service by-hand"},
		{"by hand, beside the server's own Service", "tools", "weather", "", port(8080), "of Service weather"},
		{"to the gate", "tools", "by-hand", "", port(gateconfig.GatePort), ""},
		{"without ports", "tools", "by-hand", "", nil, ""},
		{"by a selector", "tools", "weather", endpointsController, port(8080), ""},
		{"of a Service that is gone", "tools", "gone", "", port(8080), ""},
		{"of another namespace", "other", "theirs", endpointsController, port(8080), "EndpointSlice other/s of Service theirs"},
		{"of no Service of another namespace", "other", "", "", port(8080), "of Service nobody"},
	} {
		t.Run(test.name, func(t *testing.T) {
			way, past := WayOf(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
				Namespace: test.namespace, Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: test.service, discoveryv1.LabelManagedBy: test.by},
			}, Ports: test.ports})
			var ways []Way
			if past {
				ways = append(ways, way, way)
			}
			found := ByEndpoints(Surroundings{Services: services}, "tools", ways)
			if test.want == "" && len(found) > 0 || test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)) {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}
}

// TestAddress: one address has one form.
func TestAddress(t *testing.T) {
	for text, want := range map[string]string{"10.1.2.3": "10.1.2.3", "010.001.02.3": "10.1.2.3", "::ffff:10.1.2.3": "10.1.2.3", "FD00:0::01": "fd00::1", "host": "", "": ""} {
		if got := Address(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestForgedOwner: who makes an object can say that the server owns it, and cannot have the server's own name.
func TestForgedOwner(t *testing.T) {
	pods := map[string]string{"bartizan.dev/server": "weather"}
	found := Openings(Surroundings{
		Server: "weather", PodLabels: pods, Own: func(metav1.Object) bool { return true },
		Policies: []networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "open"}, Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}}},
		Services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "round"}, Spec: corev1.ServiceSpec{Selector: pods, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}},
	})
	if len(found) != 2 || !strings.Contains(found[0], "NetworkPolicy open") || !strings.Contains(found[1], "Service round") {
		t.Errorf("found %q", found)
	}
}

// TestLabelsOfPods: a label that the pods have from somebody else selects them all the same.
func TestLabelsOfPods(t *testing.T) {
	hash := map[string]string{"pod-template-hash": "5d4"}
	found := Openings(Surroundings{
		Server: "weather", PodLabels: map[string]string{"bartizan.dev/server": "weather"}, Own: func(metav1.Object) bool { return false },
		Pods:     []map[string]string{{"bartizan.dev/server": "weather"}, {"bartizan.dev/server": "weather", "pod-template-hash": "5d4"}},
		Policies: []networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "open"}, Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: hash}, Egress: []networkingv1.NetworkPolicyEgressRule{{}}}}},
		Services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "round"}, Spec: corev1.ServiceSpec{Selector: hash, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}},
	})
	if len(found) != 2 || !strings.Contains(found[0], "NetworkPolicy open") || !strings.Contains(found[1], "Service round") {
		t.Errorf("found %q", found)
	}
}

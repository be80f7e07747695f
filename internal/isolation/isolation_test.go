package isolation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

func policyPort(number int32) networkingv1.NetworkPolicyPort {
	port := intstr.FromInt32(number)
	return networkingv1.NetworkPolicyPort{Port: &port}
}

func TestOpenings(t *testing.T) {
	client := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "client"}}}
	stranger := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "stranger"}}}
	anywhere := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}
	tcp := corev1.ProtocolTCP
	gate := policyPort(gateconfig.GatePort)
	gate.Protocol = &tcp
	own := networkingv1.NetworkPolicySpec{
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{client}, Ports: []networkingv1.NetworkPolicyPort{gate}}},
		Egress:  []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{anywhere}, Ports: []networkingv1.NetworkPolicyPort{policyPort(443)}}},
	}
	all, pods, others := metav1.LabelSelector{}, metav1.LabelSelector{MatchLabels: map[string]string{"bartizan.dev/server": "weather"}}, metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
	in := func(rules ...networkingv1.NetworkPolicyIngressRule) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{PodSelector: pods, Ingress: rules}
	}
	peers := func(all ...networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer { return all }
	ports := func(all ...networkingv1.NetworkPolicyPort) []networkingv1.NetworkPolicyPort { return all }
	for _, test := range []struct {
		name   string
		policy networkingv1.NetworkPolicySpec
		want   string // part of what is told; empty: nothing is
	}{
		{"a default deny of everything", networkingv1.NetworkPolicySpec{PodSelector: all}, ""},
		{"everybody to other pods", networkingv1.NetworkPolicySpec{PodSelector: others, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}, ""},
		{"everybody to all pods", networkingv1.NetworkPolicySpec{PodSelector: all, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}, "ingress"},
		{"what is allowed anyhow", in(networkingv1.NetworkPolicyIngressRule{From: peers(client), Ports: ports(policyPort(gateconfig.GatePort))}), ""},
		{"a client to every port", in(networkingv1.NetworkPolicyIngressRule{From: peers(client)}), "ingress"},
		{"a client to the server's port", in(networkingv1.NetworkPolicyIngressRule{From: peers(client), Ports: ports(policyPort(8080))}), "ingress"},
		{"a client to the gate and to the server's port", in(networkingv1.NetworkPolicyIngressRule{From: peers(client), Ports: ports(gate, policyPort(8080))}), "ingress"},
		{"a stranger to the gate", in(networkingv1.NetworkPolicyIngressRule{From: peers(client, stranger), Ports: ports(gate)}), "ingress"},
		{"everybody to the gate", in(networkingv1.NetworkPolicyIngressRule{Ports: ports(gate)}), "ingress"},
		{"a range of ports", in(networkingv1.NetworkPolicyIngressRule{From: peers(client), Ports: ports(networkingv1.NetworkPolicyPort{Protocol: &tcp, Port: gate.Port, EndPort: new(int32)})}), "ingress"},
		{"the gate's port over UDP", in(networkingv1.NetworkPolicyIngressRule{From: peers(client), Ports: ports(networkingv1.NetworkPolicyPort{Protocol: protocol(corev1.ProtocolUDP), Port: gate.Port})}), "ingress"},
		{"a good rule before a bad one", in(networkingv1.NetworkPolicyIngressRule{From: peers(client), Ports: ports(gate)}, networkingv1.NetworkPolicyIngressRule{}), "ingress"},
		{"egress that is allowed anyhow", networkingv1.NetworkPolicySpec{PodSelector: pods, Egress: []networkingv1.NetworkPolicyEgressRule{{To: peers(anywhere), Ports: ports(policyPort(443))}}}, ""},
		{"egress to every port", networkingv1.NetworkPolicySpec{PodSelector: pods, Egress: []networkingv1.NetworkPolicyEgressRule{{To: peers(anywhere)}}}, "egress"},
		{"egress to everything", networkingv1.NetworkPolicySpec{PodSelector: pods, Egress: []networkingv1.NetworkPolicyEgressRule{{}}}, "egress"},
		{"both", networkingv1.NetworkPolicySpec{PodSelector: all, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}}}, "ingress and egress"},
		{"a selector that cannot be read", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Sometimes"}}}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}, "ingress"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := Openings(Surroundings{
				Server: "weather", PodLabels: pods.MatchLabels, Policy: own,
				Policies: []networkingv1.NetworkPolicy{
					{ObjectMeta: metav1.ObjectMeta{Name: "weather"}, Spec: networkingv1.NetworkPolicySpec{PodSelector: all, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}},
					{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: test.policy},
				},
				Own: func(o metav1.Object) bool { return o.GetName() == "weather" },
			})
			switch {
			case test.want == "" && len(found) > 0:
				t.Fatalf("found %q", found)
			case test.want != "" && (len(found) != 1 || !strings.Contains(found[0], "allows "+test.want+" that") || !strings.Contains(found[0], "theirs")):
				t.Fatalf("found %q, want one about %s of theirs", found, test.want)
			}
		})
	}
}

func protocol(p corev1.Protocol) *corev1.Protocol { return &p }

func TestServicesPastTheGate(t *testing.T) {
	pods := map[string]string{"bartizan.dev/server": "weather", "app": "weather"}
	for _, test := range []struct {
		name     string
		selector map[string]string
		port     corev1.ServicePort
		want     string
	}{
		{"to the gate", pods, corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(gateconfig.GatePort)}, ""},
		{"to the gate by name", pods, corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("mcp")}, ""},
		{"to the server", map[string]string{"app": "weather"}, corev1.ServicePort{Port: 80, TargetPort: intstr.FromInt32(8080)}, "8080"},
		{"to the server, port not said twice", pods, corev1.ServicePort{Port: 8080}, "8080"},
		{"to the status port by name", pods, corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("status")}, "15444"},
		{"to a name that no container has", pods, corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("web")}, ""},
		{"to other pods", map[string]string{"app": "other"}, corev1.ServicePort{Port: 8080}, ""},
		{"without a selector", nil, corev1.ServicePort{Port: 8080}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := Openings(Surroundings{
				Server: "weather", PodLabels: pods, PodPorts: map[string]int32{"mcp": gateconfig.GatePort, "status": gateconfig.StatusPort},
				Services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: corev1.ServiceSpec{Selector: test.selector, Ports: []corev1.ServicePort{test.port}}}},
				Own:      func(metav1.Object) bool { return false },
			})
			switch {
			case test.want == "" && len(found) > 0:
				t.Fatalf("found %q", found)
			case test.want != "" && (len(found) != 1 || !strings.Contains(found[0], "port "+test.want)):
				t.Fatalf("found %q, want one about port %s", found, test.want)
			}
		})
	}
}

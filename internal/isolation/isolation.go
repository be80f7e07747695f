// Package isolation finds what opens the pods of a server beyond what its MCPServer says: other policies, and Services that
// lead past the gate.
package isolation

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Surroundings is what decides who else may reach a server's pods, all of one namespace.
type Surroundings struct {
	// Server is the name of the MCPServer, PodLabels are the labels that its pods are made with, PodPorts their named ports.
	Server    string
	PodLabels map[string]string
	PodPorts  map[string]int32
	// Pods are the labels of the pods as they are: others may have added some.
	Pods []map[string]string
	// Policy is the server's own NetworkPolicy as it should be.
	Policy networkingv1.NetworkPolicySpec
	// Policies and Services are all of the namespace, our own among them.
	Policies []networkingv1.NetworkPolicy
	Services []corev1.Service
	// Own says whether an object is a child of the server.
	Own func(metav1.Object) bool
}

// own says whether a NetworkPolicy or a Service is the server's one: whoever makes an object can name the server as its owner.
func (s *Surroundings) own(object metav1.Object) bool {
	return object.GetName() == s.Server && s.Own(object)
}

// selects says whether a selector selects pods of the server.
func (s *Surroundings) selects(selector metav1.LabelSelector) bool {
	return Selects(selector, s.PodLabels) || slices.ContainsFunc(s.Pods, func(pod map[string]string) bool { return Selects(selector, pod) })
}

// Openings are the objects that open the pods beyond what the server's own policy allows: ByPolicies and ByServices
// together. Each is told with what to do about it; the order is stable.
func Openings(s Surroundings) []string { return append(ByPolicies(s), ByServices(s)...) }

// ByPolicies are the NetworkPolicies that open the pods. They are additive: what one of them allows is allowed.
func ByPolicies(s Surroundings) []string {
	var found []string
	for i := range s.Policies {
		policy := &s.Policies[i]
		if s.own(policy) || !s.selects(policy.Spec.PodSelector) {
			continue
		}
		var directions []string
		if opensIngress(policy.Spec, s.Policy) {
			directions = append(directions, "ingress")
		}
		if opensEgress(policy.Spec, s.Policy) {
			directions = append(directions, "egress")
		}
		if len(directions) > 0 {
			found = append(found, fmt.Sprintf("NetworkPolicy %s selects the pods and allows %s that MCPServer %s does not: exclude the pods from its spec.podSelector, or delete it",
				policy.Name, strings.Join(directions, " and "), s.Server))
		}
	}
	slices.Sort(found)
	return found
}

// ByServices are the Services that lead past the gate.
func ByServices(s Surroundings) []string {
	var found []string
	for i := range s.Services {
		service := &s.Services[i]
		if s.own(service) || len(service.Spec.Selector) == 0 || !s.selects(metav1.LabelSelector{MatchLabels: service.Spec.Selector}) {
			continue
		}
		if ports := pastTheGate(service, s.PodPorts); len(ports) > 0 {
			found = append(found, fmt.Sprintf("Service %s selects the pods and leads past the gate to port %s: change its spec.selector, or delete it",
				service.Name, strings.Join(ports, ", ")))
		}
	}
	slices.Sort(found)
	return found
}

// Selects says whether a selector selects pods with the labels.
func Selects(selector metav1.LabelSelector, podLabels map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(&selector)
	// The API server refuses selectors that cannot be read. Should one appear, it counts as one that selects.
	return err != nil || s.Matches(labels.Set(podLabels))
}

// opensIngress says whether foreign allows connections to the pods that own does not.
func opensIngress(foreign, own networkingv1.NetworkPolicySpec) bool {
	for _, rule := range foreign.Ingress {
		if !slices.ContainsFunc(own.Ingress, func(ours networkingv1.NetworkPolicyIngressRule) bool {
			return covers(ours.From, ours.Ports, rule.From, rule.Ports)
		}) {
			return true
		}
	}
	return false
}

// opensEgress says whether foreign allows connections from the pods that own does not.
func opensEgress(foreign, own networkingv1.NetworkPolicySpec) bool {
	for _, rule := range foreign.Egress {
		if !slices.ContainsFunc(own.Egress, func(ours networkingv1.NetworkPolicyEgressRule) bool {
			return covers(ours.To, ours.Ports, rule.To, rule.Ports)
		}) {
			return true
		}
	}
	return false
}

// covers says whether one rule of ours allows all that another rule allows. It compares peers and ports as they are
// written; what cannot be seen to be covered is not.
func covers(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, otherPeers []networkingv1.NetworkPolicyPeer, otherPorts []networkingv1.NetworkPolicyPort) bool {
	return contains(peers, otherPeers) && contains(normal(ports), normal(otherPorts))
}

// contains says whether all of some is in all. An empty list stands for everything.
func contains[T any](all, some []T) bool {
	if len(all) == 0 {
		return true
	}
	if len(some) == 0 {
		return false
	}
	for _, one := range some {
		if !slices.ContainsFunc(all, func(other T) bool { return equality.Semantic.DeepEqual(one, other) }) {
			return false
		}
	}
	return true
}

// normal has the protocol of each port said.
func normal(ports []networkingv1.NetworkPolicyPort) []networkingv1.NetworkPolicyPort {
	said := slices.Clone(ports)
	for i := range said {
		if said[i].Protocol == nil {
			tcp := corev1.ProtocolTCP
			said[i].Protocol = &tcp
		}
	}
	return said
}

// pastTheGate are the ports of the pods, other than the gate's, that a Service leads to.
func pastTheGate(service *corev1.Service, podPorts map[string]int32) []string {
	var found []string
	for _, port := range service.Spec.Ports {
		number := port.TargetPort.IntVal
		switch {
		case port.TargetPort.Type == intstr.String:
			named, ok := podPorts[port.TargetPort.StrVal]
			if !ok {
				continue // leads nowhere
			}
			number = named
		case number == 0:
			number = port.Port
		}
		if number != gateconfig.GatePort {
			found = append(found, fmt.Sprint(number))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

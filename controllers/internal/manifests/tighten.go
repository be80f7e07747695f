package manifests

import (
	"slices"

	networking "k8s.io/api/networking/v1"
	networkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
)

// Tightened is desired without what live does not allow: applied first, it closes before anything is opened. A server
// whose spec has a problem stays at it. live is nil where there is no policy yet; then nothing is allowed.
func Tightened(live *networking.NetworkPolicy, desired *networkingv1.NetworkPolicyApplyConfiguration) (*networkingv1.NetworkPolicyApplyConfiguration, error) {
	tight, err := convert[networkingv1.NetworkPolicyApplyConfiguration](desired)
	if err != nil {
		return nil, err
	}
	spec, err := convert[networkingv1.NetworkPolicySpecApplyConfiguration](liveSpec(live))
	if err != nil {
		return nil, err
	}
	in, out := allowed{}, allowed{}
	for _, rule := range spec.Ingress {
		in.add(rule.Ports, rule.From)
	}
	for _, rule := range spec.Egress {
		out.add(rule.Ports, rule.To)
	}
	var ingress []networkingv1.NetworkPolicyIngressRuleApplyConfiguration
	for _, rule := range tight.Spec.Ingress {
		if rule.From = in.of(rule.Ports, rule.From); len(rule.From) > 0 {
			ingress = append(ingress, rule)
		}
	}
	var egress []networkingv1.NetworkPolicyEgressRuleApplyConfiguration
	for _, rule := range tight.Spec.Egress {
		if rule.To = out.of(rule.Ports, rule.To); len(rule.To) > 0 {
			egress = append(egress, rule)
		}
	}
	tight.Spec.Ingress, tight.Spec.Egress = ingress, egress
	return tight, nil
}

func liveSpec(live *networking.NetworkPolicy) networking.NetworkPolicySpec {
	if live == nil {
		return networking.NetworkPolicySpec{}
	}
	return live.Spec
}

// allowed is the set of peers of a direction, each with the ports of its rule.
type allowed map[string]bool

func (a allowed) add(ports []networkingv1.NetworkPolicyPortApplyConfiguration, peers []networkingv1.NetworkPolicyPeerApplyConfiguration) {
	for _, peer := range peers {
		a[spelled(ports, peer)] = true
	}
}

func (a allowed) of(ports []networkingv1.NetworkPolicyPortApplyConfiguration, peers []networkingv1.NetworkPolicyPeerApplyConfiguration) []networkingv1.NetworkPolicyPeerApplyConfiguration {
	return slices.DeleteFunc(slices.Clone(peers), func(peer networkingv1.NetworkPolicyPeerApplyConfiguration) bool {
		return !a[spelled(ports, peer)]
	})
}

package manifests

import (
	"encoding/json"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// NetworkPolicy denies the server's pods everything, both ways, but what is granted: callers reach the gate's port and
// nothing else. A rule without peers or ports would mean everybody or everything; none is ever built.
func NetworkPolicy(p Params) (*networkingv1.NetworkPolicyApplyConfiguration, error) {
	ingress, err := ingress(p)
	if err != nil {
		return nil, err
	}
	egress, err := egress(p)
	if err != nil {
		return nil, err
	}
	spec := networkingv1.NetworkPolicySpec().
		WithPodSelector(selector(p)).
		WithPolicyTypes(networking.PolicyTypeIngress, networking.PolicyTypeEgress)
	if len(ingress) > 0 {
		spec.WithIngress(ingress...)
	}
	if len(egress) > 0 {
		spec.WithEgress(egress...)
	}
	return networkingv1.NetworkPolicy(p.Server.Name, p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithSpec(spec), nil
}

// ingress lets callers reach the gate, monitoring its status port, and the operator both: it attacks the gate as a caller
// would. The server's own port stays closed to it, which it shows.
func ingress(p Params) ([]*networkingv1.NetworkPolicyIngressRuleApplyConfiguration, error) {
	callers, err := callers(p)
	if err != nil {
		return nil, err
	}
	var operator *networkingv1.NetworkPolicyPeerApplyConfiguration
	if p.Operator.Namespace != "" && len(p.Operator.PodLabels) > 0 {
		operator = pods(p.Operator.Namespace, metav1.LabelSelector().WithMatchLabels(p.Operator.PodLabels))
		callers = distinctPeers(append(callers, operator))
	}
	var rules []*networkingv1.NetworkPolicyIngressRuleApplyConfiguration
	if len(callers) > 0 {
		rules = append(rules, networkingv1.NetworkPolicyIngressRule().
			WithFrom(callers...).
			WithPorts(port(core.ProtocolTCP, gateconfig.GatePort)))
	}
	readers, err := specPeers(p.Monitoring)
	if err != nil {
		return nil, err
	}
	if operator != nil {
		readers = append([]*networkingv1.NetworkPolicyPeerApplyConfiguration{operator}, readers...)
	}
	if len(readers) > 0 {
		rules = append(rules, networkingv1.NetworkPolicyIngressRule().
			WithFrom(distinctPeers(readers)...).
			WithPorts(port(core.ProtocolTCP, gateconfig.StatusPort)))
	}
	return rules, nil
}

// callers are the pods of the clients that may use the server, and the peers that the spec names; nobody while it is isolated.
func callers(p Params) ([]*networkingv1.NetworkPolicyPeerApplyConfiguration, error) {
	if p.Isolated {
		return nil, nil
	}
	var all []*networkingv1.NetworkPolicyPeerApplyConfiguration
	for i := range p.Peers {
		labels, err := convert[metav1.LabelSelectorApplyConfiguration](p.Peers[i].PodSelector)
		if err != nil {
			return nil, err
		}
		all = append(all, pods(p.Peers[i].Namespace, labels))
	}
	if p.Server.Spec.Network == nil {
		return distinctPeers(all), nil
	}
	for _, rule := range p.Server.Spec.Network.Ingress {
		peers, err := specPeers(rule.From)
		if err != nil {
			return nil, err
		}
		all = append(all, peers...)
	}
	return distinctPeers(all), nil
}

// egress lets the server reach what the spec names, and what that needs.
func egress(p Params) ([]*networkingv1.NetworkPolicyEgressRuleApplyConfiguration, error) {
	var rules []*networkingv1.NetworkPolicyEgressRuleApplyConfiguration
	if network := p.Server.Spec.Network; network != nil {
		for _, rule := range network.Egress {
			peers, err := specPeers(rule.To)
			if err != nil {
				return nil, err
			}
			ports, err := specPorts(rule.Ports)
			if err != nil {
				return nil, err
			}
			if len(peers) == 0 {
				continue
			}
			egress := networkingv1.NetworkPolicyEgressRule().WithTo(peers...)
			if len(ports) > 0 {
				egress.WithPorts(ports...)
			}
			rules = append(rules, egress)
		}
		if network.Internet == v1alpha1.InternetAllowed {
			if peers := internet(p.ClusterRanges); len(peers) > 0 {
				rules = append(rules, networkingv1.NetworkPolicyEgressRule().WithTo(peers...))
			}
		}
	}
	if p.Server.Spec.KubernetesAccess != nil {
		rules = append(rules, addressRules(core.ProtocolTCP, p.APIServer)...)
	}
	if len(rules) > 0 {
		rules = append(rules, dns(p)...)
	}
	return rules, nil
}

// dns lets the server resolve names.
func dns(p Params) []*networkingv1.NetworkPolicyEgressRuleApplyConfiguration {
	kubeDNS := pods("kube-system", metav1.LabelSelector().WithMatchLabels(map[string]string{"k8s-app": "kube-dns"}))
	rules := []*networkingv1.NetworkPolicyEgressRuleApplyConfiguration{
		networkingv1.NetworkPolicyEgressRule().
			WithTo(kubeDNS).
			WithPorts(port(core.ProtocolUDP, 53), port(core.ProtocolTCP, 53)),
	}
	rules = append(rules, addressRules(core.ProtocolUDP, p.DNS)...)
	return append(rules, addressRules(core.ProtocolTCP, p.DNS)...)
}

// addressRules allow single addresses at their ports, one rule a port.
func addressRules(protocol core.Protocol, addresses []netip.AddrPort) []*networkingv1.NetworkPolicyEgressRuleApplyConfiguration {
	addresses = slices.Clone(addresses)
	for i, a := range addresses {
		addresses[i] = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	}
	slices.SortFunc(addresses, func(a, b netip.AddrPort) int {
		if a.Port() != b.Port() {
			return int(a.Port()) - int(b.Port())
		}
		return a.Addr().Compare(b.Addr())
	})
	var rules []*networkingv1.NetworkPolicyEgressRuleApplyConfiguration
	var last netip.AddrPort
	for _, a := range addresses {
		if a == last || !a.IsValid() || a.Port() == 0 {
			continue
		}
		if len(rules) == 0 || a.Port() != last.Port() {
			rules = append(rules, networkingv1.NetworkPolicyEgressRule().WithPorts(port(protocol, int32(a.Port()))))
		}
		single := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
		rules[len(rules)-1].WithTo(networkingv1.NetworkPolicyPeer().WithIPBlock(networkingv1.IPBlock().WithCIDR(single.String())))
		last = a
	}
	return rules
}

// specPeers are the peers of the spec. One without anything in it would be everybody: the API server refuses it, and so it
// is left out here.
func specPeers(peers []networking.NetworkPolicyPeer) ([]*networkingv1.NetworkPolicyPeerApplyConfiguration, error) {
	return convertAll[networkingv1.NetworkPolicyPeerApplyConfiguration](slices.DeleteFunc(slices.Clone(peers), func(peer networking.NetworkPolicyPeer) bool {
		return peer == networking.NetworkPolicyPeer{}
	}))
}

// specPorts are the ports of the spec, with the protocol that the API server would fill in: see Tightened.
func specPorts(ports []networking.NetworkPolicyPort) ([]*networkingv1.NetworkPolicyPortApplyConfiguration, error) {
	all, err := convertAll[networkingv1.NetworkPolicyPortApplyConfiguration](ports)
	for _, port := range all {
		if port.Protocol == nil {
			port.WithProtocol(core.ProtocolTCP)
		}
	}
	return all, err
}

func distinctPeers(peers []*networkingv1.NetworkPolicyPeerApplyConfiguration) []*networkingv1.NetworkPolicyPeerApplyConfiguration {
	var kept []*networkingv1.NetworkPolicyPeerApplyConfiguration
	seen := map[string]bool{}
	for _, peer := range peers {
		if s := spelled(peer); !seen[s] {
			seen[s] = true
			kept = append(kept, peer)
		}
	}
	return kept
}

// spelled is a spelling of parts of a policy that is equal when they are. Whatever got here was JSON before.
func spelled(parts ...any) string {
	content, err := json.Marshal(parts)
	if err != nil {
		panic("a part of a network policy that is no JSON: " + err.Error())
	}
	return string(content)
}

// pods selects pods of one namespace.
func pods(namespace string, labels *metav1.LabelSelectorApplyConfiguration) *networkingv1.NetworkPolicyPeerApplyConfiguration {
	return networkingv1.NetworkPolicyPeer().
		WithNamespaceSelector(metav1.LabelSelector().WithMatchLabels(map[string]string{core.LabelMetadataName: namespace})).
		WithPodSelector(labels)
}

func port(protocol core.Protocol, number int32) *networkingv1.NetworkPolicyPortApplyConfiguration {
	return networkingv1.NetworkPolicyPort().WithProtocol(protocol).WithPort(intstr.FromInt32(number))
}

package verification

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// loose is what the server's own policy does not deny, as it is: its controller mends it, unless something keeps it from that.
func (o *observed) loose(policy networkingv1.NetworkPolicySpec) (found []string) {
	say := func(format string, args ...any) {
		found = append(found, "NetworkPolicy "+o.server.Name+" of the MCPServer "+fmt.Sprintf(format, args...))
	}
	for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
		if !slices.Contains(policy.PolicyTypes, direction) {
			say("does not deny %s", direction)
		}
	}
	for i := range o.pods {
		if !isolation.Selects(policy.PodSelector, o.pods[i].Labels) {
			say("does not select Pod %s", o.pods[i].Name)
		}
	}
	for i, rule := range policy.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			say("lets in everybody, or to every port, by its rule %d", i)
		}
	}
	return found
}

// egressFact adds where the server's own policy lets the pods out to what the spec asks for.
func (o *observed) egressFact(asked posture.Fact[[]string]) posture.Fact[[]string] {
	s, policy := o.surroundings()
	const source = "MCPServer spec.network, its NetworkPolicy"
	switch {
	case len(asked.Value) > 0:
		return asked
	case !policy:
		return posture.Unknown[[]string]("the MCPServer has no NetworkPolicy " + o.server.Name)
	}
	var found []string
	if !slices.Contains(s.Policy.PolicyTypes, networkingv1.PolicyTypeEgress) {
		found = append(found, "NetworkPolicy "+o.server.Name+" denies no egress")
	}
	for i, rule := range s.Policy.Egress {
		if len(rule.To) == 0 || slices.ContainsFunc(rule.To, declared.Everywhere) {
			found = append(found, fmt.Sprintf("NetworkPolicy %s leads everywhere by its egress rule %d", o.server.Name, i))
		}
	}
	return posture.See(found, source, o.now)
}

package manifests

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/controllers/internal/access"
)

func TestNetworkPolicy(t *testing.T) {
	golden(t, "networkpolicy", []string{"minimal", "everything", "kubernetes-access", "network", "internet"}, func(c Children) any { return c.NetworkPolicy })
}

// TestNobodyIsNotEverybody: without clients and operator nobody gets in, where an empty list of peers would be everybody.
func TestNobodyIsNotEverybody(t *testing.T) {
	p := params(server(t, "minimal"))
	p.Peers, p.Operator = nil, Operator{Namespace: "bartizan-system"}
	policy, err := NetworkPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(policy.Spec.Ingress) != 0 || len(policy.Spec.Egress) != 0 || len(policy.Spec.PolicyTypes) != 2 {
		t.Errorf("got %+v", policy.Spec)
	}
}

// TestIsolatedServer: while a server is isolated, nobody but the operator gets to the gate, whomever the spec names.
func TestIsolatedServer(t *testing.T) {
	p := params(server(t, "everything"))
	open, err := NetworkPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Isolated = true
	closed, err := NetworkPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(open.Spec.Ingress[0].From) < 2 || len(closed.Spec.Ingress[0].From) != 1 || closed.Spec.Ingress[0].From[0].PodSelector.MatchLabels == nil {
		t.Errorf("%d peers reach the gate of the server, %d of an isolated one: %+v", len(open.Spec.Ingress[0].From), len(closed.Spec.Ingress[0].From), closed.Spec.Ingress[0])
	}
	if diff := cmp.Diff(open.Spec.Ingress[1:], closed.Spec.Ingress[1:]); diff != "" {
		t.Errorf("who reads the status: %s", diff)
	}
}

// TestInternet asks the policy about single addresses.
func TestInternet(t *testing.T) {
	p := params(server(t, "internet"))
	policy := into[networking.NetworkPolicy](t, build(t, "internet").NetworkPolicy)
	for address, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "172.15.255.255": true, "172.32.0.1": true, "100.128.0.1": true,
		"10.0.0.1": false, "127.0.0.1": false, "169.254.169.254": false, "172.16.0.1": false, "192.168.1.1": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false,
		"2606:4700::1111": true, "2a00:1450::1": true,
		"::1": false, "::": false, "fe80::1": false, "fd00::1": false, "fc00::1": false, "ff02::1": false, "::ffff:10.0.0.1": false,
		"64:ff9b::a00:1": false, "2002:a00:1::1": false, "2001:0:1::1": false, "2001:db8::1": false, "2001:db9::1": false,
	} {
		if got := allows(policy.Spec.Egress, netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is allowed: %t, want %t", address, got, want)
		}
	}
	p.ClusterRanges = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	all, err := NetworkPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Spec.Egress) != 0 {
		t.Errorf("a cluster that has every address still lets out: %+v", all.Spec.Egress)
	}
}

// allows says whether rules without ports let an address through.
func allows(rules []networking.NetworkPolicyEgressRule, address netip.Addr) bool {
	for _, rule := range rules {
		for _, peer := range rule.To {
			if len(rule.Ports) > 0 || peer.IPBlock == nil || !netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(address) {
				continue
			}
			excepted := false
			for _, except := range peer.IPBlock.Except {
				excepted = excepted || netip.MustParsePrefix(except).Contains(address)
			}
			if !excepted {
				return true
			}
		}
	}
	return false
}

// TestTightened: a policy on its way to another never allows what one of the two denies.
func TestTightened(t *testing.T) {
	names := servers(t)
	for _, from := range names {
		for _, to := range names {
			// The policies of the same server, before and after a change of its spec.
			before, after := server(t, from), server(t, to)
			after.Name = before.Name
			live := policyOf(t, params(before))
			desired, err := NetworkPolicy(params(after))
			if err != nil {
				t.Fatal(err)
			}
			tight, err := Tightened(defaulted(live), desired)
			if err != nil {
				t.Fatal(err)
			}
			got := pairs(into[networking.NetworkPolicy](t, tight))
			old, wanted := pairs(live), pairs(into[networking.NetworkPolicy](t, desired))
			for pair := range got {
				if !old[pair] || !wanted[pair] {
					t.Errorf("%s to %s: allows %s", from, to, pair)
				}
			}
			for pair := range wanted {
				if old[pair] && !got[pair] {
					t.Errorf("%s to %s: denies %s, which both allow", from, to, pair)
				}
			}
			if from == to {
				if diff := cmp.Diff(desired, tight); diff != "" {
					t.Errorf("%s: nothing changes, and yet (-desired +tightened):\n%s", from, diff)
				}
			}
		}
	}
}

func TestTightenedFromNothing(t *testing.T) {
	desired, err := NetworkPolicy(params(server(t, "everything")))
	if err != nil {
		t.Fatal(err)
	}
	tight, err := Tightened(nil, desired)
	if err != nil {
		t.Fatal(err)
	}
	if len(tight.Spec.Ingress) != 0 || len(tight.Spec.Egress) != 0 || len(desired.Spec.Ingress) == 0 {
		t.Errorf("got %+v", tight.Spec)
	}
}

// TestTightenedDropsAClient: the peers of a client that lost its grant go at once, those of others stay.
func TestTightenedDropsAClient(t *testing.T) {
	p := params(server(t, "minimal"))
	live := policyOf(t, p)
	added := access.Peer{Namespace: "new", PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "new"}}}
	p.Peers = []access.Peer{p.Peers[0], added}
	desired, err := NetworkPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	tight, err := Tightened(live, desired)
	if err != nil {
		t.Fatal(err)
	}
	from := tight.Spec.Ingress[0].From
	// The operator's peer is there all the time.
	if len(from) != 2 || from[0].NamespaceSelector.MatchLabels[core.LabelMetadataName] != "agents" || from[1].NamespaceSelector.MatchLabels[core.LabelMetadataName] != p.Operator.Namespace {
		t.Errorf("got %+v", from)
	}
}

func policyOf(t *testing.T, p Params) *networking.NetworkPolicy {
	t.Helper()
	policy, err := NetworkPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	return into[networking.NetworkPolicy](t, policy)
}

// defaulted is what the API server makes of a policy.
func defaulted(policy *networking.NetworkPolicy) *networking.NetworkPolicy {
	policy = policy.DeepCopy()
	tcp := core.ProtocolTCP
	for i := range policy.Spec.Egress {
		for j := range policy.Spec.Egress[i].Ports {
			if policy.Spec.Egress[i].Ports[j].Protocol == nil {
				policy.Spec.Egress[i].Ports[j].Protocol = &tcp
			}
		}
	}
	return policy
}

// pairs are all that a policy allows, as pairs of ports and peer.
func pairs(policy *networking.NetworkPolicy) map[string]bool {
	set := map[string]bool{}
	for _, rule := range policy.Spec.Ingress {
		for _, peer := range rule.From {
			set["in "+spelled(rule.Ports, peer)] = true
		}
	}
	for _, rule := range policy.Spec.Egress {
		for _, peer := range rule.To {
			set["out "+spelled(rule.Ports, peer)] = true
		}
	}
	return set
}

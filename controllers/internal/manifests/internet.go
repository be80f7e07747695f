package manifests

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
)

// What of IPv4 is not the internet: the IANA special-purpose registry (RFC 6890), multicast, and the reserved rest.
var notInternet4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4")

// What of IPv6's global unicast addresses, 2000::/3, is not the internet: protocol assignments with Teredo, documentation,
// and 6to4, which hides IPv4 addresses. Everything outside 2000::/3 is private, link-local, loopback, multicast,
// translated IPv4 or unassigned.
var notInternet6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

// internet is every public address but those of the cluster; nothing where the cluster has them all.
func internet(cluster []netip.Prefix) []*networkingv1.NetworkPolicyPeerApplyConfiguration {
	peers := []*networkingv1.NetworkPolicyPeerApplyConfiguration{
		block(netip.MustParsePrefix("0.0.0.0/0"), notInternet4, cluster),
		block(netip.MustParsePrefix("2000::/3"), notInternet6, cluster),
	}
	return slices.DeleteFunc(peers, func(peer *networkingv1.NetworkPolicyPeerApplyConfiguration) bool { return peer == nil })
}

// Internet says whether an address is a public one, and none of the cluster's.
func Internet(address netip.Addr, cluster []netip.Prefix) bool {
	address = address.Unmap()
	if address.Is6() && !netip.MustParsePrefix("2000::/3").Contains(address) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(notInternet4, notInternet6, cluster), func(p netip.Prefix) bool { return p.Contains(address) })
}

// block is all of a range but the exceptions that lie in it, nil where an exception holds the whole range.
func block(all netip.Prefix, exceptions, cluster []netip.Prefix) *networkingv1.NetworkPolicyPeerApplyConfiguration {
	except := slices.Clone(exceptions)
	for _, p := range cluster {
		if p = p.Masked(); !p.IsValid() || !p.Overlaps(all) {
			continue
		}
		if p.Bits() <= all.Bits() {
			return nil
		}
		except = append(except, p)
	}
	slices.SortFunc(except, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	block := networkingv1.IPBlock().WithCIDR(all.String())
	for _, p := range slices.Compact(except) {
		block.WithExcept(p.String())
	}
	return networkingv1.NetworkPolicyPeer().WithIPBlock(block)
}

func prefixes(all ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, s := range all {
		parsed = append(parsed, netip.MustParsePrefix(s))
	}
	return parsed
}

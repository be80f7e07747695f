// Package surroundings looks at the network namespace that the gate shares with the server: what listens there on other
// addresses than loopback can be reached past the gate, unless a network policy stops it.
package surroundings

import (
	"net/netip"
	"slices"
)

// Most is how many listeners are reported at most.
const Most = 32

// Look returns the listeners of the gate's network namespace that are neither on loopback nor on one of the gate's own
// ports, sorted, at most Most.
func Look(own []uint16) ([]string, error) {
	found, err := Listeners()
	if err != nil {
		return nil, err
	}
	return Foreign(found, own), nil
}

// Foreign returns which of the listeners are neither on loopback nor on one of the gate's own ports.
func Foreign(listeners []Listener, own []uint16) []string {
	var foreign []netip.AddrPort
	for _, l := range listeners {
		if !l.Address.Addr().IsLoopback() && !slices.Contains(own, l.Address.Port()) {
			foreign = append(foreign, l.Address)
		}
	}
	slices.SortFunc(foreign, netip.AddrPort.Compare)
	foreign = slices.Compact(foreign)
	names := make([]string, 0, min(len(foreign), Most))
	for _, a := range foreign[:min(len(foreign), Most)] {
		names = append(names, a.String())
	}
	return names
}

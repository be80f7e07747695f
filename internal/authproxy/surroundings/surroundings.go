// Package surroundings looks at the network namespace that the gate shares with the server: what listens there on other
// addresses than loopback can be reached past the gate, unless a network policy stops it.
package surroundings

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Most is how many listeners are reported at most.
const Most = 32

// stateListen is TCP_LISTEN in the kernel's include/net/tcp_states.h.
const stateListen = "0A"

// maxLine bounds a line of the kernel's table, in bytes.
const maxLine = 512

var errTable = errors.New("not a socket table as the kernel writes it")

// Look returns the listeners of the gate's network namespace that are neither on loopback nor on one of the gate's own
// ports, sorted, at most Most.
func Look(own []uint16) ([]string, error) {
	found, err := Read()
	if err != nil {
		return nil, err
	}
	return Foreign(found, own), nil
}

// Read returns all listening TCP sockets of the gate's network namespace.
func Read() ([]netip.AddrPort, error) {
	var found []netip.AddrPort
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("reading the socket table: %w", err)
		}
		listeners, err := Parse(file)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		found = append(found, listeners...)
	}
	return found, nil
}

// Parse returns the listening sockets of one of the kernel's tables /proc/net/tcp and tcp6 (proc_net_tcp.rst).
func Parse(table io.Reader) ([]netip.AddrPort, error) {
	lines := bufio.NewScanner(table)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	if !lines.Scan() || !strings.HasPrefix(strings.TrimSpace(lines.Text()), "sl") {
		return nil, errTable
	}
	var found []netip.AddrPort
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			return nil, errTable
		}
		if fields[3] != stateListen {
			continue
		}
		local, err := parseAddress(fields[1])
		if err != nil {
			return nil, err
		}
		found = append(found, local)
	}
	return found, lines.Err()
}

// Foreign returns which of the listeners are neither on loopback nor on one of the gate's own ports.
func Foreign(listeners []netip.AddrPort, own []uint16) []string {
	listeners = slices.DeleteFunc(slices.Clone(listeners), func(a netip.AddrPort) bool {
		return a.Addr().IsLoopback() || slices.Contains(own, a.Port())
	})
	slices.SortFunc(listeners, netip.AddrPort.Compare)
	listeners = slices.Compact(listeners)
	names := make([]string, 0, min(len(listeners), Most))
	for _, a := range listeners[:min(len(listeners), Most)] {
		names = append(names, a.String())
	}
	return names
}

// parseAddress reads "0100007F:1F90": 32-bit words, each in the byte order of the machine (little-endian on every
// platform that the gate is built for), and a port.
func parseAddress(s string) (netip.AddrPort, error) {
	address, port, ok := strings.Cut(s, ":")
	if !ok || (len(address) != 8 && len(address) != 32) {
		return netip.AddrPort{}, errTable
	}
	raw, err := hex.DecodeString(address)
	if err != nil {
		return netip.AddrPort{}, errTable
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, errTable
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	parsed, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, errTable
	}
	return netip.AddrPortFrom(parsed.Unmap(), uint16(number)), nil
}

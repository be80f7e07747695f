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

// stateListen is TCP_LISTEN in the kernel's include/net/tcp_states.h.
const stateListen = 0x0A

// maxLine bounds a line of the kernel's table, in bytes.
const maxLine = 512

var errTable = errors.New("not a socket table as the kernel writes it")

// readTables reads the listening sockets from the kernel's tables.
func readTables() ([]Listener, error) {
	var all []Listener
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("reading the socket table: %w", err)
		}
		found, err := Parse(file)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Parse returns the listening sockets of one of the kernel's tables /proc/net/tcp and tcp6 (proc_net_tcp.rst).
func Parse(table io.Reader) ([]Listener, error) {
	lines := bufio.NewScanner(table)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	if !lines.Scan() || !strings.HasPrefix(strings.TrimSpace(lines.Text()), "sl") {
		return nil, errTable
	}
	listen := fmt.Sprintf("%02X", stateListen)
	var found []Listener
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			return nil, errTable
		}
		if fields[3] != listen {
			continue
		}
		address, err := parseAddress(fields[1])
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(fields[9], 10, 32)
		if err != nil {
			return nil, errTable
		}
		found = append(found, Listener{Address: address, Inode: uint32(inode)})
	}
	return found, lines.Err()
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

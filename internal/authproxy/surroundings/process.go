package surroundings

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
)

// ErrNotListening says that nothing listens there.
var ErrNotListening = errors.New("nothing listens there")

// Process identifies what listens on a TCP port of the gate's network namespace: the inodes of the listening sockets, which
// the kernel numbers anew for each socket. A process that starts again has another one.
func Process(port uint16) (string, error) {
	var inodes []string
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("reading the socket table: %w", err)
		}
		found, err := parseInodes(file, port)
		_ = file.Close()
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		inodes = append(inodes, found...)
	}
	if len(inodes) == 0 {
		return "", ErrNotListening
	}
	slices.Sort(inodes)
	return strings.Join(inodes, ","), nil
}

// ProcessAt is Process for an address "ip:port", or for a Unix socket "unix:/path", which each process that listens there makes
// anew.
func ProcessAt(address string) (string, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		var stat syscall.Stat_t
		if err := syscall.Lstat(path, &stat); err != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFSOCK {
			return "", errors.New("there is no such socket")
		}
		// Numbers of files are used again; when it was made tells apart which.
		return fmt.Sprintf("%d-%d-%d", stat.Dev, stat.Ino, stat.Ctim.Nano()), nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return "", errors.New("not an address and a port")
	}
	return Process(at.Port())
}

func parseInodes(table io.Reader, port uint16) ([]string, error) {
	lines := bufio.NewScanner(table)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	if !lines.Scan() || !strings.HasPrefix(strings.TrimSpace(lines.Text()), "sl") {
		return nil, errTable
	}
	suffix := fmt.Sprintf(":%04X", port)
	var found []string
	for lines.Scan() {
		// Most lines are connections, a thousand perhaps and four times a second; only those of the port are taken apart.
		if !bytes.Contains(lines.Bytes(), []byte(suffix)) {
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			return nil, errTable
		}
		if fields[3] == stateListen && strings.HasSuffix(fields[1], suffix) {
			found = append(found, fields[9])
		}
	}
	return found, lines.Err()
}

package surroundings

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrNotListening says that nothing listens there.
var ErrNotListening = errors.New("nothing listens there")

// Process identifies what listens on a TCP port of the gate's network namespace: the inodes of the listening sockets, which
// the kernel numbers anew for each socket. A process that starts again has another one.
func Process(port uint16) (string, error) {
	all, err := Listeners()
	if err != nil {
		return "", err
	}
	var inodes []string
	for _, l := range all {
		if l.Address.Port() == port {
			inodes = append(inodes, strconv.FormatUint(uint64(l.Inode), 10))
		}
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

package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"path/filepath"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// socketPrefix begins the address of a Unix socket.
const socketPrefix = gateconfig.SocketPrefix

// maxSocket bounds the path of a Unix socket, in bytes: what the kernel takes.
const maxSocket = 107

// HeaderPrincipal tells a server at a Unix socket who calls. The headers of a caller are left behind, so no caller sets it.
const HeaderPrincipal = "Bartizan-Principal"

// Self stands for the gate itself where it asks for nobody. No client has such a name: it has no namespace.
const Self = "gate"

// EncodePrincipal is the value of HeaderPrincipal for a principal: a token's subject may have characters that no header can.
func EncodePrincipal(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

// DecodePrincipal is the principal of a value of HeaderPrincipal.
func DecodePrincipal(value string) (string, error) {
	name, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(name) == 0 || EncodePrincipal(string(name)) != value {
		return "", errors.New("not a principal")
	}
	return string(name), nil
}

// SocketAddress is the address of the Unix socket at a path.
func SocketAddress(path string) string { return socketPrefix + path }

// CheckAddress says whether an address is of a kind that the gate dials: an IP address of the loopback interface with a
// port, or a Unix socket, as unix:/path.
func CheckAddress(address string) error {
	if path, ok := strings.CutPrefix(address, socketPrefix); ok {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || len(path) > maxSocket {
			return errors.New("the server's address is not unix: and the absolute path of a socket")
		}
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("the server's address is not host:port or unix:/path")
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("the server's address is not an IP address of the loopback interface")
	}
	return nil
}

// isSocket says whether an address is a Unix socket's.
func isSocket(address string) bool { return strings.HasPrefix(address, socketPrefix) }

// dial connects to an address, if it is of a kind that the gate dials.
func dial(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(address, socketPrefix); ok {
		return dialer.DialContext(ctx, "unix", path)
	}
	return dialer.DialContext(ctx, "tcp", address)
}

package upstream_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

func TestCheckAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "unix:/run/a.sock": true,
		"10.0.0.1:80": false, "localhost:80": false, "127.0.0.1": false, "unix:": false, "unix:run/a.sock": false, "unix:/run/../etc": false,
		"unix:@abstract": false, "unix:/" + strings.Repeat("a", 107): false, "http://127.0.0.1:80": false, "": false,
		// What stands for a socket in a URL is no address.
		"2f72756e.socket:80": false,
	} {
		if err := upstream.CheckAddress(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestPrincipal(t *testing.T) {
	for _, name := range []string{"agents/alice", "agents/alice https://issuer.example/x \u00fc\n", "a"} {
		if got, err := upstream.DecodePrincipal(upstream.EncodePrincipal(name)); err != nil || got != name {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, value := range []string{"", "%", "YR", "YQ==", "YQ\n"} {
		if name, err := upstream.DecodePrincipal(value); err == nil {
			t.Errorf("%q is %q", value, name)
		}
	}
}

// TestWhoIsTold: a server at a Unix socket is told who calls, whatever a caller put into its headers; one with a port is not.
func TestWhoIsTold(t *testing.T) {
	var got http.Header
	var host string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, host = r.Header, r.Host
		w.WriteHeader(http.StatusAccepted)
	})
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	behindSocket := httptest.NewUnstartedServer(handler)
	behindSocket.Listener = listener
	behindSocket.Start()
	t.Cleanup(behindSocket.Close)
	behindPort := httptest.NewServer(handler)
	t.Cleanup(behindPort.Close)
	client := upstream.NewClient()
	t.Cleanup(client.Close)
	for address, want := range map[string]string{
		upstream.SocketAddress(socket):      upstream.EncodePrincipal("agents/alice"),
		behindPort.Listener.Addr().String(): "",
	} {
		if !upstream.Accepts(t.Context(), address) {
			t.Errorf("%s does not accept", address)
		}
		answer, err := client.Do(t.Context(), upstream.Request{Verb: http.MethodPost, Address: address, Path: "/mcp", Principal: "agents/alice", Body: []byte("{}")})
		if err != nil || answer.Kind != upstream.Empty {
			t.Fatalf("%s: %v", address, err)
		}
		if value := got.Get(upstream.HeaderPrincipal); value != want {
			t.Errorf("%s: the server is told %q, want %q", address, value, want)
		}
		if want != "" && host != "localhost" {
			t.Errorf("Host: %s", host)
		}
	}
	if _, err := client.Do(t.Context(), upstream.Request{Verb: http.MethodPost, Address: upstream.SocketAddress(socket), Path: "/", Body: []byte("{}")}); err != nil || got.Get(upstream.HeaderPrincipal) != upstream.EncodePrincipal(upstream.Self) {
		t.Errorf("the gate itself: %v, %v", got, err)
	}
	if _, err := client.Do(t.Context(), upstream.Request{Verb: http.MethodPost, Address: upstream.SocketAddress(socket + "x"), Path: "/"}); err != upstream.Unreachable {
		t.Errorf("no socket: %v", err)
	}
}

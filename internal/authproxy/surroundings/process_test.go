package surroundings

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestProcess: a socket that listens again, on the same port, is another one.
func TestProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	first, err := ProcessAt(address)
	if err != nil || first == "" {
		t.Fatal(first, err)
	}
	connected, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ProcessAt(address); err != nil || again != first {
		t.Errorf("with a connection: %q, %q, %v", first, again, err)
	}
	connected.Close()
	l.Close()
	if _, err := ProcessAt(address); !errors.Is(err, ErrNotListening) {
		t.Errorf("nobody listens: %v", err)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if second, err := ProcessAt(address); err != nil || second == first {
		t.Errorf("another process is %q again, %v", second, err)
	}
	if _, err := ProcessAt("here"); err == nil {
		t.Error("no address")
	}
}

// TestProcessAtASocket: another process that listens at a Unix socket is another one, and a file is none.
func TestProcessAtASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	address := "unix:" + path
	if process, err := ProcessAt(address); err == nil {
		t.Errorf("nothing is %q", process)
	}
	seen := map[string]bool{}
	for range 3 {
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		process, err := ProcessAt(address)
		again, _ := ProcessAt(address)
		if err != nil || seen[process] || process != again {
			t.Errorf("%q and %q after %v: %v", process, again, seen, err)
		}
		seen[process] = true
		_ = listener.Close()
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if process, err := ProcessAt(address); err == nil {
		t.Errorf("a file is %q", process)
	}
}

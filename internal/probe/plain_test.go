package probe_test

import (
	"io"
	"net"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// TestSlowPlainHTTP: who takes a request without TLS and does not answer in time has not refused it.
func TestSlowPlainHTTP(t *testing.T) {
	f := newFixture(t)
	gate := f.start(t, newRecorder(t).Listener.Addr().String(), nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				first := make([]byte, 1)
				if _, err := conn.Read(first); err != nil {
					return
				}
				if first[0] != 0x16 { // no TLS handshake
					_, _ = io.Copy(io.Discard, conn)
					return
				}
				behind, err := net.Dial("tcp", gate)
				if err != nil {
					return
				}
				defer func() { _ = behind.Close() }()
				_, _ = behind.Write(first)
				go func() { _, _ = io.Copy(conn, behind) }()
				_, _ = io.Copy(behind, conn)
			}()
		}
	}()
	target := f.target(t, listener.Addr().String())
	target.Quick = true
	for _, r := range probe.Run(t.Context(), target) {
		want := posture.Held
		if r.Control == "ENC-2" {
			want = posture.Inconclusive
		}
		if r.Outcome != want {
			t.Errorf("want %s: %+v", want, r)
		}
	}
}

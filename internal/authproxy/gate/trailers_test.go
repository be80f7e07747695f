package gate_test

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/test/corpus"
)

// TestTrailersOfHTTP2: net/http drops trailers of HTTP/2 that the header does not announce, before anybody could refuse them. Nothing of
// them is a credential of the caller's, and nothing reaches the server.
func TestTrailersOfHTTP2(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	for _, trailer := range []string{"x-api-key: BOB", "authorization: Bearer BOB", "mcp-session-id: x", "x-forwarded-user: root", "content-length: 1"} {
		conn, err := tls.Dial("tcp", w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		request := corpus.Good()
		request.HTTP2 = &corpus.Frames{Trailers: []string{trailer}}
		before := len(upstream.seen())
		status := request.SendHTTP2(t, conn, corpus.Credentials{Alice: w.aliceKey, Bob: w.bobKey})
		_ = conn.Close()
		seen := upstream.seen()[before:]
		if status == 0 && len(seen) == 0 {
			continue // net/http does not take every name
		}
		if r := w.audit.last(t); status != http.StatusOK || len(seen) != 1 || r.Client != "agents/alice" {
			t.Fatalf("%s: %d, %d requests, %+v", trailer, status, len(seen), r)
		}
		for name := range seen[0].header {
			switch name {
			case "Accept", "Content-Type", "Content-Length", "Mcp-Protocol-Version":
			default:
				t.Errorf("%s: the server saw %s", trailer, name)
			}
		}
	}
}

package gate_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// resumes says whether a second connection goes on with the TLS session of a first one on which a request was answered.
func resumes(t *testing.T, address string, config *tls.Config) (resumed bool) {
	t.Helper()
	config.NextProtos, config.ClientSessionCache = []string{"http/1.1"}, tls.NewLRUClientSessionCache(4)
	for range 2 {
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		// A ticket comes after the handshake: with the answer it has been read.
		if _, err := fmt.Fprintf(conn, "GET /mcp HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		resumed = conn.ConnectionState().DidResume
	}
	return resumed
}

// TestNothingIsResumed: each connection shows its certificate anew, so that none begins with what was verified before a revocation.
func TestNothingIsResumed(t *testing.T) {
	t.Parallel()
	other := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	if !resumes(t, other.Listener.Addr().String(), &tls.Config{RootCAs: other.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}) {
		t.Fatal("a server with tickets is not resumed: this test shows nothing")
	}
	w := newWorld(t, unused(t))
	for name, certificates := range map[string][]tls.Certificate{"with a certificate": {w.alice}, "without": nil} {
		if resumes(t, w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, Certificates: certificates}) {
			t.Errorf("a session is resumed %s", name)
		}
	}
}

// TestSeveralRoots: while an authority is replaced its namespace has two, each of which vouches for the clients of that namespace
// alone; the one that has left does so no more, on connections that are open, too.
func TestSeveralRoots(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	next := gatetest.NewAuthority(t, "agents, the next")
	name := clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI()
	old, renewed := w.client(w.alice), w.client(next.Client(t, name))
	expect := func(when string, client *http.Client, reason string) {
		t.Helper()
		before := len(upstream.seen())
		status, _, body := do(t, client, w.post(legacyCall))
		passed := len(upstream.seen()) - before
		if got := w.audit.last(t).Reason; got != reason || (status == http.StatusOK) != (reason == "") || (passed == 1) != (reason == "") {
			t.Errorf("%s: %d %s, %q, %d passed", when, status, body, got, passed)
		}
	}
	expect("the first", old, "")
	expect("the next, not there yet", renewed, "certificate-invalid")
	w.reload(func(c *gateconfig.Config) {
		c.Authorities = map[string]string{"agents": w.agents.PEM + next.PEM, "strangers": w.strangers.PEM}
	})
	expect("the first of two", old, "")
	renewed = w.client(next.Client(t, name))
	expect("the second of two", renewed, "")
	expect("the second of two, for another namespace", w.client(next.Client(t, clientid.Client{Namespace: "strangers", Name: "alice", Servers: "team-a"}.URI())), "certificate-invalid")
	expect("another namespace's", w.client(w.strangers.Client(t, name)), "certificate-invalid")
	w.reload(func(c *gateconfig.Config) {
		c.Authorities = map[string]string{"agents": next.PEM, "strangers": w.strangers.PEM}
	})
	expect("the next alone", renewed, "")
	expect("the one that has left, on an open connection", old, "certificate-invalid")
	expect("the one that has left", w.client(w.agents.Client(t, name)), "certificate-invalid")
}

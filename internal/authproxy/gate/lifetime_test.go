package gate_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// showing is a client that shows the certificate that a function returns at each handshake.
func (w *world) showing(certificate func() *tls.Certificate, protocols ...string) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: protocols,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate(), nil }},
		ForceAttemptHTTP2: len(protocols) == 0,
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: withKey{w.aliceKey, withHost{transport}}, Timeout: time.Minute}
}

// TestConnectionsEndBeforeTheirCertificate: a connection that is kept would refuse every request as soon as its certificate
// ends, although the client has had a new one for long. It is closed before that, in good order, and so is one on which no request can
// succeed.
func TestConnectionsEndBeforeTheirCertificate(t *testing.T) {
	t.Parallel()
	left := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(-23*time.Hour), time.Now().Add(d) }
	}
	for name, test := range map[string]struct {
		left    time.Duration
		status  int
		renewed bool
	}{
		"most of its life is left": {20 * time.Hour, http.StatusOK, false},
		"it ends soon":             {30 * time.Minute, http.StatusOK, true},
		"it has ended":             {-time.Minute, http.StatusUnauthorized, true},
	} {
		for version, protocols := range map[string][]string{"HTTP/2": nil, "HTTP/1.1": {"http/1.1"}} {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, newRecorder(t, result).address())
				uri := clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI()
				old, renewed := w.agents.Client(t, uri, left(test.left)), w.agents.Client(t, uri)
				now := &old
				c := w.showing(func() *tls.Certificate { return now }, protocols...)
				if status, _, body := do(t, c, w.post(legacyCall)); status != test.status {
					t.Fatalf("%d %s", status, body)
				}
				before := w.audit.last(t)
				now = &renewed
				if status, _, body := do(t, c, w.post(legacyCall)); status != http.StatusOK {
					t.Fatalf("the next request: %d %s", status, body)
				}
				after := w.audit.last(t)
				if got := before.Source != after.Source; got != test.renewed {
					t.Errorf("on a new connection: %t, want %t", got, test.renewed)
				}
			})
		}
	}
}

// TestAnOpenCallUsesItsKey: a key is in use until the last call that it was used for is answered; a stream that stands does
// not count, because it would hold the key for good.
func TestAnOpenCallUsesItsKey(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	w := newWorld(t, newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": hello\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-finish:
			_, _ = io.WriteString(w, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[]}}\n\n")
		case <-r.Context().Done():
		}
	}).address())
	id, err := keys.Parse(w.aliceKey)
	if err != nil {
		t.Fatal(err)
	}
	used := func() time.Time {
		for _, key := range w.status(t).Keys {
			if key.ID == id {
				return key.LastUsed
			}
		}
		t.Fatal("the key is not there")
		return time.Time{}
	}
	answer, _ := open(t, w.keyed(w.aliceKey), w.post(legacyCall))
	begun := used()
	// The status counts in seconds.
	gatetest.Eventually(t, "the open call counts as use", func() bool { return used().After(begun.Add(time.Second)) })
	finish <- struct{}{}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	open(t, w.keyed(w.aliceKey), w.verb(http.MethodGet))
	last := used()
	gatetest.Eventually(t, "two seconds have passed", func() bool { return time.Since(last) > 2*time.Second })
	if now := used(); now.After(last) {
		t.Errorf("a standing stream counts as use: at %s, and then %s", last, now)
	}
}

// TestSilentStreamsStay: the bound on slow callers is one on writing. A stream on which there is nothing to write for longer stays
// open, in HTTP/2 as in HTTP/1.1.
func TestSilentStreamsStay(t *testing.T) {
	t.Parallel()
	for version, protocols := range map[string][]string{"HTTP/2": nil, "HTTP/1.1": {"http/1.1"}} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server := &streamer{next: make(chan string)}
			const bound = time.Second
			w := newWorld(t, newRecorder(t, server.serve).address(), func(w *world) {
				w.options.Timeouts = listener.DefaultTimeouts
				w.options.Timeouts.Write = bound
			})
			c := w.showing(func() *tls.Certificate { return &w.alice }, protocols...)
			_, lines := open(t, c, w.verb(http.MethodGet))
			for range 2 {
				silent := time.NewTimer(2 * bound)
				<-silent.C
				server.send(t, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n")
				for line := ""; !strings.HasPrefix(line, "data: "); {
					var err error
					if line, err = lines.ReadString('\n'); err != nil {
						t.Fatalf("the stream was cut off in its silence: %v", err)
					}
				}
			}
		})
	}
}

package gate_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

func (w *world) withBob() {
	w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: "friends/1", Clients: []string{"agents/bob"}, Tools: []string{"greet"}})
}

// TestRequestsAreBounded: one client cannot take all there is, what is too much is told so at once, and neither the status
// nor a revocation waits for it.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, server.serve)
	w := newWorld(t, upstream.address(), (*world).withBob, func(w *world) {
		w.options.Bounds = gate.Bounds{Connections: 100, Requests: 3, ClientRequests: 2, Held: 1 << 20, ClientHeld: 1 << 20}
	})
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	busy := func(c *http.Client) {
		t.Helper()
		status, header, body := do(t, c, w.post(legacyCall))
		if record := w.audit.last(t); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" ||
			!strings.Contains(body, "Try again soon") || record.Reason != "busy" {
			t.Errorf("%d %v %s %+v", status, header, body, record)
		}
	}
	open(t, alice, w.modern())
	open(t, alice, w.modern())
	busy(alice)
	response, _ := open(t, bob, w.modern())
	busy(bob)
	if got := w.status(t); got.Generation == "" {
		t.Error("there is no status")
	}
	if status, _, _ := do(t, w.client(), w.post(legacyCall)); status != http.StatusUnauthorized {
		t.Errorf("without a credential: %d", status)
	}
	_ = response.Body.Close()
	gatetest.Eventually(t, "the call is cancelled", func() bool { return server.count() == 2 })
	gatetest.Eventually(t, "bob may call again", func() bool {
		response, err := bob.Do(w.modern())
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	w.reload(func(c *gateconfig.Config) { c.Clients = c.Clients[1:] })
	gatetest.Eventually(t, "the streams have ended", func() bool { return server.count() == 0 })
}

// TestBodiesAreBounded: what is held of requests and answers is bounded over all of them.
func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	large := `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", 100<<10) + `"}]}}`
	contentType, answer := "application/json", large
	upstream := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, answer)
	})
	w := newWorld(t, upstream.address(), func(w *world) {
		w.options.Bounds = gate.Bounds{Connections: 100, Requests: 10, ClientRequests: 10, Held: 48 << 10, ClientHeld: 48 << 10}
	})
	alice := w.keyed(w.aliceKey)
	if status, _, body := do(t, alice, w.post(legacyCall)); status != http.StatusServiceUnavailable || !strings.Contains(body, "Try again soon") {
		t.Errorf("a large answer: %d %.200s", status, body)
	}
	contentType, answer = "text/event-stream", "data: "+large+"\n\n"
	if status, _, body := do(t, alice, w.post(legacyCall)); status != http.StatusOK || !strings.Contains(body, `"id":1,"error"`) || !strings.Contains(body, "Try again soon") {
		t.Errorf("a large event: %d %.200s", status, body)
	}
	before := len(upstream.seen())
	request := strings.Replace(legacyCall, `"name":"x"`, `"name":"`+strings.Repeat("x", 60<<10)+`"`, 1)
	if status, header, body := do(t, alice, w.post(request)); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || len(upstream.seen()) != before {
		t.Errorf("a large request: %d %.200s", status, body)
	}
	// Nothing is lost by that.
	contentType, answer = "application/json", good
	small := strings.Replace(legacyCall, `"name":"x"`, `"name":"`+strings.Repeat("x", 20<<10)+`"`, 1)
	for range 5 {
		if status, _, body := do(t, alice, w.post(small)); status != http.StatusOK {
			t.Errorf("a small request: %d %.200s", status, body)
		}
	}
}

// TestConnectionsAreBounded: strangers who hold connections open keep nobody out.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, server.serve)
	w := newWorld(t, upstream.address(), func(w *world) {
		w.options.Bounds = gate.Bounds{Connections: 5, Requests: 10, ClientRequests: 10, Held: 1 << 20, ClientHeld: 1 << 20}
	})
	open(t, w.keyed(w.aliceKey), w.modern())
	var idle []net.Conn
	for range 20 {
		conn, err := net.Dial("tcp", w.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	for _, conn := range idle[:15] {
		// The gate closes it long before the time for a handshake is over; either way there is an end.
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the gate speaks first")
		}
	}
	open(t, w.keyed(w.aliceKey), w.modern())
	if server.count() != 2 {
		t.Error("a stream was closed for strangers")
	}
}

// TestUnfinishedRequestsOfStrangers: who begins requests without a credential, and does not end them, keeps nobody out, and does
// not take the connection of a known caller's stream.
func TestUnfinishedRequestsOfStrangers(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	w := newWorld(t, newRecorder(t, server.serve).address(), func(w *world) {
		w.options.Bounds = gate.Bounds{Connections: 5, Requests: 10, ClientRequests: 10, Held: 1 << 20, ClientHeld: 1 << 20}
	})
	_, lines := open(t, w.keyed(w.aliceKey), w.modern())
	for range 20 {
		conn, err := tls.Dial("tcp", w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host})
		if err != nil {
			t.Fatalf("a stranger's connection takes the place of another: %v", err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST /mcp HTTP/1.1\r\nHost: "+host+"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
	}
	gatetest.Eventually(t, "the gate has read requests of strangers", func() bool { return len(w.audit.records(t)) > 5 })
	if status, _, body := do(t, w.keyed(w.aliceKey), w.post("{}")); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, body)
	}
	server.send(t, ": still\n\n")
	if _, err := lines.ReadString(':'); err != nil {
		t.Error("a stream was closed for strangers")
	}
}

// TestOtherPortsAreBounded: connections to the ports for probes and the status cost the gate no more than some, and keep nobody out.
func TestOtherPortsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unused(t))
	for _, address := range []string{strings.TrimPrefix(w.probe, "http://"), strings.TrimPrefix(w.statusURL, "https://")} {
		// One that says nothing is closed after a time, too: only that another, which came later, is open then tells the one from the other.
		gatetest.Eventually(t, "one connection makes room for another", func() bool {
			var conns []net.Conn
			for range 100 {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conns = append(conns, conn)
			}
			_, _ = conns[0].Read(make([]byte, 1))
			_ = conns[99].SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, err := conns[99].Read(make([]byte, 1))
			return errors.Is(err, os.ErrDeadlineExceeded)
		})
	}
	if code, body, err := w.get(t, http.DefaultClient, w.probe+"/livez"); err != nil || code != http.StatusOK {
		t.Errorf("%d %s %v", code, body, err)
	}
	if got := w.status(t); got.Version != "test" {
		t.Errorf("%+v", got)
	}
}

// TestIdleConnectionsOfOthersStay: who opens connections without an end loses their own, and nobody else's.
func TestIdleConnectionsOfOthersStay(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), func(w *world) {
		w.options.Bounds = gate.Bounds{Connections: 5, Requests: 10, ClientRequests: 10, Held: 1 << 20, ClientHeld: 1 << 20}
	})
	dials := 0
	alice := w.client()
	transport := alice.Transport.(withHost).next.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return dial(ctx, network, address)
	}
	alice.Transport = withKey{w.aliceKey, alice.Transport}
	if status, _, body := do(t, alice, w.post(legacyCall)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	for range 20 {
		conn, err := net.Dial("tcp", w.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if status, _, body := do(t, alice, w.post(legacyCall)); status != http.StatusOK || dials != 1 {
		t.Errorf("%d %s, on connection %d", status, body, dials)
	}
}

// TestNobodyHoldsAllMemory: a client with large bodies is told to wait, another is served.
func TestNobodyHoldsAllMemory(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), (*world).withBob, func(w *world) {
		w.options.Bounds = gate.Bounds{Connections: 100, Requests: 20, ClientRequests: 20, Held: 128 << 10, ClientHeld: 64 << 10}
	})
	large := strings.Replace(legacyCall, `"name":"x"`, `"name":"`+strings.Repeat("x", 40<<10)+`"`, 1)
	// It is sent but for its end, so what came of it is held.
	slow, end := io.Pipe()
	defer end.Close()
	request := w.post(large)
	request.Body, request.GetBody, request.ContentLength = slow, nil, int64(len(large))
	answered := make(chan int, 1)
	go func() {
		response, err := w.keyed(w.aliceKey).Do(request)
		if err != nil {
			answered <- 0
			return
		}
		_ = response.Body.Close()
		answered <- response.StatusCode
	}()
	if _, err := io.WriteString(end, large[:len(large)-1]); err != nil {
		t.Fatal(err)
	}
	alice := w.keyed(w.aliceKey)
	gatetest.Eventually(t, "alice's share is taken", func() bool {
		status, _, body := do(t, alice, w.post(large))
		return status == http.StatusServiceUnavailable && strings.Contains(body, "Try again soon")
	})
	if status, _, body := do(t, w.keyed(w.bobKey), w.post(large)); status != http.StatusOK {
		t.Errorf("bob: %d %s", status, body)
	}
	if _, err := io.WriteString(end, large[len(large)-1:]); err != nil {
		t.Fatal(err)
	}
	_ = end.Close()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the slow one: %d", status)
	}
	if status, _, body := do(t, alice, w.post(large)); status != http.StatusOK {
		t.Errorf("alice, later: %d %s", status, body)
	}
}

package gate_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// streamer is a server whose answers are streams that go on until they are cancelled; it counts those that are open.
type streamer struct {
	mu   sync.Mutex
	open int
	next chan string
}

func (s *streamer) serve(w http.ResponseWriter, r *http.Request) {
	s.add(1)
	defer s.add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, ": hello\n\n")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case event := <-s.next:
			_, _ = io.WriteString(w, event)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// send sends an event on one of the streams.
func (s *streamer) send(t *testing.T, event string) {
	t.Helper()
	select {
	case s.next <- event:
	case <-time.After(time.Minute):
		t.Fatal("no stream is open")
	}
}

func (s *streamer) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

func (s *streamer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// open sends a request whose answer is a stream and waits for its beginning.
func open(t *testing.T, c *http.Client, r *http.Request) (*http.Response, *bufio.Reader) {
	t.Helper()
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); response.StatusCode != http.StatusOK || err != nil || line != ":\n" {
		t.Fatalf("%d %q %v", response.StatusCode, line, err)
	}
	return response, lines
}

const modernCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`

func (w *world) modern() *http.Request {
	return w.post(modernCall, set("Mcp-Protocol-Version", "2026-07-28"), set("Mcp-Method", "tools/call"), set("Mcp-Name", "greet"))
}

// TestStreamsEndWithTheirCredential: whatever took the right away, an open stream ends and so does the call.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*gateconfig.Config)
		ends   bool
	}{
		"nothing changed":     {func(c *gateconfig.Config) { c.Limits.Depth++ }, false},
		"another client left": {func(c *gateconfig.Config) { c.Clients = c.Clients[:1] }, false},
		"client removed":      {func(c *gateconfig.Config) { c.Clients = c.Clients[1:] }, true},
		"key removed":         {func(c *gateconfig.Config) { c.Clients[0].Keys = nil }, true},
		"key given to bob": {func(c *gateconfig.Config) {
			c.Clients[0].Keys, c.Clients[1].Keys = nil, c.Clients[0].Keys
		}, true},
		"keys disabled":         {func(c *gateconfig.Config) { c.Authentication.APIKeys = gateconfig.Disabled }, true},
		"certificates required": {func(c *gateconfig.Config) { c.Authentication.ClientCertificates = gateconfig.Required }, true},
		"rule removed":          {func(c *gateconfig.Config) { c.Policy.Rules = nil }, true},
		"key expires": {func(c *gateconfig.Config) {
			c.Clients[0].Keys[0].NotAfter = time.Now().Add(time.Second).UTC()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &streamer{next: make(chan string)}
			upstream := newRecorder(t, server.serve)
			w := newWorld(t, upstream.address())
			var streams []*bufio.Reader
			for _, r := range []*http.Request{w.post(legacyCall), w.modern(), w.verb(http.MethodGet)} {
				_, lines := open(t, w.keyed(w.aliceKey), r)
				streams = append(streams, lines)
			}
			if server.count() != 3 {
				t.Fatalf("%d streams are open", server.count())
			}
			w.reload(test.change)
			if !test.ends {
				for range streams {
					server.send(t, ": go on\n\n")
				}
				time.Sleep(50 * time.Millisecond)
				if server.count() != len(streams) {
					t.Errorf("%d streams are open; want %d", server.count(), len(streams))
				}
				return
			}
			for _, lines := range streams {
				if _, err := io.Copy(io.Discard, lines); err == nil {
					t.Error("the caller does not see that the stream was cut off")
				}
			}
			gatetest.Eventually(t, "the server's streams have ended", func() bool { return server.count() == 0 })
		})
	}
}

// TestDisconnects: in the stateless revision a disconnect is a cancel, in those with sessions a call goes on.
func TestDisconnects(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request func(*world) *http.Request
		cancels bool
	}{
		"modern call": {(*world).modern, true},
		"legacy call": {func(w *world) *http.Request { return w.post(legacyCall) }, false},
		"legacy GET":  {func(w *world) *http.Request { return w.verb(http.MethodGet) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &streamer{next: make(chan string)}
			upstream := newRecorder(t, server.serve)
			w := newWorld(t, upstream.address())
			ctx, cancel := context.WithCancel(t.Context())
			open(t, w.keyed(w.aliceKey), test.request(w).WithContext(ctx))
			cancel()
			if test.cancels {
				gatetest.Eventually(t, "the call is cancelled", func() bool { return server.count() == 0 })
				return
			}
			for range 10 {
				server.send(t, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"message\":\""+strings.Repeat("x", 10_000)+"\"}}\n\n")
			}
			if server.count() != 1 {
				t.Error("the call was cancelled")
			}
			// Its credential still ends it.
			w.reload(func(c *gateconfig.Config) { c.Clients = c.Clients[1:] })
			gatetest.Eventually(t, "the call is cancelled", func() bool { return server.count() == 0 })
		})
	}
}

// TestEventsPassAtOnce: nothing waits for more.
func TestEventsPassAtOnce(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, server.serve)
	w := newWorld(t, upstream.address())
	_, lines := open(t, w.keyed(w.aliceKey), w.modern())
	for range 3 {
		server.send(t, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n")
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "data: ") {
				break
			}
		}
	}
}

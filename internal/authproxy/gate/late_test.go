package gate_test

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// within bounds the time of answers; one request at a time says that a late one lets go of what it took.
func within(seconds int64) func(*world) {
	return func(w *world) {
		w.config.Limits.AnswerWithinSeconds = seconds
		w.options.Bounds = gate.Bounds{Connections: 100, Requests: 1, ClientRequests: 1, Held: 1 << 20, ClientHeld: 1 << 20}
	}
}

// begins writes the beginning of an answer.
func begins(w http.ResponseWriter, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
}

// dribble writes a text again and again until nobody reads it any more.
func dribble(w http.ResponseWriter, r *http.Request, text string) {
	often := time.NewTicker(20 * time.Millisecond)
	defer often.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-often.C:
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

const (
	events   = "text/event-stream"
	progress = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}\n\n"
	final    = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"resultType\":\"complete\",\"content\":[]}}\n\n"
)

// TestLateAnswers: however a server is slow, its caller has an answer in time, and the server is told to stop.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	nothing := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	legacy := func(w *world) *http.Request { return w.post(legacyCall) }
	for name, test := range map[string]struct {
		server  http.HandlerFunc
		request func(*world) *http.Request
		// status is the answer's; with 200 the last event is the error, unless answered says that the answer is there.
		status   int
		answered bool
	}{
		"never":                          {nothing, (*world).modern, 504, false},
		"never, to a legacy call":        {nothing, legacy, 504, false},
		"never, to a handshake":          {nothing, func(w *world) *http.Request { return w.post(initialize) }, 504, false},
		"never, to a list":               {nothing, func(w *world) *http.Request { return w.modernly("tools/list", "", "") }, 504, false},
		"never, to a notification":       {nothing, func(w *world) *http.Request { return w.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`) }, 504, false},
		"never, to the end of a session": {nothing, func(w *world) *http.Request { return w.verb(http.MethodDelete) }, 504, false},
		"half of a document": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[`)
			<-r.Context().Done()
		}, (*world).modern, 504, false},
		"a document of blanks": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, "application/json", " ")
			dribble(w, r, " ")
		}, (*world).modern, 504, false},
		"a refusal without an end": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			dribble(w, r, " ")
		}, (*world).modern, 504, false},
		"a stream of nothing": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, ":\n\n")
			<-r.Context().Done()
		}, (*world).modern, 200, false},
		"keep-alives": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, ":\n\n")
			dribble(w, r, ":\n\n")
		}, (*world).modern, 200, false},
		"keep-alives, to a legacy call": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, "id: 1\ndata: \n\n")
			dribble(w, r, ":\n\n")
		}, legacy, 200, false},
		"keep-alives, to a handshake": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, ":\n\n")
			dribble(w, r, ":\n\n")
		}, func(w *world) *http.Request { return w.post(initialize) }, 504, false},
		"progress": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, progress)
			dribble(w, r, progress)
		}, (*world).modern, 200, false},
		"half of an event": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, "id: 1\nevent: other\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,")
			<-r.Context().Done()
		}, legacy, 200, false},
		"half of a line": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, "event: message\ndata: {\"jsonrpc\":")
			dribble(w, r, " ")
		}, (*world).modern, 200, false},
		"more after the answer": {func(w http.ResponseWriter, r *http.Request) {
			begins(w, events, final)
			dribble(w, r, ":\n\n")
		}, (*world).modern, 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var slow sync.WaitGroup
			slow.Add(1)
			var calls atomic.Int32
			upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) > 1 {
					result(w, r)
					return
				}
				defer slow.Done()
				test.server(w, r)
			})
			w := newWorld(t, upstream.address(), within(1))
			began := time.Now()
			status, _, body := do(t, w.keyed(w.aliceKey), test.request(w))
			if took := time.Since(began); took < time.Second {
				t.Errorf("it was cut off after %s", took)
			}
			slow.Wait() // the server knows that nobody reads its answer
			record := w.audit.last(t)
			text := body
			if status == http.StatusOK {
				all := eventData([]byte(body))
				if len(all) == 0 {
					t.Fatalf("no event: %q", body)
				}
				text = string(all[len(all)-1])
			}
			switch {
			case status != test.status:
				t.Errorf("%d %s", status, body)
			case test.answered:
				if !strings.Contains(text, `"result"`) || strings.Contains(body, `"error"`) {
					t.Errorf("%q", body)
				}
			default:
				var e struct {
					ID    any
					Error struct{ Code int }
				}
				if err := json.Unmarshal([]byte(text), &e); err != nil || e.Error.Code != -31504 || (e.ID == nil) != (record.Method == "" || strings.HasPrefix(record.Method, "notifications/")) {
					t.Errorf("%v: %q", err, body)
				}
			}
			if status == 504 && (record.Decision != audit.Failed || record.Reason != "upstream-timeout" || record.Status != 504) || len(w.audit.records(t)) != 1 {
				t.Errorf("%+v", w.audit.records(t))
			}
			counted := `bartizan_gate_refusals_total{decision="failed",reason="upstream-timeout"}`
			if status == http.StatusOK {
				counted = strings.Replace(counted, "failed", "cut", 1)
			}
			gatetest.Eventually(t, "it is counted", func() bool { return w.metric(t, counted) == "1" })
			if label := w.metric(t, `mcp_server_operation_duration_seconds_count{error_type="upstream-timeout",mcp_method_name="tools/call",mcp_protocol_version="2026-07-28"}`); record.Method == "tools/call" && strings.Contains(upstream.seen()[0].body, "2026-07-28") && !test.answered && label != "1" {
				t.Errorf("its error type is counted %q times", label)
			}
			gatetest.Eventually(t, "what it took is given back", func() bool {
				status, _, _ := do(t, w.keyed(w.aliceKey), w.post(legacyCall))
				return status == http.StatusOK
			})
		})
	}
}

// TestStandingStreamsAreNotLate: what answers no call goes on, though calls are bounded.
func TestStandingStreamsAreNotLate(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, server.serve)
	w := newWorld(t, upstream.address(), func(w *world) { w.config.Limits.AnswerWithinSeconds = 1 })
	c := w.keyed(w.aliceKey)
	open(t, c, w.verb(http.MethodGet))
	open(t, c, w.modernly("subscriptions/listen", "", `"notifications":{"toolsListChanged":true}`))
	_, call := open(t, c, w.modern())
	if rest, err := io.ReadAll(call); err != nil || !strings.Contains(string(rest), "-31504") {
		t.Fatalf("%v: %q", err, rest)
	}
	gatetest.Eventually(t, "the call is over", func() bool { return server.count() == 2 })
	server.send(t, progress)
	if server.count() != 2 {
		t.Errorf("%d streams are open", server.count())
	}
}

// TestLateInASession: there the server is told by a message of its own, with the session, whether or not the caller is still there.
func TestLateInASession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		leaves bool
		ends   func(*world)
		reason string
	}{
		"the caller waits":            {false, func(*world) {}, "upstream-timeout"},
		"the caller went away":        {true, func(*world) {}, "upstream-timeout"},
		"the caller may not any more": {false, func(w *world) { w.config.Limits.AnswerWithinSeconds = 3600 }, "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			called := make(chan struct{}, 1)
			upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Mcp-Session-Id") == "" {
					sessions(w, r)
					return
				}
				if r.ContentLength == int64(len(legacyCall)) {
					called <- struct{}{}
					<-r.Context().Done()
					return
				}
				w.WriteHeader(http.StatusAccepted)
			})
			w := newWorld(t, upstream.address(), func(w *world) { w.config.Limits.AnswerWithinSeconds = 1; test.ends(w) })
			c := w.keyed(w.aliceKey)
			_, header, _ := do(t, c, w.post(initialize))
			ctx, leave := context.WithCancel(t.Context())
			answered := make(chan int, 1)
			go func() {
				response, err := c.Do(w.post(legacyCall, set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))).WithContext(ctx))
				if err != nil {
					answered <- 0
					return
				}
				_ = response.Body.Close()
				answered <- response.StatusCode
			}()
			<-called
			want := http.StatusGatewayTimeout
			switch {
			case test.leaves:
				leave()
				want = 0
			case test.reason == "revoked":
				w.reload(func(c *gateconfig.Config) { c.Clients = c.Clients[1:] })
				want = http.StatusUnauthorized
			}
			defer leave()
			const cancelled = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
			gatetest.Eventually(t, "the server is told", func() bool { return upstream.bodies(cancelled) == 1 })
			if got := <-answered; got != want {
				t.Errorf("%d", got)
			}
			gatetest.Eventually(t, "it is in the audit log", func() bool { return w.audit.last(t).Reason == test.reason })
			for _, r := range upstream.seen() {
				if r.body == cancelled && (r.header.Get("Mcp-Session-Id") != "server-session" || r.header.Get("Mcp-Protocol-Version") != "2025-11-25" || r.header.Get("Authorization") != "") {
					t.Errorf("%+v", r)
				}
			}
			if n := len(upstream.seen()); n != 3 {
				t.Errorf("the server had %d requests", n)
			}
		})
	}
}

// TestAnswersAtTheEdge: an answer that comes when its time ends is passed on, or is not; never both, and never half of it.
func TestAnswersAtTheEdge(t *testing.T) {
	t.Parallel()
	const calls = 60
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		edge := time.NewTimer(time.Second + time.Duration(rand.IntN(20)-15)*time.Millisecond)
		if r.Header.Get("Mcp-Name") == "greet" {
			<-edge.C
			result(w, r)
			return
		}
		begins(w, events, ":\n\n")
		<-edge.C
		_, _ = io.WriteString(w, final)
	})
	w := newWorld(t, upstream.address(), func(w *world) { w.config.Limits.AnswerWithinSeconds = 1 })
	c := w.keyed(w.aliceKey)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			tool := []string{"greet", "slow"}[i%2]
			status, _, body := do(t, c, w.modernly("tools/call", tool, `"name":"`+tool+`"`))
			texts := [][]byte{[]byte(body)}
			if strings.HasPrefix(body, ":") {
				texts = eventData([]byte(body))
			}
			var answer struct {
				ID     int
				Result *struct{}
				Error  *struct{ Code int }
			}
			if len(texts) != 1 || json.Unmarshal(texts[0], &answer) != nil || answer.ID != 1 || (answer.Result == nil) != (answer.Error != nil && answer.Error.Code == -31504) {
				t.Errorf("%d %q", status, body)
			}
		})
	}
	all.Wait()
	gatetest.Eventually(t, "each has its line", func() bool { return len(w.audit.records(t)) == calls })
}

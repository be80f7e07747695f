package gate_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

// sessions is a server with one session, "server-session", whose streams have event ids.
func sessions(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 8\ndata: {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{\"tools\":[{\"name\":\"greet\"},{\"name\":\"erase\"}]}}\n\n")
	case r.Header.Get("Mcp-Session-Id") == "":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Mcp-Session-Id", "server-session")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`)
	default:
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Mcp-Session-Id", "server-session")
		_, _ = io.WriteString(w, "id: 7\ndata: \n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[]}}\n\n")
	}
}

func (w *world) verb(verb string, changes ...func(*http.Request)) *http.Request {
	r := w.post("", changes...)
	r.Method, r.Body, r.GetBody, r.ContentLength = verb, nil, nil, 0
	return r
}

func TestSessionsBelongToTheirClient(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, sessions)
	w := newWorld(t, upstream.address(), func(w *world) {
		w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: "friends/1", Clients: []string{"agents/bob"}, Tools: []string{"greet"}})
	})
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	status, header, body := do(t, alice, w.post(initialize))
	sealed := header.Get("Mcp-Session-Id")
	if status != http.StatusOK || sealed == "" || strings.Contains(sealed, "server-session") {
		t.Fatalf("%d %v %s", status, header, body)
	}
	status, header, body = do(t, alice, w.post(legacyCall, set("Mcp-Session-Id", sealed)))
	if status != http.StatusOK || header.Get("Mcp-Session-Id") != "" {
		t.Fatalf("%d %v %s", status, header, body)
	}
	if got := upstream.seen()[1].header.Get("Mcp-Session-Id"); got != "server-session" {
		t.Errorf("the server saw the session %q", got)
	}
	event := strings.TrimPrefix(strings.SplitN(body, "\n", 2)[0], "id: ")
	if event == body || event == "7" {
		t.Fatalf("the stream is %q", body)
	}
	_, other, _ := do(t, alice, w.post(initialize))
	otherSession := other.Get("Mcp-Session-Id")
	_, bobs, _ := do(t, bob, w.post(initialize))

	get := func(session, last string) *http.Request {
		return w.verb(http.MethodGet, set("Mcp-Session-Id", session), set("Last-Event-Id", last))
	}
	status, _, body = do(t, alice, get(sealed, event))
	if seen := upstream.seen(); status != http.StatusOK || seen[len(seen)-1].header.Get("Last-Event-Id") != "7" {
		t.Errorf("resumed: %d %s", status, body)
	}
	if strings.Contains(body, "erase") || !strings.Contains(body, "greet") || strings.Contains(body, "id: 8\n") {
		t.Errorf("the resumed stream is not filtered: %s", body)
	}
	if otherSession == sealed {
		t.Error("two sessions have one sealed id")
	}
	for name, test := range map[string]struct {
		client  *http.Client
		request *http.Request
	}{
		"bob posts":             {bob, w.post(legacyCall, set("Mcp-Session-Id", sealed))},
		"bob initializes":       {bob, w.post(initialize, set("Mcp-Session-Id", sealed))},
		"bob answers":           {bob, w.post(`{"jsonrpc":"2.0","id":1,"result":{}}`, set("Mcp-Session-Id", sealed))},
		"bob listens":           {bob, w.verb(http.MethodGet, set("Mcp-Session-Id", sealed))},
		"bob resumes":           {bob, get(bobs.Get("Mcp-Session-Id"), event)},
		"bob resumes, both":     {bob, get(sealed, event)},
		"bob ends":              {bob, w.verb(http.MethodDelete, set("Mcp-Session-Id", sealed))},
		"the server's own id":   {alice, w.post(legacyCall, set("Mcp-Session-Id", "server-session"))},
		"made up":               {alice, w.post(legacyCall, set("Mcp-Session-Id", "AAAA"))},
		"empty":                 {alice, w.post(legacyCall, set("Mcp-Session-Id", ""))},
		"the server's event id": {alice, get(sealed, "7")},
		"an event as a session": {alice, w.post(legacyCall, set("Mcp-Session-Id", event))},
		"a session as an event": {alice, get(sealed, sealed)},
	} {
		before := len(upstream.seen())
		status, _, body := do(t, test.client, test.request)
		if status != http.StatusNotFound || len(upstream.seen()) != before {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _, body := do(t, alice, w.post(`{"jsonrpc":"2.0","id":1,"result":{}}`, set("Mcp-Session-Id", sealed))); status != http.StatusBadRequest {
		t.Errorf("alice answers what nobody asked: %d %s", status, body)
	}
	if status, _, body := do(t, alice, w.verb(http.MethodDelete, set("Mcp-Session-Id", sealed))); status != http.StatusNoContent {
		t.Errorf("alice ends: %d %s", status, body)
	}
}

// TestRevisionsBelowTheLowest: the server's choice is judged like the client's.
func TestRevisionsBelowTheLowest(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Mcp-Session-Id", "x")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`)
	})
	w := newWorld(t, upstream.address(), func(w *world) { w.config.Upstream.MinRevision = gateconfig.Revision20251125 })
	status, header, body := do(t, w.keyed(w.aliceKey), w.post(initialize))
	if status != http.StatusBadGateway || header.Get("Mcp-Session-Id") != "" || w.audit.last(t).Reason != "upstream-revision" {
		t.Errorf("%d %v %s", status, header, body)
	}
	w.reload(func(c *gateconfig.Config) { c.Upstream.MinRevision = gateconfig.Revision20260728 })
	for name, r := range map[string]*http.Request{
		"initialize": w.post(initialize), "GET": w.verb(http.MethodGet), "DELETE": w.verb(http.MethodDelete), "call": w.post(legacyCall),
	} {
		if status, _, body := do(t, w.keyed(w.aliceKey), r); status != http.StatusBadRequest && status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

// TestSessionsKeepTheirRevision: the revision that a session was begun with is sealed into its id, and judged with each of its
// requests, whether they name one or not.
func TestSessionsKeepTheirRevision(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Mcp-Session-Id") != "" {
				result(w, r)
				return
			}
			w.Header().Set("Mcp-Session-Id", "server-session")
			answer := `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`
			if stream {
				w.Header().Set("Content-Type", "text/event-stream")
				answer = ": wait\n\nid: 1\ndata: \n\ndata: " + answer + "\n\n"
			} else {
				w.Header().Set("Content-Type", "application/json")
			}
			_, _ = io.WriteString(w, answer)
		})
		w := newWorld(t, upstream.address())
		alice := w.keyed(w.aliceKey)
		status, header, body := do(t, alice, w.post(initialize, set("Mcp-Protocol-Version", "2025-06-18")))
		sealed := header.Get("Mcp-Session-Id")
		if status != http.StatusOK || sealed == "" {
			t.Fatalf("%d %v %s", status, header, body)
		}
		without := func(r *http.Request) { r.Header.Del("Mcp-Protocol-Version") }
		old := set("Mcp-Protocol-Version", "2025-06-18")
		in := set("Mcp-Session-Id", sealed)
		for name, test := range map[string]struct {
			request *http.Request
			want    int
		}{
			"its revision":        {w.post(legacyCall, in, old), 200},
			"no revision":         {w.post(legacyCall, in, without), 200},
			"another revision":    {w.post(legacyCall, in), 400},
			"an unknown revision": {w.post(legacyCall, in, set("Mcp-Protocol-Version", "2024-11-05")), 400},
			"another, DELETE":     {w.verb(http.MethodDelete, in), 400},
			"another, GET":        {w.verb(http.MethodGet, in), 400},
			"no session":          {w.post(legacyCall, without), 400},
		} {
			before := len(upstream.seen())
			status, _, body := do(t, alice, test.request)
			seen := upstream.seen()
			if status != test.want || (status != http.StatusOK && len(seen) != before) {
				t.Errorf("%s: %d %s", name, status, body)
			}
			if status == http.StatusOK && seen[len(seen)-1].header.Get("Mcp-Protocol-Version") != "2025-06-18" {
				t.Errorf("%s: the server is told another revision than the one judged", name)
			}
		}
		w.reload(func(c *gateconfig.Config) { c.Upstream.MinRevision = gateconfig.Revision20251125 })
		for name, request := range map[string]*http.Request{"its revision": w.post(legacyCall, in, old), "no revision": w.post(legacyCall, in, without)} {
			if status, _, body := do(t, alice, request); status != http.StatusBadRequest || !strings.Contains(body, "-32022") {
				t.Errorf("%s, not accepted any more: %d %s", name, status, body)
			}
		}
	}
}

// TestRefusalsNameTheRequest: who asks is told to which of its requests the refusal is, as soon as that is known.
func TestRefusalsNameTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRecorder(t, result).address())
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":"q7","method":"tools/call","params":{}}`:                                             `"id":"q7"`,
		`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"erase"}}`:                                  `"id":7`,
		`{"jsonrpc":"1.0","id":7,"method":"ping"}`:                                                                  `"id":7`,
		`{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}`: `"id":7`,
	} {
		if status, _, answer := do(t, w.keyed(w.aliceKey), w.post(body)); status < 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}

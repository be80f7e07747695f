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
	if strings.Contains(body, "erase") || !strings.Contains(body, "greet") || strings.Contains(body, "id: 8") {
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
	if status, _, body := do(t, alice, w.post(`{"jsonrpc":"2.0","id":1,"result":{}}`, set("Mcp-Session-Id", sealed))); status != http.StatusAccepted {
		t.Errorf("alice answers: %d %s", status, body)
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

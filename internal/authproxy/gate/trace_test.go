package gate_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	traceParent = "00-" + traceID + "-" + callerSpan + "-01"
	otherTrace  = "0af7651916cd43dd8448eb211c80319c"
)

func traced(w *world) { w.config.Tracing.Mode = gateconfig.TracingSampled }

// spans are those that the gate has written.
func (w *world) spans() (all []gatetest.Span) {
	w.t.Helper()
	for line := range strings.Lines(w.log.String()) {
		if strings.HasPrefix(line, `{"resourceSpans":`) {
			all = append(all, gatetest.Spans(w.t, line)...)
		}
	}
	return all
}

// span waits for the only span.
func (w *world) span() gatetest.Span {
	w.t.Helper()
	gatetest.Eventually(w.t, "a span is written", func() bool { return len(w.spans()) > 0 })
	if all := w.spans(); len(all) > 1 {
		w.t.Fatalf("%d spans", len(all))
	}
	return w.spans()[0]
}

// end ends the gate, so that all that it says is written.
func (w *world) end() {
	w.t.Helper()
	w.killed()
	w.ended <- <-w.ended
}

// TestSpanJoinsTheCallersTrace: the gate's span is a child of the caller's, the server's of the gate's, and it says who called
// what and what became of it, and nothing else.
func TestSpanJoinsTheCallersTrace(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), traced)
	if status, _, body := do(t, w.keyed(w.aliceKey, w.alice), w.post(legacyCall, set("Traceparent", traceParent), set("Tracestate", "vendor=1"))); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	s := w.span()
	if hex.EncodeToString(s.TraceId) != traceID || hex.EncodeToString(s.ParentSpanId) != callerSpan || s.TraceState != "vendor=1" || s.Kind != 2 || s.Status != nil || len(s.Links) > 0 {
		t.Errorf("%v", s.Span)
	}
	if s.Name != "tools/call greet" || s.StartTimeUnixNano == 0 || s.EndTimeUnixNano < s.StartTimeUnixNano {
		t.Errorf("%v", s.Span)
	}
	seen := upstream.seen()[0].header
	if want := "00-" + traceID + "-" + hex.EncodeToString(s.SpanId) + "-01"; seen.Get("Traceparent") != want || seen.Get("Tracestate") != "vendor=1" {
		t.Errorf("the server is told %q, want %q", seen.Get("Traceparent"), want)
	}
	if s.Attributes["client.address"] == "" || s.Attributes["client.port"] == "" {
		t.Errorf("%v", s.Attributes)
	}
	delete(s.Attributes, "client.address")
	delete(s.Attributes, "client.port")
	want := map[string]string{
		"mcp.method.name": "tools/call", "mcp.protocol.version": "2025-11-25", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "greet",
		"jsonrpc.request.id": "1", "network.transport": "tcp", "network.protocol.name": "http", "network.protocol.version": "2",
		"http.response.status_code": "200", "bartizan.decision": "allowed", "bartizan.rule": "friends/0", "bartizan.client": "agents/alice",
	}
	if fmt.Sprint(s.Attributes) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", s.Attributes, want)
	}
	if s.Resource["service.name"] != "pods" || s.Resource["service.namespace"] != "team-a" {
		t.Errorf("%v", s.Resource)
	}
	// Who reads both logs as one still finds the chain whole.
	w.end()
	if v, err := audit.Verify(strings.NewReader(w.audit.String() + w.log.String())); err != nil || v.Messages < 2 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestSpanOfAMessage: the context in a message's _meta goes before that of the request which carries it, as OpenTelemetry's MCP
// conventions have it; the other one is linked.
func TestSpanOfAMessage(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), traced)
	body := strings.Replace(legacyCall, `"params":{`, `"params":{"_meta":{"traceparent":"`+traceParent+`","tracestate":"own=1"},`, 1)
	if status, _, text := do(t, w.keyed(w.aliceKey, w.alice), w.post(body, set("Traceparent", "00-"+otherTrace+"-b7ad6b7169203331-00"))); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	s := w.span()
	if hex.EncodeToString(s.TraceId) != traceID || hex.EncodeToString(s.ParentSpanId) != callerSpan || s.TraceState != "own=1" {
		t.Errorf("%v", s.Span)
	}
	if len(s.Links) != 1 || hex.EncodeToString(s.Links[0].TraceId) != otherTrace || hex.EncodeToString(s.Links[0].SpanId) != "b7ad6b7169203331" {
		t.Errorf("links: %v", s.Links)
	}
	if got := w.audit.last(t).TraceID; got != traceID {
		t.Errorf("the audit log has the trace %s", got)
	}
	if seen := upstream.seen()[0]; seen.body != body || !strings.HasPrefix(seen.header.Get("Traceparent"), "00-"+traceID+"-"+hex.EncodeToString(s.SpanId)) {
		t.Errorf("%+v", seen)
	}
}

// TestSpanOfARefusal: what is denied has a span, too, with our own words for why; a name that only the caller knows is no part
// of the span's.
func TestSpanOfARefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRecorder(t, result).address(), traced)
	if status, _, _ := do(t, w.keyed(w.aliceKey, w.alice), w.post(strings.Replace(legacyCall, "greet", "remove", 1), set("Traceparent", traceParent))); status != http.StatusForbidden {
		t.Fatal(status)
	}
	s := w.span()
	if s.Name != "tools/call" || s.Status.GetCode() != 2 || s.Status.GetMessage() == "" || s.Attributes["gen_ai.tool.name"] != "remove" ||
		s.Attributes["bartizan.decision"] != "denied" || s.Attributes["error.type"] != w.audit.last(t).Reason || s.Attributes["rpc.response.status_code"] != "-31403" {
		t.Errorf("%v %v", s.Span, s.Attributes)
	}
}

// TestNoSpan: without being asked for by the server's owner and by the caller there is none, and the caller's context goes
// through as it came; who is not authenticated has none written at all.
func TestNoSpan(t *testing.T) {
	t.Parallel()
	unsampled := traceParent[:len(traceParent)-2] + "00"
	for name, test := range map[string]struct {
		mode   gateconfig.TracingMode
		parent string
		meta   string
		want   string
	}{
		"not wanted":                     {"", traceParent, "", traceParent},
		"not wanted, in the message":     {"", "", traceParent, ""},
		"not sampled":                    {gateconfig.TracingSampled, unsampled, "", unsampled},
		"not sampled, in the message":    {gateconfig.TracingSampled, traceParent, unsampled, traceParent},
		"no context":                     {gateconfig.TracingSampled, "", "", ""},
		"no context that is well formed": {gateconfig.TracingSampled, traceParent + "-x", `01`, ""},
	} {
		upstream := newRecorder(t, result)
		w := newWorld(t, upstream.address(), func(w *world) { w.config.Tracing.Mode = test.mode })
		body := legacyCall
		if test.meta != "" {
			body = strings.Replace(legacyCall, `"params":{`, `"params":{"_meta":{"traceparent":"`+test.meta+`"},`, 1)
		}
		change := func(r *http.Request) {
			if test.parent != "" {
				r.Header.Set("Traceparent", test.parent)
			}
		}
		if status, _, text := do(t, w.keyed(w.aliceKey, w.alice), w.post(body, change)); status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, status, text)
		}
		if got := upstream.seen()[0].header.Get("Traceparent"); got != test.want {
			t.Errorf("%s: the server is told %q, want %q", name, got, test.want)
		}
		if status, _, _ := do(t, w.keyed("x", w.alice), w.post(legacyCall, set("Traceparent", traceParent))); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
		w.end()
		if all := w.spans(); len(all) != 0 {
			t.Errorf("%s: %v", name, all)
		}
	}
}

// TestSpansTellNoSecret: neither arguments nor answers, credentials, session ids or URIs of resources are in what is said.
func TestSpansTellNoSecret(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Mcp-Session-Id", "canary-session")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"canary-answer","version":"1"},"content":[],"contents":[]}}`)
	})
	w := newWorld(t, upstream.address(), traced, func(w *world) { w.config.Policy.Rules[0].Resources = []string{"file:///**"} })
	client := w.keyed(w.aliceKey, w.alice)
	begin := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"canary-client","version":"1"}}}`
	_, header, _ := do(t, client, w.post(begin, set("Traceparent", traceParent)))
	session := header.Get("Mcp-Session-Id")
	if session == "" {
		t.Fatal("no session")
	}
	for _, body := range []string{
		strings.Replace(legacyCall, `"x"`, `"canary-argument"`, 1),
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///canary-uri"}}`,
	} {
		if status, _, text := do(t, client, w.post(body, set("Traceparent", traceParent), set("Mcp-Session-Id", session))); status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
	}
	w.end()
	if n := len(w.spans()); n != 3 {
		t.Fatalf("%d spans", n)
	}
	for _, secret := range []string{"canary", w.aliceKey, session} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the gate says %q", secret)
		}
	}
}

// blocked is a sink that takes nothing until it is released.
type blocked chan struct{}

func (b blocked) Write(p []byte) (int, error) {
	<-b
	return len(p), nil
}

// TestNobodyTakesWhatTheGateSays: with a standard error that takes nothing every request is answered, and a revocation comes into
// force.
func TestNobodyTakesWhatTheGateSays(t *testing.T) {
	t.Parallel()
	sink := make(blocked)
	w := newWorld(t, newRecorder(t, result).address(), traced, func(w *world) {
		w.options.Log = sink
		_, _ = w.log.Write([]byte("-"))
	})
	t.Cleanup(func() { close(sink) })
	client := w.keyed(w.aliceKey, w.alice)
	gatetest.Eventually(t, "the gate serves", func() bool {
		status, _, _ := do(t, client, w.post(legacyCall))
		return status == http.StatusOK
	})
	for range 1500 {
		if status, _, text := do(t, client, w.post(legacyCall, set("Traceparent", traceParent))); status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
	}
	w.config.Policy.Rules = nil
	w.write()
	gatetest.Eventually(t, "the revocation is in force", func() bool {
		status, _, _ := do(t, client, w.post(legacyCall, set("Traceparent", traceParent)))
		return status == http.StatusForbidden
	})
	if dropped := w.metric(t, `bartizan_gate_spans_total{result="dropped"}`); dropped == "" || dropped == "0" {
		t.Error("no span is counted as dropped")
	}
}

package trace_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/trace"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]bool{
		parent: true, "00-" + traceID + "-" + spanID + "-00": true, "00-" + traceID + "-" + spanID + "-ff": true,
		"": false, parent + "-01": false, parent[:54]: false, strings.ToUpper(parent): false, "01" + parent[2:]: false, "ff" + parent[2:]: false,
		"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01": false, "00-" + traceID + "-0000000000000000-01": false,
		"00-" + traceID + "-" + spanID + "-0g": false, "00_" + parent[3:]: false, "00-" + traceID + "_" + spanID + "-01": false,
		"00-" + traceID + "-" + spanID + "_01": false, "00-" + traceID[:31] + "\n-" + spanID + "-01": false,
	} {
		c, ok := trace.Parse(text, "a=b")
		if ok != want || (c != trace.Context{}) != want {
			t.Errorf("%q: %+v, %t", text, c, ok)
		}
		if ok && (c.Parent() != text || c.State != "a=b" || c.Sampled() != (text[54]&1 == 1 || text[54] == 'f')) {
			t.Errorf("%q: %+v is %s", text, c, c.Parent())
		}
	}
	for state, want := range map[string]string{"a=b": "a=b", "a=\x00": "", "a=é": "", strings.Repeat("a", 512): strings.Repeat("a", 512), strings.Repeat("a", 513): ""} {
		if c, ok := trace.Parse(parent, state); !ok || c.State != want {
			t.Errorf("%q: %q, %t", state, c.State, ok)
		}
	}
	if c, ok := trace.FromHeader(http.Header{"Traceparent": {parent}, "Tracestate": {"a=b", "c=d"}}); !ok || c.State != "a=b,c=d" {
		t.Errorf("%+v, %t", c, ok)
	}
	if _, ok := trace.FromHeader(http.Header{"Traceparent": {parent, parent}}); ok {
		t.Error("two parents")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(parent, "a=b")
	f.Fuzz(func(t *testing.T, text, state string) {
		c, ok := trace.Parse(text, state)
		if !ok {
			return
		}
		again, ok := trace.Parse(c.Parent(), c.State)
		if c.Parent() != text || !ok || again != c {
			t.Fatalf("%q is passed on as %q", text, c.Parent())
		}
		if child := c.Child(); child.TraceID != c.TraceID || child.SpanID == c.SpanID || child.Sampled() != c.Sampled() {
			t.Fatalf("the child of %+v is %+v", c, child)
		}
	})
}

// output is a sink that can be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func span(name string, attributes ...trace.Attribute) *trace.Span {
	c, _ := trace.Parse(parent, "vendor=1")
	start := time.Unix(1_900_000_000, 123)
	return &trace.Span{Place: c.Child(), Parent: c, Name: name, Start: start, End: start.Add(time.Millisecond), Attributes: attributes}
}

// TestLines: every line is one that OTLP's own decoder reads, whatever is in the spans, in printable ASCII and no longer than
// container runtimes keep whole.
func TestLines(t *testing.T) {
	var out output
	e := trace.NewExporter(trace.Options{Sink: &out, Namespace: "team-a", Server: "pods", Instance: "boot", Version: "v1"})
	hostile := strings.Repeat("\x1b]0;é\u2028\n\"<>\U0001F600\xff", 100)
	const n = 100
	for i := range n {
		s := span(fmt.Sprintf("tools/call %d %s", i, hostile), trace.String("a", hostile), trace.String("b", hostile), trace.String("empty", ""), trace.Int("n", -1<<63))
		s.Failed, s.Error, s.Link = true, hostile, s.Parent
		e.Send(s)
	}
	e.Close()
	if e.Written() != n || e.Dropped() != 0 {
		t.Errorf("%d written, %d dropped", e.Written(), e.Dropped())
	}
	spans := 0
	for line := range strings.Lines(out.String()) {
		if len(line) > trace.MaxLine {
			t.Errorf("a line has %d bytes", len(line))
		}
		for _, c := range []byte(strings.TrimSuffix(line, "\n")) {
			if c < ' ' || c > '~' {
				t.Fatalf("a line has the byte %#x", c)
			}
		}
		for _, decoded := range gatetest.Spans(t, line) {
			s := decoded.Span
			if hex.EncodeToString(s.TraceId) != traceID || hex.EncodeToString(s.ParentSpanId) != spanID || len(s.SpanId) != 8 || hex.EncodeToString(s.SpanId) == spanID {
				t.Fatalf("ids: %v", s)
			}
			if !strings.HasPrefix(s.Name, fmt.Sprintf("tools/call %d \x1b", spans)) || len(s.Name) > 256 || s.TraceState != "vendor=1" || s.Kind != 2 || s.Flags != 0x301 {
				t.Fatalf("%v", s)
			}
			if s.EndTimeUnixNano-s.StartTimeUnixNano != 1_000_000 || s.StartTimeUnixNano != 1_900_000_000_000_000_123 || s.Status.Code != 2 || len(s.Links) != 1 {
				t.Fatalf("%v", s)
			}
			if got := decoded.Attributes["n"]; got != "-9223372036854775808" {
				t.Fatalf("n is %q", got)
			}
			if decoded.Resource["service.name"] != "pods" || decoded.Resource["service.namespace"] != "team-a" || decoded.Resource["service.instance.id"] != "boot" {
				t.Fatalf("%v", decoded.Resource)
			}
			spans++
		}
	}
	if spans != n {
		t.Errorf("%d spans", spans)
	}
}

// TestSoon: a span is written though no other follows.
func TestSoon(t *testing.T) {
	var out output
	e := trace.NewExporter(trace.Options{Sink: &out})
	t.Cleanup(e.Close)
	for range 2 {
		before := e.Written()
		e.Send(span("ping"))
		gatetest.Eventually(t, "the span is written", func() bool { return e.Written() == before+1 && strings.HasSuffix(out.String(), "\n") })
	}
}

// stalled is a sink that takes nothing until it is released.
type stalled chan struct{}

func (s stalled) Write(p []byte) (int, error) {
	<-s
	return 0, errors.New("gone")
}

// TestStalled: whoever sends spans to a sink that takes nothing never waits, and what is lost is counted.
func TestStalled(t *testing.T) {
	sink := make(stalled)
	e := trace.NewExporter(trace.Options{Sink: sink})
	const n = 2000
	for range n {
		e.Send(span("ping"))
	}
	if e.Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	e.Close()
	close(sink)
	gatetest.Eventually(t, "all spans are accounted for", func() bool { return e.Dropped() == n && e.Written() == 0 })
}

// TestNothing: an exporter without a span writes nothing.
func TestNothing(t *testing.T) {
	var out output
	e := trace.NewExporter(trace.Options{Sink: &out})
	e.Close()
	if out.String() != "" {
		t.Errorf("%q", out.String())
	}
}

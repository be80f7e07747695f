package gate

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/status"
	"github.com/bartizan-dev/bartizan/internal/authproxy/trace"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// maxSpanID bounds the id of a request in a span, in bytes.
const maxSpanID = 64

// joinTrace finds the caller's trace context, which a message has of its own or else the request that carries it, and begins
// a span below it where the server's owner wants spans and the caller keeps the trace. It is called once the caller is known and
// within its rate: nobody else fills what spans are written to.
func (x *exchange) joinTrace() {
	if x.message != nil && len(x.message.TraceParent) > 0 {
		if own, ok := trace.Parse(message.Text(x.message.TraceParent), message.Text(x.message.TraceState)); ok {
			if x.caller.TraceID != "" && x.caller.Parent() != own.Parent() {
				x.carrier = x.caller
			}
			x.caller = own
			x.record.TraceID = own.TraceID
		}
	}
	if x.config.Tracing.Mode == gateconfig.TracingSampled && x.caller.Sampled() {
		x.span = &trace.Span{Place: x.caller.Child(), Parent: x.caller, Link: x.carrier, Start: x.record.Time}
	}
}

// traceContext is what the server is told: the gate's own span, or without one what came in the headers.
func (x *exchange) traceContext() (parent, state string) {
	switch {
	case x.span != nil:
		return x.span.Place.Parent(), x.span.Place.State
	case x.carrier.TraceID != "":
		return x.carrier.Parent(), x.carrier.State
	case x.inHeader:
		return x.caller.Parent(), x.caller.State
	}
	return "", ""
}

// endSpan has the span written. It says no more than the audit log does, and nothing of arguments, of what was answered, or of
// credentials.
func (x *exchange) endSpan(end time.Time) {
	s := x.span
	if s == nil {
		return
	}
	s.End = end
	r := &x.record
	add := func(key, value string) {
		if value != "" {
			s.Attributes = append(s.Attributes, trace.String(key, value))
		}
	}
	s.Name = r.Verb
	if r.Method != "" {
		s.Name = "_OTHER"
		if message.Known(r.Method) {
			s.Name = r.Method
		}
		add("mcp.method.name", s.Name)
	}
	add("mcp.protocol.version", status.BoundedRevision(x.revision()))
	if m := x.message; m != nil && len(m.Targets) == 1 {
		switch target := m.Targets[0]; {
		case target.Kind == message.Tool:
			add("gen_ai.operation.name", "execute_tool")
			add("gen_ai.tool.name", target.Name)
			x.nameSpan(target.Name)
		case target.Kind == message.Prompt && r.Method == "prompts/get":
			add("gen_ai.prompt.name", target.Name)
			x.nameSpan(target.Name)
		}
	}
	if id := x.id; x.message != nil && x.message.Kind == message.Request && len(id) <= maxSpanID {
		if name := message.Text(id); name != "" {
			add("jsonrpc.request.id", name)
		} else {
			add("jsonrpc.request.id", string(id))
		}
	}
	if host, port, err := net.SplitHostPort(r.Source); err == nil {
		add("client.address", host)
		if n, err := strconv.ParseInt(port, 10, 64); err == nil {
			s.Attributes = append(s.Attributes, trace.Int("client.port", n))
		}
	}
	add("network.transport", "tcp")
	add("network.protocol.name", "http")
	add("network.protocol.version", strings.TrimSuffix(strings.TrimPrefix(x.r.Proto, "HTTP/"), ".0"))
	if r.Status != 0 {
		s.Attributes = append(s.Attributes, trace.Int("http.response.status_code", int64(r.Status)))
	}
	add("bartizan.decision", string(r.Decision))
	add("bartizan.rule", r.Rule)
	add("bartizan.client", r.Client)
	add("bartizan.issuer", r.Issuer)
	if r.Reason != "" {
		s.Failed = true
		add("error.type", r.Reason)
		if x.refusal != nil {
			s.Error = x.refusal.Message
			add("rpc.response.status_code", strconv.Itoa(x.refusal.Code))
		}
	}
	x.gate.spans.Send(s)
}

// nameSpan adds the target to the span's name where the policy names it: other names are the caller's own.
func (x *exchange) nameSpan(target string) {
	if x.record.Decision == audit.Allowed || x.record.Decision == audit.Failed {
		x.span.Name += " " + target
	}
}

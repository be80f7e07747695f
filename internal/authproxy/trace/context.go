// Package trace joins the gate's spans to the traces of its callers: it reads their trace context (W3C Trace Context), and
// writes spans as lines of OTLP in JSON (the OTLP File Exporter's format) for somebody else to collect. It dials nobody.
package trace

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

const (
	// maxState bounds a tracestate, in bytes (W3C Trace Context, section 3.3.1.5).
	maxState = 512
	// parentLength is the length of a traceparent of version 00.
	parentLength = 55
	sampled      = 0x01
)

// Context is a place in a trace: the caller's span, of which what is done for it is a child. The zero Context is none.
type Context struct {
	// TraceID and SpanID are in hexadecimal.
	TraceID, SpanID string
	// State is the tracestate, passed on as it came.
	State string
	flags byte
}

// Parse reads version 00 of a traceparent (W3C Trace Context, section 3.2) with its tracestate. A tracestate that is too
// long or has other than printable ASCII is left behind.
func Parse(parent, state string) (Context, bool) {
	if len(parent) != parentLength || parent[:3] != "00-" || parent[35] != '-' || parent[52] != '-' {
		return Context{}, false
	}
	c := Context{TraceID: parent[3:35], SpanID: parent[36:52]}
	if !isID(c.TraceID) || !isID(c.SpanID) || !isHex(parent[53:]) {
		return Context{}, false
	}
	var flags [1]byte
	_, _ = hex.Decode(flags[:], []byte(parent[53:]))
	c.flags = flags[0]
	if len(state) <= maxState && printable(state) {
		c.State = state
	}
	return c, true
}

// FromHeader is the context in the headers of a request.
func FromHeader(h http.Header) (Context, bool) {
	parents := h["Traceparent"]
	if len(parents) != 1 {
		return Context{}, false
	}
	return Parse(parents[0], strings.Join(h["Tracestate"], ","))
}

// Sampled says whether the caller keeps the trace.
func (c Context) Sampled() bool { return c.flags&sampled != 0 }

// Parent is the context as a traceparent; empty for none.
func (c Context) Parent() string {
	if c.TraceID == "" {
		return ""
	}
	return "00-" + c.TraceID + "-" + c.SpanID + "-" + hex.EncodeToString([]byte{c.flags})
}

// Child is the place of a new span below the context.
func (c Context) Child() Context {
	var id [8]byte
	for id == [8]byte{} {
		_, _ = rand.Read(id[:])
	}
	c.SpanID = hex.EncodeToString(id[:])
	return c
}

// isID says whether s is hexadecimal in lower case, and not all zeros.
func isID(s string) bool { return isHex(s) && strings.Trim(s, "0") != "" }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

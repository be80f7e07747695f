package gate

import (
	"net/http"
	"regexp"
	"strings"
)

// maxTraceState bounds a tracestate, in bytes (W3C Trace Context, section 3.3.1.5).
const maxTraceState = 512

// traceParent is version 00 of the header (W3C Trace Context, section 3.2).
var traceParent = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$`)

// traceContext returns the caller's trace context as it is passed on; empty unless it is well formed.
func traceContext(h http.Header) (parent, state string) {
	if traceID(h) == "" {
		return "", ""
	}
	state = strings.Join(h["Tracestate"], ",")
	for i := range len(state) {
		if state[i] < ' ' || state[i] > '~' {
			return h.Get("Traceparent"), ""
		}
	}
	if len(state) > maxTraceState {
		state = ""
	}
	return h.Get("Traceparent"), state
}

// traceID returns the id of the caller's trace; empty without one.
func traceID(h http.Header) string {
	if len(h["Traceparent"]) != 1 {
		return ""
	}
	parts := traceParent.FindStringSubmatch(h.Get("Traceparent"))
	if parts == nil || strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return ""
	}
	return parts[1]
}

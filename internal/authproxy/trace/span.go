package trace

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// The numbers of OTLP's enumerations, and of the flags of a span and its links.
const (
	kindServer  = 2
	statusError = 2
	// remote says that the parent is known to be another process's: OTLP's CONTEXT_HAS_IS_REMOTE and CONTEXT_IS_REMOTE.
	remote = 0x300
)

// maxValue bounds a string of an attribute, and the name of a span, in bytes.
const maxValue = 256

// Span is one request, as the gate saw it.
type Span struct {
	// Place is the span's own, Parent the caller's; Link is the context of the request that carried the message, where that
	// is another one.
	Place, Parent, Link Context
	Name                string
	Start, End          time.Time
	Attributes          []Attribute
	// Error is the text of the error that the request ended with; empty without one. Failed says that there was one.
	Failed bool
	Error  string
}

// Attribute is one of a span's, with a string or an integer.
type Attribute struct {
	Key  string
	text string
	n    int64
	is   kind
}

type kind uint8

const (
	text kind = iota
	number
)

// String is an attribute with a string, cut where it is too long.
func String(key, value string) Attribute { return Attribute{Key: key, text: cut(value)} }

// Int is an attribute with an integer.
func Int(key string, value int64) Attribute { return Attribute{Key: key, n: value, is: number} }

// MarshalJSON is the attribute as OTLP's KeyValue.
func (a Attribute) MarshalJSON() ([]byte, error) {
	type value struct {
		String *string `json:"stringValue,omitempty"`
		Int    string  `json:"intValue,omitempty"`
	}
	v := value{String: &a.text}
	if a.is == number {
		v = value{Int: strconv.FormatInt(a.n, 10)}
	}
	return json.Marshal(struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}{a.Key, v})
}

type link struct {
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
	State   string `json:"traceState,omitempty"`
	Flags   uint32 `json:"flags"`
}

type status struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
}

// encode is the span in OTLP's JSON, of printable ASCII alone: what a caller sent can neither break a line nor steer a
// terminal.
func (s *Span) encode() ([]byte, error) {
	out := struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		State      string      `json:"traceState,omitempty"`
		Parent     string      `json:"parentSpanId"`
		Flags      uint32      `json:"flags"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []Attribute `json:"attributes"`
		Links      []link      `json:"links,omitempty"`
		Status     *status     `json:"status,omitempty"`
	}{
		TraceID: s.Place.TraceID, SpanID: s.Place.SpanID, State: s.Place.State, Parent: s.Parent.SpanID,
		Flags: remote | uint32(s.Place.flags), Name: cut(s.Name), Kind: kindServer,
		Start: strconv.FormatInt(s.Start.UnixNano(), 10), End: strconv.FormatInt(s.End.UnixNano(), 10), Attributes: s.Attributes,
	}
	if s.Link.TraceID != "" {
		out.Links = []link{{s.Link.TraceID, s.Link.SpanID, s.Link.State, remote | uint32(s.Link.flags)}}
	}
	if s.Failed {
		out.Status = &status{Code: statusError, Message: cut(s.Error)}
	}
	line, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return audit.AppendASCII(nil, string(line)), nil
}

// cut bounds a text that somebody else chose; what is longer ends in "…".
func cut(s string) string {
	const more = "…"
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxValue {
		return s
	}
	end := maxValue - len(more)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

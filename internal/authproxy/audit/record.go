// Package audit writes one JSON line for each request, allowed or not, before the request is answered.
package audit

import (
	"encoding/json"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds on what a caller chooses, in bytes; longer values are cut and end in "…".
const (
	maxMethod = 128
	maxName   = 256
	maxTarget = 8
)

// Decision is what became of a request.
type Decision string

// The decisions.
const (
	// Allowed: the policy allowed it and it was sent to the server.
	Allowed Decision = "allowed"
	// Denied: the policy did not allow it.
	Denied Decision = "denied"
	// Unauthenticated: no credential, or one that is not accepted.
	Unauthenticated Decision = "unauthenticated"
	// Refused: the request was not one that the gate passes on, whoever made it.
	Refused Decision = "refused"
	// Failed: the policy allowed it, but the server gave no answer that the gate passes on.
	Failed Decision = "failed"
)

// Record is one line of the audit log. It holds no argument, no credential and no answer.
type Record struct {
	// Time is when the request arrived, in UTC.
	Time time.Time `json:"time"`
	// Server is the MCPServer, as "<namespace>/<name>".
	Server string `json:"server"`
	// Boot is the random id of the gate's process, and Generation the configuration in force; empty without one.
	Boot       string `json:"boot"`
	Generation string `json:"generation"`
	// Source is the address that the connection came from.
	Source string `json:"source"`
	// Client is the MCPClient, as "<namespace>/<name>"; empty when unauthenticated or when a token stands alone.
	Client string `json:"client,omitempty"`
	// Issuer and Subject are the holder of the token: the name of its issuer in the MCPServer, and the token's "sub".
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// KeyID and CertificateSerial say how the client was authenticated.
	KeyID             string `json:"keyID,omitempty"`
	CertificateSerial string `json:"certificateSerial,omitempty"`
	// Verb is the HTTP method.
	Verb string `json:"verb"`
	// Method is the JSON-RPC method, as far as the message could be read.
	Method string `json:"method,omitempty"`
	// Targets are what the message asks for.
	Targets []Target `json:"targets,omitempty"`
	// Decision is what became of the request; Rule the rule of the policy that allowed it, Reason a fixed word for why
	// it was not.
	Decision Decision `json:"decision"`
	Rule     string   `json:"rule,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	// Status is the HTTP status of the answer.
	Status int `json:"status"`
	// RequestBytes is the length of the request's body, AnswerBytes of the answer's; AnswerBytes is absent where the
	// answer is streamed, since the line is written before it.
	RequestBytes int64  `json:"requestBytes"`
	AnswerBytes  *int64 `json:"answerBytes,omitempty"`
	// DurationMicroseconds is the time until the answer begins.
	DurationMicroseconds int64 `json:"durationMicroseconds"`
	// TraceID is the W3C trace id that the caller sent.
	TraceID string `json:"traceID,omitempty"`
}

// Target is one thing that a message asks for.
type Target struct {
	// Kind is tool, prompt, resource or template.
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// line returns the record as one line of ASCII: what a caller sent can neither break a line nor steer a terminal.
func (r Record) line() ([]byte, error) {
	r.Time = r.Time.UTC()
	r.Verb = cut(r.Verb, maxMethod)
	r.Method = cut(r.Method, maxMethod)
	targets := r.Targets
	r.Targets = nil
	for _, target := range targets[:min(len(targets), maxTarget)] {
		r.Targets = append(r.Targets, Target{Kind: target.Kind, Name: cut(target.Name, maxName)})
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append(ascii(text), '\n'), nil
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// ascii escapes what is not printable ASCII. In JSON such bytes are in strings only.
func ascii(text []byte) []byte {
	const digits = "0123456789abcdef"
	var out []byte
	escape := func(r rune) {
		out = append(out, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	}
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf && c != 0x7f {
			if out != nil {
				out = append(out, c)
			}
			i++
			continue
		}
		if out == nil {
			out = append(make([]byte, 0, len(text)+16), text[:i]...)
		}
		r, size := utf8.DecodeRune(text[i:])
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			escape(high)
			escape(low)
		} else {
			escape(r)
		}
		i += size
	}
	if out == nil {
		return text
	}
	return out
}

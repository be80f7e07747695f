// Package audit writes one JSON line for each request, allowed or not, before the request is answered. The lines of a boot
// of the gate are a chain: each one names the hash of the one before it. docs/audit.md says what each member means.
package audit

import (
	"encoding/json"
	"time"
)

// Kind is the kind of a line.
type Kind string

// The kinds of lines.
const (
	// KindRequest is one request.
	KindRequest Kind = "request"
	// KindRepeated stands for requests that were refused, or of nobody in particular, and are equal to one that has a line of its own.
	KindRepeated Kind = "repeated"
	// KindServerRequest is one request of the server to the client, which the line names as for its requests.
	KindServerRequest Kind = "server-request"
	// KindBoot is the first line of a boot of the gate.
	KindBoot Kind = "boot"
	// KindGap says that lines could not be written. Their requests were not answered.
	KindGap Kind = "gap"
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

// Record is what one line of the audit log says. It holds no credential and no answer.
type Record struct {
	Kind Kind `json:"kind"`
	// Time is when the request arrived, in UTC; of a KindRepeated line, the first one that it stands for.
	Time time.Time `json:"time"`
	// Server is the MCPServer, as "<namespace>/<name>".
	Server string `json:"server"`
	// Boot is the random id of the gate's process, and Generation the configuration in force; empty without one.
	Boot       string `json:"boot"`
	Generation string `json:"generation,omitempty"`
	// Source is the address that the connection came from; of a KindRepeated line without the port.
	Source string `json:"source,omitempty"`
	// Client is the MCPClient, as "<namespace>/<name>"; empty when unauthenticated or when a token stands alone.
	Client string `json:"client,omitempty"`
	// Issuer and Subject are the holder of the token: the name of its issuer in the MCPServer, and the token's "sub".
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// KeyID and CertificateSerial say how the client was authenticated.
	KeyID             string `json:"keyID,omitempty"`
	CertificateSerial string `json:"certificateSerial,omitempty"`
	// Verb is the HTTP method.
	Verb string `json:"verb,omitempty"`
	// Method is the JSON-RPC method, as far as the message could be read.
	Method string `json:"method,omitempty"`
	// Targets are what the message asks for.
	Targets []Target `json:"targets,omitempty"`
	// Arguments are the arguments of the call, redacted; ArgumentsCut their beginning where they are too long for a line;
	// ArgumentsHash their keyed hash. At most one of them is there, as spec.audit.arguments says.
	Arguments     json.RawMessage `json:"arguments,omitempty"`
	ArgumentsCut  string          `json:"argumentsCut,omitempty"`
	ArgumentsHash string          `json:"argumentsHash,omitempty"`
	// Decision is what became of the request; Rule the rule of the policy that allowed it, Reason a fixed word for why
	// it was not.
	Decision Decision `json:"decision,omitempty"`
	Rule     string   `json:"rule,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	// Status is the HTTP status of the answer.
	Status int `json:"status,omitempty"`
	// RequestBytes is the length of the request's body, AnswerBytes of the answer's; AnswerBytes is absent where the
	// answer is streamed, since the line is written before it.
	RequestBytes int64  `json:"requestBytes"`
	AnswerBytes  *int64 `json:"answerBytes,omitempty"`
	// DurationMicroseconds is the time until the answer begins.
	DurationMicroseconds int64 `json:"durationMicroseconds"`
	// TraceID is the W3C trace id that the caller sent.
	TraceID string `json:"traceID,omitempty"`
	// Count is how many requests a KindRepeated line stands for, Until when the last of them arrived; Lost is how many
	// lines a KindGap could not be written.
	Count uint64    `json:"count,omitempty"`
	Until time.Time `json:"until,omitzero"`
	Lost  uint64    `json:"lost,omitempty"`
	// Known are the last lines of earlier boots that were known elsewhere when a KindBoot line was written.
	Known []Head `json:"known,omitempty"`
	// Seq is the line's place in its boot, from 0; Prev is the hex SHA-256 of the line before it, of all its bytes but the
	// line feed, and zeros in the first.
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
}

// Target is one thing that a message asks for.
type Target struct {
	// Kind is tool, prompt, resource, template, or host for where the server sends the user.
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Head names a line: the boot, its place, and the hex SHA-256 of all its bytes but the line feed.
type Head struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

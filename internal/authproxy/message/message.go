// Package message reads one HTTP body as one JSON-RPC message in one strict pass, and says what a decision about it is
// about. What it accepts, every JSON parser reads alike; so what was judged is what the server will obey.
package message

import "github.com/bartizan-dev/bartizan/internal/gateconfig"

// Kind is the kind of a JSON-RPC message. The zero Kind is no message.
type Kind uint8

// The kinds of messages.
const (
	Request Kind = iota + 1
	Notification
	// Response is a legacy client's answer to a request of the server.
	Response
)

// TargetKind says what a target's name names.
type TargetKind uint8

// The kinds of targets.
const (
	NoTarget TargetKind = iota
	Tool
	Prompt
	// Resource is named by its URI.
	Resource
	// Template is a resource template, named by its URI template (RFC 6570).
	Template
)

// Target is one thing that a message asks for.
type Target struct {
	Kind TargetKind
	Name string
}

// Message is one JSON-RPC message that passed Read. Its byte slices are parts of Body.
type Message struct {
	Kind Kind
	// ID is the raw JSON token of the id, a string or an integer; nil for a notification.
	ID []byte
	// Method is the method; empty for a Response.
	Method string
	// Targets are what the decision is about; every one of them must be allowed. Empty for a method without targets.
	Targets []Target
	// Revision is the revision of a modern message: what the body's _meta names, or for a notification without that what
	// CheckHeaders found. Empty in a legacy message.
	Revision gateconfig.Revision
	// Asked is the revision that a legacy initialize asks for in params.protocolVersion; else empty.
	Asked gateconfig.Revision
	// Cancels is the raw JSON token of the request id that a notifications/cancelled names; else nil.
	Cancels []byte
	// Arguments is the raw JSON object of the arguments of a tools/call or prompts/get; nil when there are none.
	Arguments []byte
	// TraceParent and TraceState are the raw JSON values of the message's own trace context, in its _meta; nil without.
	TraceParent, TraceState []byte
	// AsksTask says that a legacy tools/call wants a task for its answer.
	AsksTask bool
	// Brings says that the message brings what the server asked its client for: inputResponses.
	Brings bool
	// Named is the value that the header Mcp-Name repeats towards the server where Replace changed it; else empty.
	Named string
	// Handles are what the message brings back of what the server gave; see Replace.
	Handles []Handle
	// Body is exactly what was read and judged, and what is forwarded.
	Body []byte
}

// Modern says whether the message belongs to the stateless era (2026-07-28 and later).
func (m *Message) Modern() bool { return m.Revision != "" }

// name is what the header Mcp-Name repeats, if the method has it.
func (m *Message) name() (string, bool) {
	switch m.Method {
	case "tools/call", "prompts/get", "resources/read":
		return m.Targets[0].Name, true
	case "tasks/get", "tasks/update", "tasks/cancel":
		if len(m.Handles) == 1 {
			return m.Handles[0].Value, true
		}
	}
	return "", false
}

// Name is the header Mcp-Name for a server's own name of what the message is about.
func Name(value string) []string { return []string{encode(value)} }

// Package result is what mcpclient prints: what became of an attempt to use an MCP server.
package result

import "time"

// Outcome is what became of an attempt, as a word.
type Outcome string

// The outcomes.
const (
	OK Outcome = "ok"
	// Failed is everything that has no word of its own.
	Failed Outcome = "failed"
	// Usage is a mistake in the command line.
	Usage Outcome = "usage"
	// NoConnection: no TCP connection within the time.
	NoConnection Outcome = "no-connection"
	// TLSRefused: the handshake failed, on either side.
	TLSRefused Outcome = "tls-refused"
	// Unauthorized is an HTTP 401.
	Unauthorized Outcome = "unauthorized"
	// Forbidden is an HTTP 403.
	Forbidden Outcome = "forbidden"
	// Throttled is an HTTP 429: too many failed attempts from here, or too many calls.
	Throttled Outcome = "throttled"
	// ToolError: the tool was called and answered with an error.
	ToolError Outcome = "tool-error"
)

var exitCodes = map[Outcome]int{
	OK: 0, Failed: 1, Usage: 2, NoConnection: 3, TLSRefused: 4, Unauthorized: 5, Forbidden: 6, ToolError: 7, Throttled: 8,
}

// ExitCode is the exit code of mcpclient for an outcome.
func (o Outcome) ExitCode() int { return exitCodes[o] }

// Result is what became of an attempt.
type Result struct {
	Outcome Outcome `json:"outcome"`
	// Status is the HTTP status of the answer that decided; 0 without one.
	Status int `json:"status,omitempty"`
	// Message is the error, in the server's words where it answered.
	Message string `json:"message,omitempty"`
	// Text is the text content of a tool's answer.
	Text string `json:"text,omitempty"`
	// Tools are the listed tools.
	Tools []string `json:"tools,omitempty"`
	// Protocol is the negotiated revision of MCP.
	Protocol string `json:"protocol,omitempty"`
	// Load is the account of a load.
	Load *Load `json:"load,omitempty"`
	// Keys are what became of an attempt with each key, by its id.
	Keys map[string]Outcome `json:"keys,omitempty"`
	// Users are the accounts of clients, by their name.
	Users map[string]*Load `json:"users,omitempty"`
}

// Change is a line of what is watched: from now on it ends like this.
type Change struct {
	// What is Kept or Fresh, for calls on one connection and on a new one each time; or Session, Subscription or Call, for
	// streams that are open.
	What string `json:"what"`
	Result
}

// What is watched.
const (
	Kept         = "kept"
	Fresh        = "fresh"
	Session      = "session"
	Subscription = "subscription"
	Call         = "call"
)

// Load is the account of many calls.
type Load struct {
	Calls    int `json:"calls"`
	Failures int `json:"failures"`
	// Examples are the first failures.
	Examples []Example `json:"examples,omitempty"`
	// Connections is how many TCP connections were opened.
	Connections int64 `json:"connections"`
	// Serial is the serving certificate's serial number in hex, as last seen.
	Serial string `json:"serial,omitempty"`
	// Answers are the different texts that the tool answered, with how often; the first few.
	Answers map[string]int `json:"answers,omitempty"`
	// Median and Slowest are durations of calls in milliseconds.
	Median  int64 `json:"medianMs"`
	Slowest int64 `json:"slowestMs"`
	// KeyIDs are the ids of the keys that were sent, in the order of their first use; Succeeded is when each was last
	// accepted.
	KeyIDs    []string             `json:"keyIDs,omitempty"`
	Succeeded map[string]time.Time `json:"succeeded,omitempty"`
}

// Example is one failed call.
type Example struct {
	// After is when it failed, since the beginning.
	After string `json:"after"`
	Result
}

package message

// Error is a refusal: what the caller is told, from a closed list that never repeats the caller's input, and why, for
// the audit log.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is the JSON-RPC code.
	Code int
	// Message is a fixed text that says what to do.
	Message string
	// Data is data that the specification defines for Code; nil when there is none.
	Data any
	// Reason is a short fixed word for the audit log and metrics.
	Reason string
}

// Error is Message.
func (e *Error) Error() string { return e.Message }

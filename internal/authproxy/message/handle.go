package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/go-json-experiment/json/jsontext"
)

// HandleKind is a kind of handle.
type HandleKind uint8

// The kinds of handles that a client brings back.
const (
	// State is the state of a request that wanted input, requestState.
	State HandleKind = iota + 1
	// Task is the id of a task.
	Task
)

// Handle is something in the message that the server gave the client to bring back.
type Handle struct {
	Kind HandleKind
	// Value is the string, unescaped.
	Value string

	// Related says that the task is not what the message asks for, but what it is about.
	Related bool

	at, length int
}

// maxHandle bounds the raw token of a handle, in bytes.
const maxHandle = 128 << 10

// handle reads a raw value at an offset of the body.
func handle(kind HandleKind, raw []byte, at int) (Handle, bool) {
	value, ok := text(raw)
	return Handle{Kind: kind, Value: value, at: at, length: len(raw)}, ok && value != "" && len(raw) <= maxHandle
}

// Replace puts the server's own values in the place of the Handles, in their order: only those tokens of the Body change, and
// with it no other part of the message that lies in it. The values are strings without anything that JSON escapes, but for quotes
// and what Go's encoder would.
func (m *Message) Replace(values []string) {
	var b bytes.Buffer
	last := 0
	for i, h := range m.Handles {
		b.Write(m.Body[last:h.at])
		quoted, err := jsontext.AppendQuote(b.AvailableBuffer(), values[i])
		if err != nil {
			// It came out of JSON, so it is UTF-8.
			panic("message: a handle is no text")
		}
		b.Write(quoted)
		last = h.at + h.length
	}
	b.Write(m.Body[last:])
	m.Body = b.Bytes()
	if m.Method == "tasks/get" || m.Method == "tasks/result" || m.Method == "tasks/update" || m.Method == "tasks/cancel" {
		m.Named = values[0]
	}
}

// Digest is the same for two requests that ask for the same: the method, the name or URI, and the arguments whatever their order
// and white space are.
func (m *Message) Digest() [sha256.Size]byte {
	h := sha256.New()
	part := func(b []byte) {
		_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		_, _ = h.Write(b)
	}
	part([]byte(m.Method))
	for _, target := range m.Targets {
		part([]byte{byte(target.Kind)})
		part([]byte(target.Name))
	}
	arguments := jsontext.Value(bytes.Clone(m.Arguments))
	if len(arguments) == 0 {
		arguments = jsontext.Value("{}")
	}
	// Numbers keep their spelling: rounding them would make two calls one.
	if err := arguments.Format(jsontext.ReorderRawObjects(true), jsontext.Multiline(false), jsontext.SpaceAfterComma(false), jsontext.SpaceAfterColon(false)); err != nil {
		arguments = m.Arguments
	}
	part(arguments)
	return [sha256.Size]byte(h.Sum(nil))
}

// IDKey is the same for two raw JSON tokens of one id.
func IDKey(id []byte) string {
	if value, ok := text(id); ok {
		return `"` + value
	}
	return string(id)
}

// bring reads what the client brings back or brings along. Only the methods that have it may carry it: another program may
// take it where this one does not look.
func (m *Message) bring(f *found) *Error {
	m.Brings = f.brings != nil
	m.AsksTask = f.asksTask != nil
	if (m.Brings && f.brings[0] != '{') || (m.AsksTask && (f.asksTask[0] != '{' || m.Method != "tools/call" || m.Modern())) {
		return errParams
	}
	switch m.Method {
	case "tools/call", "prompts/get", "resources/read":
		if (m.Brings || f.state != nil) && !m.Modern() {
			return errParams
		}
		if f.state == nil {
			return nil
		}
		h, ok := handle(State, f.state, f.stateAt)
		if !ok {
			return errParams
		}
		m.Handles = []Handle{h}
		return nil
	case "tasks/update":
		if f.state == nil {
			return nil
		}
	}
	if m.Brings || f.state != nil {
		return errParams
	}
	return nil
}

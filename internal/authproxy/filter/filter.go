// Package filter rewrites the answers to list methods, so that a client sees only what it may use.
package filter

import (
	"errors"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

// Needed says whether the answer to m must pass through Answer; any other answer may stream through.
func Needed(m *message.Message) bool { return true }

// Answer returns the filtered form of one JSON-RPC message that the server sent in answer to m: the body of a JSON
// answer, or the data of one SSE event. An error means that the answer must not reach the caller (502).
func Answer(m *message.Message, g *decision.Grants, now time.Time, answer []byte) ([]byte, error) {
	return nil, errors.New("not filtered")
}

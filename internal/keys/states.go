package keys

import "slices"

// State is where a key is in its life.
type State string

// The states of a key, in the order of a rotation; Revoked can follow any accepted one.
const (
	// Pending: made, and on its way to the gates.
	Pending State = "Pending"
	// Distributed: every ready gate accepts it.
	Distributed State = "Distributed"
	// Current: the client's Secret holds it.
	Current State = "Current"
	// Draining: replaced, and still accepted for a while.
	Draining State = "Draining"
	// Retired: accepted nowhere, for good.
	Retired State = "Retired"
	// Revoked: refused at once, before its time, for good.
	Revoked State = "Revoked"
)

// transitions are the states that can follow each. A key becomes Current without having been Distributed where the client
// has no other accepted key to wait with: at first, and when the Secret lost it.
var transitions = map[State][]State{
	Pending:     {Distributed, Current, Retired, Revoked},
	Distributed: {Current, Retired, Revoked},
	Current:     {Draining, Retired, Revoked},
	Draining:    {Retired, Revoked},
}

// CanBecome says whether a key may go from s to next in one step.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// Accepted says whether gates accept a key in this state.
func (s State) Accepted() bool { return len(transitions[s]) > 0 }

// waiting says whether the key is on its way to the client.
func (s State) waiting() bool { return s == Pending || s == Distributed }

// IsID says whether the text has the form of a key's id.
func IsID(text string) bool { return len(text) == IDLength && isBase32(text) }

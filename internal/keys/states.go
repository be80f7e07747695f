package keys

// State is where a key is in its life.
type State string

// The states of a key, in the order of a rotation; Revoked can follow any other.
const (
	// Pending: made, and on its way to the gates.
	Pending State = "Pending"
	// Distributed: every ready gate accepts it.
	Distributed State = "Distributed"
	// Current: the client's Secret holds it.
	Current State = "Current"
	// Draining: replaced, and still accepted until its end.
	Draining State = "Draining"
	// Retired: accepted nowhere, for good.
	Retired State = "Retired"
	// Revoked: refused at once, before its time, for good.
	Revoked State = "Revoked"
)

// Accepted says whether gates accept a key in this state.
func (s State) Accepted() bool {
	return s == Pending || s == Distributed || s == Current || s == Draining
}

// IsID says whether the text has the form of a key's id.
func IsID(text string) bool { return len(text) == IDLength && isBase32(text) }

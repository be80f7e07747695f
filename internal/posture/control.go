// Package posture is the catalogue of security controls and their evaluation: a pure function from a Snapshot of what is
// declared, observed and proven about one server to a result for each control, with its evidence, and a score.
//
// A control whose evidence cannot be had is unknown (StatusError), never passed.
package posture

import "slices"

// Severity is how much a control matters.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
)

// weight is how much a control of the severity counts in the score.
func (s Severity) weight() int {
	switch s {
	case Critical:
		return 10
	case High:
		return 5
	default:
		return 2
	}
}

// Kind is a kind of evidence, from the weakest to the strongest.
type Kind string

// The kinds of evidence.
const (
	// Declared: a spec says so.
	Declared Kind = "declared"
	// Observed: the cluster or a gate says so.
	Observed Kind = "observed"
	// Proven: an attack was tried and failed.
	Proven Kind = "proven"
)

// Control is one control of the catalogue.
type Control struct {
	// ID never changes and is never used again for another control.
	ID string
	// Severity weighs it.
	Severity Severity
	// Title says in one sentence what holds when it passes.
	Title string
	// Enforcement says what makes it hold.
	Enforcement string
	// Evidence are the kinds of evidence that are looked at.
	Evidence []Kind
	// Remediation names the field or the command that mends it.
	Remediation string
	// Maps are the entries of other frameworks that it answers.
	Maps []string

	judge func(*Snapshot) verdict
}

// Catalogue returns all controls in their order. The slice is the caller's.
func Catalogue() []Control { return slices.Clone(catalogue) }

// Find returns a control by its id.
func Find(id string) (Control, bool) {
	c := byID[id]
	if c == nil {
		return Control{}, false
	}
	return *c, true
}

var (
	catalogue = slices.Concat(inventory, authentication, permissions, encryption, logging, updates, testing, flow, leastPrivilege)
	byID      = func() map[string]*Control {
		index := make(map[string]*Control, len(catalogue))
		for i := range catalogue {
			index[catalogue[i].ID] = &catalogue[i]
		}
		return index
	}()
)

package inventory

import "strings"

// Pin approves one definition.
type Pin struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Compare orders pins by kind, name and hash.
func (p Pin) Compare(other Pin) int {
	if c := strings.Compare(string(p.Kind), string(other.Kind)); c != 0 {
		return c
	}
	if c := strings.Compare(p.Name, other.Name); c != 0 {
		return c
	}
	return strings.Compare(p.SHA256, other.SHA256)
}

// Pins are approved definitions by what they are of. The zero Pins approve nothing.
type Pins map[Key][]string

// NewPins returns the pins as Pins.
func NewPins(all []Pin) Pins {
	pins := Pins{}
	for _, p := range all {
		key := Key{p.Kind, p.Name}
		pins[key] = append(pins[key], p.SHA256)
	}
	return pins
}

// Has says whether a definition is approved.
func (p Pins) Has(key Key, sha256 string) bool {
	for _, approved := range p[key] {
		if approved == sha256 {
			return true
		}
	}
	return false
}

// Reason is why a definition is not approved, or Approved.
type Reason string

// The reasons.
const (
	Approved Reason = ""
	// Changed: another definition of that name is approved.
	Changed Reason = "Changed"
	// Unknown: no definition of that name is approved.
	Unknown Reason = "Unknown"
	// Unusable: the definition is approved, but its input schema cannot be compiled, so that no arguments can be judged.
	Unusable Reason = "Unusable"
)

// Judge says whether a definition is approved, and why not. Resources need no approval.
func (p Pins) Judge(item Item) Reason {
	switch {
	case !item.Kind.Pinnable() || p.Has(item.Key(), item.SHA256):
		return Approved
	case len(p[item.Key()]) > 0:
		return Changed
	}
	return Unknown
}

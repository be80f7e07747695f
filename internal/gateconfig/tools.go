package gateconfig

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// Pinning says what becomes of definitions that no pin names.
type Pinning string

// The modes of pinning; empty stands for none.
const (
	// PinningAudit reports what no pin names, PinningEnforce has nobody see or use it.
	PinningAudit   Pinning = "Audit"
	PinningEnforce Pinning = "Enforce"
)

// maxPins bounds the pins.
const maxPins = 1024

// Tools says which definitions of the server are approved.
type Tools struct {
	Pinning Pinning `json:"pinning,omitempty"`
	// Pins are the approved definitions, sorted by kind, name and hash.
	Pins []inventory.Pin `json:"pins,omitempty"`
}

// Enforced says whether what no pin names is in quarantine.
func (t Tools) Enforced() bool { return t.Pinning == PinningEnforce }

func (t Tools) validate() error {
	if t.Pinning != "" && t.Pinning != PinningAudit && t.Pinning != PinningEnforce {
		return fmt.Errorf("tools.pinning: not %s or %s", PinningAudit, PinningEnforce)
	}
	if len(t.Pins) > maxPins {
		return fmt.Errorf("tools.pins: more than %d", maxPins)
	}
	for i, pin := range t.Pins {
		sum, err := hex.DecodeString(pin.SHA256)
		switch {
		case !pin.Kind.Pinnable():
			return fmt.Errorf("tools.pins[%d].kind: not a kind that can be pinned", i)
		case pin.Name == "" || len(pin.Name) > inventory.MaxName:
			return fmt.Errorf("tools.pins[%d].name: empty or too long", i)
		case err != nil || len(sum) != 32 || pin.SHA256 != strings.ToLower(pin.SHA256):
			return fmt.Errorf("tools.pins[%d].sha256: not 64 lower-case hex digits", i)
		}
	}
	if !slices.IsSortedFunc(t.Pins, inventory.Pin.Compare) {
		return fmt.Errorf("tools.pins: not sorted")
	}
	return nil
}

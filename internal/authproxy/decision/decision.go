// Package decision judges a message by the compiled policy. What no live rule allows is denied.
package decision

import (
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Table is a compiled policy: built once for a configuration, immutable, safe for concurrent use.
type Table struct{ clients map[string]*Grants }

// Grants is what one client may do. A nil Grants allows nothing.
type Grants struct{}

// Decision is a verdict, with the rule that allowed or the reason that denied.
type Decision struct {
	Allowed bool
	// Rule is the id of the rule that allowed; empty for what every client with a live rule may do.
	Rule string
	// Reason is a fixed word for the audit log; empty when allowed.
	Reason string
}

// Compile checks and compiles a policy.
func Compile(p policy.Policy) (*Table, error) { return &Table{}, nil }

// For returns what the client "<namespace>/<name>" may do; nil when no rule names it.
func (t *Table) For(client string) *Grants {
	if t == nil {
		return nil
	}
	return t.clients[client]
}

// Decide judges a message at a time.
func (g *Grants) Decide(m *message.Message, now time.Time) Decision { return Decision{} }

// MayTool says whether the tool may be called.
func (g *Grants) MayTool(name string, now time.Time) bool { return false }

// MayPrompt says whether the prompt may be got.
func (g *Grants) MayPrompt(name string, now time.Time) bool { return false }

// MayResource says whether the resource may be read.
func (g *Grants) MayResource(uri string, now time.Time) bool { return false }

// MayTemplate says whether at least one resource of the URI template may be read.
func (g *Grants) MayTemplate(template string, now time.Time) bool { return false }

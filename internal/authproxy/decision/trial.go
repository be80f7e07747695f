package decision

import (
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

// Meter counts how often a caller uses a rule that has a rate.
type Meter interface {
	// Take counts one use and returns 0, or returns after how long there may be another.
	Take(rule string, rate limit.Rate) (wait time.Duration)
}

// trial is one message being judged: what its rules' conditions need, and why they did not hold. A nil trial accepts
// whatever some call could be allowed.
type trial struct {
	message *message.Message
	now     time.Time
	meter   Meter

	// arguments are read once, for the first condition.
	arguments map[string]any
	read      bool
	// reason is why a rule that is about the target does not allow it; wait is the shortest for a rate.
	reason string
	wait   time.Duration
}

// accepts says whether the rule's condition holds and, for a caller that has the scopes for it, its rate allows the call.
func (t *trial) accepts(r *rule, name string, enough bool) bool {
	if t == nil {
		return true
	}
	if r.expression != nil && !t.holds(r, name) {
		return false
	}
	return !enough || t.takes(r)
}

func (t *trial) holds(r *rule, name string) bool {
	if !t.read {
		t.read = true
		var ok bool
		if t.arguments, ok = message.Arguments(t.message.Arguments); !ok {
			t.note(ReasonArguments)
		}
	}
	if t.arguments == nil {
		return false
	}
	if !r.expression.Holds(name, t.arguments) {
		t.note(ReasonExpression)
		return false
	}
	return true
}

func (t *trial) takes(r *rule) bool {
	if t.meter == nil || r.rate.Requests == 0 {
		return true
	}
	wait := t.meter.Take(r.id, r.rate)
	if wait == 0 {
		return true
	}
	if t.wait == 0 || wait < t.wait {
		t.wait = wait
	}
	t.note(ReasonRate)
	return false
}

// note keeps the reason that is the most use to the caller: a rate ends by waiting.
func (t *trial) note(reason string) {
	if t.reason == "" || reason == ReasonRate {
		t.reason = reason
	}
}

// refusal denies: for want of any rule with the reason given, or else with why a rule did not do.
func (t *trial) refusal(reason string) Decision {
	if t.reason != "" && reason != ReasonForbidden && reason != ReasonURI {
		reason = t.reason
	}
	if reason == ReasonRate {
		return Decision{Reason: ReasonRate, Wait: t.wait}
	}
	return deny(reason)
}

// Conditional says whether a verdict about a call may need its arguments.
func (g *Grants) Conditional() bool { return g != nil && g.conditional }

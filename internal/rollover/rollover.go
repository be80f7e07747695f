// Package rollover says how one certificate authority follows another without a failed handshake: the new one is trusted
// everywhere before it issues anything, and the old one until nothing that it issued is in use. It is pure; the caller
// gathers the facts, takes one step, and asks again.
package rollover

import (
	"slices"
	"time"
)

// Authority is one generation of an authority, as it was found.
type Authority struct {
	// Generation numbers the authorities of a namespace from 1.
	Generation int
	// NotBefore and NotAfter are its certificate's; zero while it has none.
	NotBefore, NotAfter time.Time
	// Since is when it was made.
	Since time.Time
	// Issues says that it has an issuer.
	Issues bool
	// Trusted says that all who verify certificates of this namespace have it in their bundles.
	Trusted bool
	// Used says that a certificate of it is asked for, delivered or served.
	Used bool
	// Lost says that its key was lost, and that another authority has taken its name: what it issued verifies as long as its
	// certificate is remembered, and nothing but another generation has it issued again.
	Lost bool
	// DistributedAt is when it was first known to be trusted everywhere, ReplacedAt when it was first known not to be used
	// any more; zero before. The caller records them.
	DistributedAt, ReplacedAt time.Time
}

// Facts are what is there now. The authorities are in the order of their generations.
type Facts struct {
	Authorities []Authority
	// RotateAfter asks for another authority in place of one made before this time, when the time has come.
	RotateAfter time.Time
	Now         time.Time
}

// Schedule says how long things take.
type Schedule struct {
	// Lifetime is how long an authority is used at most.
	Lifetime time.Duration
	// Overlap is how long all who verify have to read a new bundle, and all who show certificates to read new ones.
	Overlap time.Duration
}

// Action is one write, or one set of writes that may be ended anywhere and repeated.
type Action string

// The actions.
const (
	// Nothing is to be done now.
	Nothing Action = ""
	// Create makes the authority of the step's generation, without an issuer.
	Create Action = "Create"
	// Distributed records that the generation is trusted everywhere.
	Distributed Action = "Distributed"
	// Issue makes the generation's issuer: from then on certificates come from the newest issuer.
	Issue Action = "Issue"
	// Replaced records that the generation is not used any more.
	Replaced Action = "Replaced"
	// Reused takes that record back.
	Reused Action = "Reused"
	// Remove deletes the generation, and takes it out of all bundles.
	Remove Action = "Remove"
)

// Phase is what an authority's namespace is in the middle of.
type Phase string

// The phases, in their order.
const (
	// Steady: one authority, and no other is due.
	Steady Phase = "Steady"
	// Making: the next authority has no certificate yet.
	Making Phase = "Making"
	// Distributing: not everybody trusts the next authority yet.
	Distributing Phase = "Distributing"
	// Settling: everybody can trust it, and has time to notice.
	Settling Phase = "Settling"
	// Reissuing: it issues, and certificates of its predecessor are still in use.
	Reissuing Phase = "Reissuing"
	// Draining: its predecessor is trusted for a while longer.
	Draining Phase = "Draining"
)

// Step is what is needed now.
type Step struct {
	Action     Action
	Generation int
	Phase      Phase
	// Forced says that Issue does not wait any longer, because certificates would outlive the authority that is in force.
	Forced bool
	// Wake is when something is needed by the clock alone; zero when nothing is.
	Wake time.Time
}

// Lead is how long before its end an authority is replaced: a third of its life.
func (s Schedule) Lead(a Authority) time.Duration {
	return min(s.Lifetime, a.NotAfter.Sub(a.NotBefore)) / 3
}

// Longest is how long a certificate of the authority may live: a sixth of the authority's own life. What it issues until so
// long before its end does not outlive it; zero while it has no certificate.
func (a Authority) Longest() time.Duration { return a.NotAfter.Sub(a.NotBefore) / 6 }

// last is when an authority issues its last certificate, whoever trusts the next one by then.
func (a Authority) last() time.Time { return a.NotAfter.Add(-a.Longest()) }

// ended says that nothing that the authority issued is valid any more.
func (a Authority) ended(now time.Time) bool { return !a.NotAfter.IsZero() && !now.Before(a.NotAfter) }

// Due is when an authority is to be replaced because of its age; zero while it has no certificate.
func (s Schedule) Due(a Authority) time.Time {
	if a.NotAfter.IsZero() {
		return time.Time{}
	}
	end := a.NotAfter
	if old := a.NotBefore.Add(s.Lifetime); old.Before(end) {
		end = old
	}
	return end.Add(-s.Lead(a))
}

// InForce is the index of the authority that issues: of those that have an issuer the newest; -1 when none has.
func InForce(all []Authority) int {
	for i, a := range slices.Backward(all) {
		if a.Issues {
			return i
		}
	}
	return -1
}

// Next says what is needed now.
func Next(f Facts, s Schedule) Step {
	if len(f.Authorities) == 0 {
		return Step{Action: Create, Generation: 1, Phase: Making}
	}
	force := InForce(f.Authorities)
	if force < 0 {
		// The first one, which replaces nothing, or issuers that somebody deleted: the one that certificates were of.
		i := max(0, slices.IndexFunc(f.Authorities, func(a Authority) bool { return a.ReplacedAt.IsZero() }))
		return Step{Action: Issue, Generation: f.Authorities[i].Generation, Phase: Making}
	}
	switch {
	case force < len(f.Authorities)-1:
		return s.introduce(f, f.Authorities[force], f.Authorities[len(f.Authorities)-1])
	case force > 0:
		return s.retire(f)
	}
	return s.steady(f, f.Authorities[force])
}

// steady is for a single authority.
func (s Schedule) steady(f Facts, a Authority) Step {
	step := Step{Phase: Steady}
	due := s.Due(a)
	if a.Since.Before(f.RotateAfter) && (due.IsZero() || f.RotateAfter.Before(due)) {
		due = f.RotateAfter
	}
	switch {
	case due.IsZero():
		step.Phase = Making
	case !a.Lost && f.Now.Before(due):
		step.Wake = due
	default:
		return Step{Action: Create, Generation: a.Generation + 1, Phase: Making}
	}
	return step
}

// introduce is for an authority that is to follow the one in force.
func (s Schedule) introduce(f Facts, old, next Authority) Step {
	step := Step{Generation: next.Generation, Phase: Making}
	if !old.ReplacedAt.IsZero() {
		return Step{Action: Reused, Generation: old.Generation, Phase: Reissuing} // the issuer of its successor was deleted
	}
	if next.NotAfter.IsZero() {
		return step
	}
	if !f.Now.Before(next.last()) {
		step.Action = Remove // it waited for so long that it could issue nothing; another follows
		return step
	}
	ready := next.DistributedAt.Add(s.Overlap)
	switch last := old.last(); {
	case !old.NotAfter.IsZero() && !f.Now.Before(last):
		step.Action, step.Phase, step.Forced = Issue, Settling, !next.Trusted || next.DistributedAt.IsZero() || f.Now.Before(ready)
		return step
	case !old.NotAfter.IsZero():
		step.Wake = last
	}
	switch {
	case !next.Trusted:
		step.Phase = Distributing
	case next.DistributedAt.IsZero():
		step.Action, step.Phase = Distributed, Distributing
	case f.Now.Before(ready):
		step.Phase = Settling
		if step.Wake.IsZero() || ready.Before(step.Wake) {
			step.Wake = ready
		}
	default:
		step.Action, step.Phase = Issue, Settling
	}
	return step
}

// retire is for the oldest authority, which another has followed.
func (s Schedule) retire(f Facts) Step {
	old := f.Authorities[0]
	step := Step{Generation: old.Generation, Phase: Reissuing}
	if old.Used && !old.ended(f.Now) {
		if !old.ReplacedAt.IsZero() {
			step.Action = Reused
		}
		return step
	}
	step.Phase = Draining
	end := old.ReplacedAt.Add(s.Overlap)
	if !old.NotAfter.IsZero() && old.NotAfter.Before(end) {
		end = old.NotAfter
	}
	switch {
	case old.ReplacedAt.IsZero() && !old.ended(f.Now):
		step.Action = Replaced
	case !old.ended(f.Now) && f.Now.Before(end):
		step.Wake = end
	default:
		step.Action = Remove
	}
	return step
}

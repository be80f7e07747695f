package rollover_test

import (
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/rollover"
)

func hours(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }

func TestNext(t *testing.T) {
	const issues, trusted, used = 1, 2, 4
	authority := func(generation, from, to, flags int) rollover.Authority {
		return rollover.Authority{
			Generation: generation, Since: hours(from), NotBefore: hours(from), NotAfter: hours(to),
			Issues: flags&issues > 0, Trusted: flags&trusted > 0, Used: flags&used > 0,
		}
	}
	at := func(a rollover.Authority, distributed, replaced int) rollover.Authority {
		if distributed > 0 {
			a.DistributedAt = hours(distributed)
		}
		if replaced > 0 {
			a.ReplacedAt = hours(replaced)
		}
		return a
	}
	lost := func(a rollover.Authority) rollover.Authority {
		a.Lost = true
		return a
	}
	list := func(all ...rollover.Authority) []rollover.Authority { return all }
	unissued := rollover.Authority{Generation: 2, Since: hours(240)}
	for _, test := range []struct {
		name        string
		authorities []rollover.Authority
		rotateAfter int
		now         int
		action      rollover.Action
		generation  int
		phase       rollover.Phase
		forced      bool
		wake        int // hours; 0: none
	}{
		{name: "none", action: rollover.Create, generation: 1, phase: rollover.Making},
		{name: "an Issuer is missing", authorities: list(authority(1, 0, 360, 0)), now: 1, action: rollover.Issue, generation: 1, phase: rollover.Making},
		{name: "not due", authorities: list(authority(1, 0, 360, issues)), now: 239, phase: rollover.Steady, wake: 240},
		{name: "due at two thirds of its life", authorities: list(authority(1, 0, 360, issues)), now: 240, action: rollover.Create, generation: 2, phase: rollover.Making},
		{name: "of a longer life than is wanted now", authorities: list(authority(7, 0, 43800, issues)), now: 239, phase: rollover.Steady, wake: 240},
		{name: "asked for", authorities: list(authority(1, 0, 360, issues)), rotateAfter: 9, now: 10, action: rollover.Create, generation: 2, phase: rollover.Making},
		{name: "asked for before it was made", authorities: list(authority(3, 10, 370, issues)), rotateAfter: 9, now: 11, phase: rollover.Steady, wake: 250},
		{name: "its key was lost", authorities: list(lost(authority(1, 0, 360, issues))), now: 10, action: rollover.Create, generation: 2, phase: rollover.Making},
		{name: "its key was lost, and another is trusted, not for long", authorities: list(lost(authority(1, 0, 360, issues)), at(authority(2, 10, 370, trusted), 11, 0)), now: 22, generation: 2, phase: rollover.Settling, wake: 23},
		{name: "the key of one that was followed is lost", authorities: list(lost(authority(1, 0, 360, issues|used)), authority(2, 10, 370, issues)), now: 30, generation: 1, phase: rollover.Reissuing},
		{name: "not issued", authorities: list(authority(1, 0, 360, issues), unissued), now: 241, generation: 2, phase: rollover.Making},
		{name: "not issued until the end", authorities: list(authority(1, 0, 360, issues), unissued), now: 361, generation: 2, phase: rollover.Making},
		{name: "not trusted", authorities: list(authority(1, 0, 360, issues), authority(2, 240, 600, 0)), now: 241, generation: 2, phase: rollover.Distributing, wake: 300},
		{name: "trusted", authorities: list(authority(1, 0, 360, issues), authority(2, 240, 600, trusted)), now: 241, action: rollover.Distributed, generation: 2, phase: rollover.Distributing, wake: 300},
		{name: "not for long", authorities: list(authority(1, 0, 360, issues), at(authority(2, 240, 600, trusted), 241, 0)), now: 252, generation: 2, phase: rollover.Settling, wake: 253},
		{name: "for long enough", authorities: list(authority(1, 0, 360, issues), at(authority(2, 240, 600, trusted), 241, 0)), now: 253, action: rollover.Issue, generation: 2, phase: rollover.Settling, wake: 300},
		{name: "for long enough, but not by a new one", authorities: list(authority(1, 0, 360, issues), at(authority(2, 240, 600, 0), 241, 0)), now: 253, generation: 2, phase: rollover.Distributing, wake: 300},
		{name: "before certificates outlive the old one", authorities: list(authority(1, 0, 360, issues), authority(2, 240, 600, 0)), now: 300, action: rollover.Issue, generation: 2, phase: rollover.Settling, forced: true},
		{name: "waited for its whole life", authorities: list(authority(1, 0, 43800, issues), authority(2, 240, 600, 0)), now: 540, action: rollover.Remove, generation: 2, phase: rollover.Making},
		{name: "used", authorities: list(authority(1, 0, 360, issues|used), authority(2, 240, 600, issues)), now: 254, generation: 1, phase: rollover.Reissuing},
		{name: "used again", authorities: list(at(authority(1, 0, 360, issues|used), 0, 254), authority(2, 240, 600, issues)), now: 255, action: rollover.Reused, generation: 1, phase: rollover.Reissuing},
		{name: "not used", authorities: list(authority(1, 0, 360, issues), authority(2, 240, 600, issues)), now: 254, action: rollover.Replaced, generation: 1, phase: rollover.Draining},
		{name: "not used for a while", authorities: list(at(authority(1, 0, 360, issues), 0, 254), authority(2, 240, 600, issues)), now: 265, generation: 1, phase: rollover.Draining, wake: 266},
		{name: "not used for long", authorities: list(at(authority(1, 0, 360, 0), 0, 254), authority(2, 240, 600, issues)), now: 266, action: rollover.Remove, generation: 1, phase: rollover.Draining},
		{name: "used, and at its end", authorities: list(authority(1, 0, 360, issues|used), authority(2, 240, 600, issues)), now: 360, action: rollover.Remove, generation: 1, phase: rollover.Draining},
		{name: "both Issuers deleted", authorities: list(authority(1, 0, 360, used), authority(2, 240, 600, trusted)), now: 254, action: rollover.Issue, generation: 1, phase: rollover.Making},
		{name: "both Issuers deleted at the end", authorities: list(at(authority(1, 0, 360, 0), 0, 254), authority(2, 240, 600, trusted)), now: 255, action: rollover.Issue, generation: 2, phase: rollover.Making},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := rollover.Facts{Authorities: test.authorities, Now: hours(test.now)}
			if test.rotateAfter > 0 {
				f.RotateAfter = hours(test.rotateAfter)
			}
			want := rollover.Step{Action: test.action, Generation: test.generation, Phase: test.phase, Forced: test.forced}
			if test.wake > 0 {
				want.Wake = hours(test.wake)
			}
			if got := rollover.Next(f, schedule); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestNoCertificateOutlivesItsAuthority: whenever an authority issues, and for however long, until it has to stop.
func TestNoCertificateOutlivesItsAuthority(t *testing.T) {
	for _, life := range []time.Duration{24 * time.Hour, 360 * time.Hour, 8760 * time.Hour, 43800 * time.Hour} {
		old := rollover.Authority{Generation: 1, NotBefore: start, NotAfter: start.Add(life), Issues: true}
		next := rollover.Authority{Generation: 2, NotBefore: start.Add(life / 2), NotAfter: start.Add(2 * life), Since: start}
		for moment := start; ; moment = moment.Add(life / 240) {
			if step := rollover.Next(rollover.Facts{Authorities: []rollover.Authority{old, next}, Now: moment}, schedule); step.Action == rollover.Issue {
				break
			}
			if end := moment.Add(old.Longest()); end.After(old.NotAfter) {
				t.Fatalf("of an authority that ends at %s a certificate made at %s ends at %s", old.NotAfter, moment, end)
			}
		}
	}
}

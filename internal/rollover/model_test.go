package rollover_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/rollover"
)

var (
	start    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	schedule = rollover.Schedule{Lifetime: 360 * time.Hour, Overlap: 12 * time.Hour}
)

// world is everything that outlives a crash, all who verify or show certificates, and the clock.
type world struct {
	authorities []rollover.Authority
	rotateAfter time.Time
	now         time.Time
	// leaf is the generation whose certificate is in a Secret, shown that whose certificate its holder shows; 0: none.
	leaf, shown int
	// gate and caller are the generations that those who verify trust. The gate tells what it has; the caller only reads.
	gate, caller []int
	lost         int
}

func (w world) clone() world {
	w.authorities = slices.Clone(w.authorities)
	return w
}

func (w world) trusted() []int {
	var all []int
	for _, a := range w.authorities {
		if !a.NotAfter.IsZero() {
			all = append(all, a.Generation)
		}
	}
	return all
}

func (w world) facts() rollover.Facts {
	f := rollover.Facts{Authorities: slices.Clone(w.authorities), Now: w.now}
	if !w.rotateAfter.After(w.now) {
		f.RotateAfter = w.rotateAfter
	}
	for i := range f.Authorities {
		a := &f.Authorities[i]
		a.Trusted, a.Used = slices.Contains(w.gate, a.Generation), w.leaf == a.Generation
	}
	return f
}

func (w world) key() string {
	var times []int64
	for _, a := range w.authorities {
		times = append(times, a.NotAfter.Unix(), a.Since.Unix(), a.DistributedAt.Unix(), a.ReplacedAt.Unix())
		if a.Issues {
			times = append(times, int64(a.Generation))
		}
		if a.Lost {
			times = append(times, -1)
		}
	}
	return fmt.Sprint(times, w.rotateAfter.Unix(), w.now.Unix(), w.leaf, w.shown, w.gate, w.caller, w.lost)
}

// write does the operator's next single write, after which it may crash; done says that there was none.
func (w world) write(t *testing.T, path []string) (after world, done bool) {
	t.Helper()
	w = w.clone()
	step := rollover.Next(w.facts(), schedule)
	i := slices.IndexFunc(w.authorities, func(a rollover.Authority) bool { return a.Generation == step.Generation })
	if step.Action != rollover.Nothing && step.Action != rollover.Create && i < 0 {
		t.Fatalf("%v: %s of generation %d, which is not there", path, step.Action, step.Generation)
	}
	switch step.Action {
	case rollover.Nothing:
		if !step.Wake.IsZero() && !step.Wake.After(w.now) {
			t.Fatalf("%v: %s, and awake at once", path, step.Phase)
		}
		return w, true
	case rollover.Create:
		if i >= 0 || len(w.authorities) > 1 {
			t.Fatalf("%v: creates generation %d beside %d others", path, step.Generation, len(w.authorities))
		}
		w.authorities = append(w.authorities, rollover.Authority{Generation: step.Generation, Since: w.now})
	case rollover.Distributed:
		w.authorities[i].DistributedAt = w.now
	case rollover.Issue:
		if step.Forced {
			t.Fatalf("%v: forced while everything moves", path)
		}
		w.authorities[i].Issues = true
	case rollover.Replaced:
		w.authorities[i].ReplacedAt = w.now
	case rollover.Reused:
		w.authorities[i].ReplacedAt = time.Time{}
	case rollover.Remove:
		if len(w.authorities) == 1 || rollover.InForce(w.authorities) == i {
			t.Fatalf("%v: removes the authority in force", path)
		}
		w.authorities = slices.Delete(w.authorities, i, i+1)
	}
	return w, false
}

// check fails when somebody is shown a certificate of an authority that they do not trust.
func (w world) check(t *testing.T, path []string) {
	t.Helper()
	if w.shown == 0 {
		return
	}
	if !slices.Contains(w.gate, w.shown) {
		t.Fatalf("%v: the gate trusts %v and is shown a certificate of %d", path, w.gate, w.shown)
	}
	if !slices.Contains(w.caller, w.shown) {
		t.Fatalf("%v: a caller trusts %v and is shown a certificate of %d", path, w.caller, w.shown)
	}
}

// events are what can happen around the operator at any moment.
var events = []struct {
	name  string
	apply func(world) (world, bool)
}{
	{"authorities are issued", func(w world) (world, bool) {
		changed := false
		for i := range w.authorities {
			if a := &w.authorities[i]; a.NotAfter.IsZero() {
				a.NotBefore, a.NotAfter, changed = w.now, w.now.Add(schedule.Lifetime), true
			}
		}
		return w, changed
	}},
	{"the gate reads", func(w world) (world, bool) {
		changed := !slices.Equal(w.gate, w.trusted())
		w.gate = w.trusted()
		return w, changed
	}},
	{"the caller reads", func(w world) (world, bool) {
		changed := !slices.Equal(w.caller, w.trusted())
		w.caller = w.trusted()
		return w, changed
	}},
	{"the certificate is reissued", func(w world) (world, bool) {
		force := rollover.InForce(w.authorities)
		if force < 0 || w.authorities[force].NotAfter.IsZero() || w.authorities[force].Generation == w.leaf {
			return w, false
		}
		first := w.leaf == 0
		w.leaf = w.authorities[force].Generation
		if first {
			// Nothing runs before there is a certificate, and everybody reads before the first request.
			w.gate, w.caller, w.shown = w.trusted(), w.trusted(), w.leaf
		}
		return w, true
	}},
	{"the holder reads", func(w world) (world, bool) {
		changed := w.shown != w.leaf
		w.shown = w.leaf
		return w, changed
	}},
	{"an overlap passes", func(w world) (world, bool) {
		// Everybody has read since its beginning.
		w.now = w.now.Add(schedule.Overlap)
		if w.leaf > 0 {
			w.caller, w.shown = w.trusted(), w.leaf
		}
		return w, w.now.Before(start.Add(8 * schedule.Overlap))
	}},
	{"somebody asks for another authority", func(w world) (world, bool) {
		changed := w.leaf > 0 && w.rotateAfter.IsZero()
		w.rotateAfter = w.now
		return w, changed
	}},
	{"the newest Issuer is deleted", func(w world) (world, bool) {
		force := rollover.InForce(w.authorities)
		if force < 0 || w.lost > 0 {
			return w, false
		}
		w.authorities[force].Issues = false
		w.lost++
		return w, true
	}},
	{"the Secret of the authority in force is lost", func(w world) (world, bool) {
		// Another authority has its name; its certificate is remembered, so that it is trusted as before.
		force := rollover.InForce(w.authorities)
		if force < 0 || w.authorities[force].NotAfter.IsZero() || w.lost > 0 {
			return w, false
		}
		w.authorities[force].Lost = true
		w.lost++
		return w, true
	}},
	{"cert-manager loses its objects", func(w world) (world, bool) {
		if w.leaf == 0 || w.lost > 0 {
			return w, false
		}
		for i := range w.authorities {
			a := &w.authorities[i]
			a.Issues, a.DistributedAt, a.ReplacedAt = false, time.Time{}, time.Time{}
		}
		w.authorities = slices.DeleteFunc(w.authorities, func(a rollover.Authority) bool { return a.NotAfter.IsZero() })
		w.lost++
		return w, true
	}},
}

// TestEveryOrder walks through every order of the operator's single writes, with a crash after each, and of everything that
// can happen around it, up to a depth. Whoever verifies a certificate trusts its authority at every moment; and from each
// world that it meets, the operator comes to rest with one authority, whose certificates are in use.
func TestEveryOrder(t *testing.T) {
	const depth = 12
	type node struct {
		world
		path []string
	}
	seen := map[string]bool{}
	running := world{
		authorities: []rollover.Authority{{Generation: 1, Since: start, NotBefore: start, NotAfter: start.Add(schedule.Lifetime), Issues: true}},
		now:         start, leaf: 1, shown: 1, gate: []int{1}, caller: []int{1},
	}
	following := running.clone()
	following.authorities = append(following.authorities, rollover.Authority{
		Generation: 2, Since: start, NotBefore: start, NotAfter: start.Add(schedule.Lifetime), Issues: true, DistributedAt: start.Add(-schedule.Overlap),
	})
	following.gate, following.caller = []int{1, 2}, []int{1, 2}
	frontier := []node{{world: world{now: start}}, {running, []string{"one"}}, {following, []string{"two"}}}
	phases := map[rollover.Phase]int{}
	for range depth {
		var next []node
		for _, n := range frontier {
			if seen[n.key()] {
				continue
			}
			seen[n.key()] = true
			n.check(t, n.path)
			phases[rollover.Next(n.facts(), schedule).Phase]++
			settle(t, n.world, n.path)
			if after, done := n.write(t, n.path); !done {
				next = append(next, node{after, append(slices.Clone(n.path), "write")})
			}
			for _, e := range events {
				if after, happened := e.apply(n.clone()); happened {
					next = append(next, node{after, append(slices.Clone(n.path), e.name)})
				}
			}
		}
		frontier = next
	}
	for _, phase := range []rollover.Phase{rollover.Steady, rollover.Making, rollover.Distributing, rollover.Settling, rollover.Reissuing, rollover.Draining} {
		if phases[phase] == 0 {
			t.Errorf("never %s", phase)
		}
	}
	t.Logf("%d worlds, phases %v", len(seen), phases)
}

func settle(t *testing.T, w world, path []string) {
	t.Helper()
	for range 60 {
		w = w.clone()
		for _, i := range []int{0, 1, 2, 3, 4} {
			w, _ = events[i].apply(w)
			w.check(t, append(slices.Clone(path), "settling", events[i].name))
		}
		after, done := w.write(t, append(slices.Clone(path), "settling"))
		if !done {
			w = after
			continue
		}
		step := rollover.Next(w.facts(), schedule)
		if step.Phase == rollover.Steady {
			if len(w.authorities) != 1 || w.leaf != w.authorities[0].Generation || !step.Wake.After(w.now) || w.authorities[0].Lost || w.authorities[0].Since.Before(w.rotateAfter) {
				t.Fatalf("%v: at rest with %s", path, w.key())
			}
			return
		}
		if !step.Wake.After(w.now) {
			t.Fatalf("%v: waits for nothing in phase %s: %s", path, step.Phase, w.key())
		}
		w.now = step.Wake
	}
	t.Fatalf("%v: never comes to rest: %s", path, w.key())
}

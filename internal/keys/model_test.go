package keys_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

// world is everything that outlives a crash, and the clock.
type world struct {
	records         []keys.Record
	client, waiting *keys.Held
	garbage         bool // the waiting Secret exists without a key
	acknowledged    []string
	revoked         []string
	unused          []string
	source          *keys.Held
	sourced, push   bool
	pushing         string
	pushed          bool
	rotateAfter     time.Time
	now             time.Time
	made            int
	regular         keys.Schedule
}

func (w world) schedule() keys.Schedule {
	s := w.regular
	s.RotateAfter = w.rotateAfter
	return s
}

func (w world) facts() keys.Facts {
	return keys.Facts{
		Records: w.records, Client: w.client, ClientExists: w.client != nil, Waiting: w.waiting, WaitingExists: w.waiting != nil || w.garbage,
		Acknowledged: w.acknowledged, Revoked: w.revoked, Unused: w.unused, Now: w.now,
		Sourced: w.sourced, Source: w.source, Push: w.push, Pushing: w.pushing, Pushed: w.pushed,
	}
}

func (w world) key() string {
	held := func(h *keys.Held) string {
		if h == nil {
			return "-"
		}
		return h.ID
	}
	var ends []int64
	for _, k := range w.records {
		ends = append(ends, k.NotAfter.Unix(), k.ActivatedAt.Unix(), k.ReplacedAt.Unix())
	}
	return fmt.Sprint(states(w.records), ends, held(w.client), held(w.waiting), w.garbage, w.acknowledged, w.revoked, w.unused, w.rotateAfter.Unix(), w.now.Unix(), w.made, held(w.source), w.pushing, w.pushed)
}

func (w world) make() (*keys.Held, int) {
	if w.sourced {
		return &keys.Held{ID: w.source.ID, SHA256: w.source.SHA256, Since: w.now}, w.made
	}
	id := fmt.Sprintf("k%d", w.made)
	return &keys.Held{ID: id, SHA256: "hash of " + id, Since: w.now}, w.made + 1
}

// write does the operator's next single write, after which it may crash; done says that there was none.
func (w world) write(t *testing.T, path []string) (after world, done bool) {
	t.Helper()
	step := keys.Next(w.facts(), w.schedule())
	if !slices.Equal(step.Records, w.records) {
		check(t, path, w, step)
		w.records = step.Records
		return w, false
	}
	switch step.Action {
	case keys.Nothing:
		return w, true
	case keys.Issue:
		if w.client != nil || len(w.records) > 0 {
			t.Fatalf("%v: a first key beside another", path)
		}
		w.client, w.made = w.make()
	case keys.Prepare:
		if w.waiting != nil || w.garbage {
			t.Fatalf("%v: a waiting key would be lost", path)
		}
		w.waiting, w.made = w.make()
	case keys.Deliver:
		i := slices.IndexFunc(w.records, func(k keys.Record) bool { return w.waiting != nil && k.ID == w.waiting.ID })
		if i < 0 || !w.records[i].State.Accepted() {
			t.Fatalf("%v: delivers a key that no gate is told of", path)
		}
		if accepted(w.records, w.client, w.now) == keys.Current && w.records[i].State != keys.Distributed {
			t.Fatalf("%v: takes a working key away before the gates have the new one", path)
		}
		if i := slices.IndexFunc(w.records, func(k keys.Record) bool { return k.ID == w.waiting.ID }); w.push && !(w.pushed && w.pushing == w.waiting.ID) &&
			w.records[i].State != keys.Current && accepted(w.records, w.client, w.now) == keys.Current {
			t.Fatalf("%v: delivers a key before the store has it", path)
		}
		w.client = w.waiting
	case keys.Push:
		if accepted(w.records, &keys.Held{ID: step.Push}, w.now) == "" || step.Push == w.pushing {
			t.Fatalf("%v: pushes %q, which no gate accepts, or again", path, step.Push)
		}
		w.pushing, w.pushed = step.Push, false
	case keys.Discard:
		if w.waiting != nil && accepted(w.records, w.waiting, w.now) != "" && (w.client == nil || w.client.ID != w.waiting.ID) &&
			accepted(w.records, w.waiting, w.now) != keys.Draining {
			t.Fatalf("%v: throws away a key that waits", path)
		}
		w.waiting, w.garbage = nil, false
	}
	return w, false
}

// accepted is the state in which gates accept what a Secret holds; empty when they do not.
func accepted(records []keys.Record, h *keys.Held, now time.Time) keys.State {
	for _, k := range records {
		if h != nil && k.ID == h.ID && k.State.Accepted() && now.Before(k.NotAfter) {
			return k.State
		}
	}
	return ""
}

// check judges one change of the records.
func check(t *testing.T, path []string, before world, step keys.Step) {
	t.Helper()
	current := 0
	for _, k := range step.Records {
		if k.State == keys.Current {
			current++
		}
		i := slices.IndexFunc(before.records, func(b keys.Record) bool { return b.ID == k.ID })
		switch {
		case i >= 0:
			if from := before.records[i].State; from == keys.Draining && k.State == keys.Retired && !overlapped(before, before.records[i]) {
				t.Fatalf("%v: %s is refused before its overlap, or while it is in use", path, k.ID)
			} else if from == keys.Current && k.State == keys.Retired && before.now.Before(k.NotAfter) && draining(before.records) < 4 {
				t.Fatalf("%v: %s was current and is refused without an overlap", path, k.ID)
			} else if from != k.State && !from.CanBecome(k.State) && !passesThrough(from, k.State) {
				t.Fatalf("%v: %s went from %s to %s", path, k.ID, from, k.State)
			}
		case len(before.records) > 0 && (before.waiting == nil || before.waiting.ID != k.ID):
			t.Fatalf("%v: %s came from nowhere", path, k.ID)
		}
	}
	for _, b := range before.records {
		if b.State.Accepted() && !slices.ContainsFunc(step.Records, func(k keys.Record) bool { return k.ID == b.ID }) {
			t.Fatalf("%v: %s was forgotten while it was accepted", path, b.ID)
		}
	}
	if current > 1 {
		t.Fatalf("%v: two current keys: %s", path, states(step.Records))
	}
	// What the client holds goes on working, unless it is revoked or too old.
	if held := before.client; accepted(before.records, held, before.now) != "" && !slices.Contains(before.revoked, held.ID) &&
		accepted(step.Records, held, before.now) == "" && held.ID != putBack(before) {
		t.Fatalf("%v: the client's key %s is accepted no longer: %s", path, held.ID, states(step.Records))
	}
}

func accepting(records []keys.Record, now time.Time) int {
	n := 0
	for _, k := range records {
		if k.State.Accepted() && now.Before(k.NotAfter) {
			n++
		}
	}
	return n
}

func draining(records []keys.Record) int {
	n := 0
	for _, k := range records {
		if k.State == keys.Draining {
			n++
		}
	}
	return n
}

// overlapped says whether a replaced key may be refused.
func overlapped(w world, k keys.Record) bool {
	aged := !w.now.Before(k.NotAfter)
	return aged || !w.now.Before(k.ReplacedAt.Add(w.regular.Overlap)) && slices.Contains(w.unused, k.ID)
}

// passesThrough allows what two steps do at once.
func passesThrough(from, to keys.State) bool {
	for _, between := range []keys.State{keys.Distributed, keys.Current, keys.Draining} {
		if from.CanBecome(between) && between.CanBecome(to) {
			return true
		}
	}
	return false
}

// putBack is the id of an old key that somebody put into the client's Secret.
func putBack(w world) string {
	for _, k := range w.records {
		if w.client != nil && k.ID == w.client.ID && k.State == keys.Draining {
			return k.ID
		}
	}
	return ""
}

// events are what can happen around the operator at any moment.
var events = []struct {
	name  string
	apply func(world) (world, bool)
}{
	{"gates acknowledge", func(w world) (world, bool) {
		var ids []string
		for _, k := range w.records {
			if k.State.Accepted() {
				ids = append(ids, k.ID)
			}
		}
		slices.Sort(ids)
		changed := !slices.Equal(ids, w.acknowledged)
		w.acknowledged = ids
		return w, changed
	}},
	{"client Secret lost", func(w world) (world, bool) { c := w.client != nil; w.client = nil; return w, c }},
	{"foreign key in client Secret", func(w world) (world, bool) {
		w.client = &keys.Held{ID: "x", SHA256: "hash of x", Since: w.now}
		return w, len(w.records) > 0
	}},
	{"old key put back", func(w world) (world, bool) {
		if len(w.records) < 2 {
			return w, false
		}
		old := w.records[len(w.records)-1]
		w.client = &keys.Held{ID: old.ID, SHA256: old.SHA256, Since: w.now}
		return w, true
	}},
	{"waiting Secret lost", func(w world) (world, bool) { c := w.waiting != nil; w.waiting = nil; return w, c }},
	{"waiting Secret emptied", func(w world) (world, bool) { c := w.waiting != nil; w.waiting, w.garbage = nil, c; return w, c }},
	{"status lost", func(w world) (world, bool) { c := len(w.records) > 0; w.records = nil; return w, c }},
	{"time passes until due", func(w world) (world, bool) {
		w.now = w.now.Add(schedule.MaximumAge - schedule.RenewBefore)
		return w, w.now.Before(start.Add(3 * schedule.MaximumAge))
	}},
	{"time passes until the end", func(w world) (world, bool) {
		w.now = w.now.Add(schedule.RenewBefore)
		return w, w.now.Before(start.Add(3 * schedule.MaximumAge))
	}},
	{"an overlap passes", func(w world) (world, bool) {
		w.now = w.now.Add(schedule.Overlap)
		return w, w.now.Before(start.Add(5 * schedule.Overlap))
	}},
	{"replaced keys go out of use", func(w world) (world, bool) {
		var ids []string
		for _, k := range w.records {
			if k.State == keys.Draining {
				ids = append(ids, k.ID)
			}
		}
		slices.Sort(ids)
		changed := !slices.Equal(ids, w.unused)
		w.unused = ids
		return w, changed
	}},
	{"a key is offered", func(w world) (world, bool) {
		if !w.sourced || w.made > 2 {
			return w, false
		}
		id := fmt.Sprintf("s%d", w.made)
		w.source, w.made = &keys.Held{ID: id, SHA256: "hash of " + id, Since: w.now}, w.made+1
		return w, true
	}},
	{"the store gives nothing", func(w world) (world, bool) { c := w.source != nil; w.source = nil; return w, c }},
	{"the store has the key", func(w world) (world, bool) {
		c := w.pushing != "" && !w.pushed
		w.pushed = w.pushed || c
		return w, c
	}},
	{"the push is lost", func(w world) (world, bool) { c := w.pushing != ""; w.pushing, w.pushed = "", false; return w, c }},
	{"somebody asks for a new key", func(w world) (world, bool) {
		changed := !w.rotateAfter.Equal(w.now) && w.now.Before(start.Add(5*schedule.Overlap))
		w.rotateAfter = w.now
		return w, changed
	}},
	{"revocation", func(w world) (world, bool) {
		if w.client == nil || slices.Contains(w.revoked, w.client.ID) || len(w.revoked) > 0 {
			return w, false
		}
		w.revoked = append(slices.Clone(w.revoked), w.client.ID)
		return w, true
	}},
}

// TestEveryOrder walks through every order of the operator's single writes, with a crash after each, and of everything that
// can happen around it, up to a depth; from each world that it meets, the operator left alone must come to rest with one
// key that works.
func TestEveryOrder(t *testing.T) {
	for name, regular := range map[string]keys.Schedule{
		"by age alone": schedule,
		"by interval": {
			MaximumAge: schedule.MaximumAge, RenewBefore: schedule.RenewBefore, Overlap: schedule.Overlap, Times: keys.Every(2*schedule.Overlap, 1),
		},
	} {
		t.Run(name, func(t *testing.T) { everyOrder(t, world{now: start, regular: regular}, 9) })
	}
	t.Run("pushed", func(t *testing.T) { everyOrder(t, world{now: start, regular: schedule, push: true}, 8) })
	t.Run("sourced", func(t *testing.T) { everyOrder(t, world{now: start, regular: schedule, sourced: true}, 8) })
}

func everyOrder(t *testing.T, first world, depth int) {
	type node struct {
		world
		path []string
	}
	seen := map[string]bool{}
	frontier := []node{{world: first}}
	for range depth {
		var next []node
		for _, n := range frontier {
			if seen[n.key()] {
				continue
			}
			seen[n.key()] = true
			settle(t, n.world, n.path)
			if after, done := n.write(t, n.path); !done {
				next = append(next, node{after, append(slices.Clone(n.path), "write")})
			}
			for _, e := range events {
				if after, happened := e.apply(n.world); happened {
					next = append(next, node{after, append(slices.Clone(n.path), e.name)})
				}
			}
		}
		frontier = next
	}
	if len(seen) < 5000 {
		t.Errorf("met only %d worlds", len(seen))
	}
	t.Logf("%d worlds", len(seen))
}

func settle(t *testing.T, w world, path []string) {
	t.Helper()
	for range 24 {
		w, _ = events[0].apply(w)
		w.pushed = w.pushing != ""
		after, done := w.write(t, append(slices.Clone(path), "settling"))
		if !done {
			w = after
			continue
		}
		if step := keys.Next(w.facts(), w.schedule()); step.Starved {
			// The store offers something new at last.
			id := fmt.Sprintf("s%d", w.made)
			w.source, w.made = &keys.Held{ID: id, SHA256: "hash of " + id, Since: w.now}, w.made+1
			continue
		}
		if w.push && (w.client == nil || w.pushing != w.client.ID) {
			t.Fatalf("%v: at rest, and the store does not have the client's key: %s", path, w.key())
		}
		if step := keys.Next(w.facts(), w.schedule()); !step.Paced.IsZero() {
			if accepting(w.records, w.now) == 0 || !step.Wake.After(w.now) || step.Wake.Sub(w.now) > 2*time.Minute {
				t.Fatalf("%v: waits with no key that works, or for too long: %s", path, w.key())
			}
			w.now = step.Wake
			continue
		}
		if accepted(w.records, w.client, w.now) != keys.Current || w.waiting != nil || w.garbage {
			t.Fatalf("%v: at rest with %s", path, w.key())
		}
		if step := keys.Next(w.facts(), w.schedule()); !step.Wake.After(w.now) {
			t.Fatalf("%v: at rest and awake at once", path)
		}
		return
	}
	t.Fatalf("%v: never comes to rest: %s", path, w.key())
}

package keys_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

// TestSeries: at each time the present key is among those that are accepted, a retired one was and is not any more, and no key
// comes back.
func TestSeries(t *testing.T) {
	since := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	s := keys.Series{Secret: []byte("a secret of the operator's"), Name: "server-1", Since: since}
	text := func(n int) keys.Key {
		t.Helper()
		key, err := s.Key(n)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	accepted := func(now time.Time) (ids []string) {
		t.Helper()
		all, err := s.Accepted(now)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if !now.Before(r.NotAfter) {
				t.Errorf("%s: key %s has ended", now, r.ID)
			}
			ids = append(ids, r.ID)
		}
		return ids
	}
	was, gone := map[string]bool{}, map[string]bool{}
	for now := since; now.Before(since.Add(72 * time.Hour)); now = now.Add(time.Minute) {
		all := accepted(now)
		for id := range was {
			gone[id] = gone[id] || !slices.Contains(all, id)
		}
		for _, id := range all {
			was[id] = true
			if gone[id] {
				t.Fatalf("%s: key %s came back", now, id)
			}
		}
		present, next := s.Present(now)
		if !slices.Contains(all, text(present).ID) || !slices.Contains(all, text(present+1).ID) || !next.After(now) {
			t.Fatalf("%s: key %d is shown until %s, and %v are accepted", now, present, next, all)
		}
		if n, _ := s.Present(next); n != present+1 {
			t.Fatalf("%s: key %d follows key %d", next, n, present)
		}
		// Two minutes are what it may take until no gate knows it.
		retired, ok := s.Retired(now)
		if ok != (now.Sub(since) >= 62*time.Minute) {
			t.Fatalf("%s: a retired key: %v", now, ok)
		}
		if ok && (!was[text(retired).ID] || slices.Contains(accepted(now.Add(-2*time.Minute)), text(retired).ID)) {
			t.Fatalf("%s: key %d is shown as retired", now, retired)
		}
	}
	if len(was) != 5 {
		t.Errorf("%d keys in three days", len(was))
	}
	id, err := keys.Parse(text(0).Text)
	if err != nil || id != text(0).ID {
		t.Errorf("%v, %v", id, err)
	}
	for name, other := range map[string]keys.Series{
		"another server":     {Secret: s.Secret, Name: "server-2", Since: since},
		"another secret":     {Secret: []byte("another"), Name: s.Name, Since: since},
		"another beginning":  {Secret: s.Secret, Name: s.Name, Since: since.Add(time.Second)},
		"name runs into end": {Secret: s.Secret, Name: s.Name + "1", Since: since},
	} {
		if key, err := other.Key(0); err != nil || key == text(0) {
			t.Errorf("%s: the same key, %v", name, err)
		}
	}
}

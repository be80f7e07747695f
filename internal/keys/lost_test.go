package keys_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

// TestLostSecret: clients have the key of a lost Secret in memory. It drains as any replaced key does.
func TestLostSecret(t *testing.T) {
	now := start.Add(time.Hour)
	waiting := &keys.Held{ID: "b", SHA256: "hash of b", Since: now}
	crowd := []keys.Record{record("a", keys.Current)}
	for i := range 4 {
		k := record(fmt.Sprint("d", i), keys.Draining)
		k.ReplacedAt = start
		crowd = append(crowd, k)
	}
	for _, test := range []struct {
		name   string
		facts  keys.Facts
		states string
		action keys.Action
	}{
		{
			"the Secret is gone: the new key waits for the gates",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Waiting: waiting, Now: now}, "a=Current b=Pending", keys.Nothing,
		},
		{
			"the gates have it",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Waiting: waiting, Acknowledged: []string{"b"}, Now: now},
			"a=Draining b=Pending", keys.Deliver,
		},
		{
			"a gate does not answer: what starts needs the Secret",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Waiting: waiting, Now: now.Add(30 * time.Second)},
			"a=Draining b=Pending", keys.Deliver,
		},
		{
			"the Secret is there without a key: nothing gets worse by a new one",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, ClientExists: true, Waiting: waiting, Now: now},
			"a=Draining b=Pending", keys.Deliver,
		},
		{
			"the lost key is revoked, too",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Waiting: waiting, Revoked: []string{"a"}, Now: now},
			"a=Revoked b=Pending", keys.Deliver,
		},
		{
			"too many replaced keys are in use: the lost one goes",
			keys.Facts{Records: crowd, ClientExists: true, Waiting: waiting, Now: now},
			"a=Retired b=Pending d0=Draining d1=Draining d2=Draining d3=Draining", keys.Deliver,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.facts.WaitingExists = test.facts.Waiting != nil
			step := keys.Next(test.facts, schedule)
			if got := states(step.Records); got != test.states || step.Action != test.action {
				t.Errorf("%s, %q; want %s, %q", got, step.Action, test.states, test.action)
			}
			for _, k := range step.Records {
				if k.ID == "a" && k.State == keys.Draining && !k.ReplacedAt.Equal(test.facts.Now) {
					t.Errorf("its overlap begins at %s", k.ReplacedAt)
				}
			}
			if step.Action == keys.Nothing && !step.Wake.Equal(now.Add(30*time.Second)) {
				t.Errorf("wakes at %s", step.Wake)
			}
		})
	}
}

// TestRewrittenSecret plays a tool that takes the key out of the client's Secret whenever it sees one, for a day: the number of
// keys is bounded, and at each moment one is accepted.
func TestRewrittenSecret(t *testing.T) {
	w := world{now: start, regular: schedule}
	pauses, last := 0, w.now
	for w.now.Before(start.Add(24 * time.Hour)) {
		step := keys.Next(w.facts(), w.schedule())
		if len(w.records) > 0 && accepting(step.Records, w.now) == 0 {
			t.Fatalf("after %s no key is accepted: %s", w.now.Sub(start), states(step.Records))
		}
		if len(step.Records) > 16 {
			t.Fatalf("%d records", len(step.Records))
		}
		w, _ = events[0].apply(w)
		after, done := w.write(t, nil)
		switch {
		case done && !step.Paced.IsZero():
			if step.Wake.Sub(w.now) > 2*time.Minute {
				t.Fatalf("the client waits %s for a key", step.Wake.Sub(w.now))
			}
			pauses++
			last, w.now = w.now, step.Wake
		case done:
			w.client = nil // the tool
		default:
			w = after
		}
		if w.made > 5+int(w.now.Sub(start)/(2*time.Minute)) {
			t.Fatalf("%d keys within %s", w.made, w.now.Sub(start))
		}
	}
	if pauses < 100 || w.now.Equal(last) {
		t.Errorf("%d pauses", pauses)
	}
}

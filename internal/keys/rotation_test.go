package keys_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

var (
	start    = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	schedule = keys.Schedule{MaximumAge: 90 * 24 * time.Hour, RenewBefore: 7 * 24 * time.Hour, Overlap: 24 * time.Hour}
	due      = start.Add(schedule.MaximumAge - schedule.RenewBefore)
	end      = start.Add(schedule.MaximumAge)
)

func record(id string, state keys.State) keys.Record {
	return keys.Record{ID: id, SHA256: "hash of " + id, State: state, IssuedAt: start, NotAfter: end}
}

func holds(id string) *keys.Held { return &keys.Held{ID: id, SHA256: "hash of " + id, Since: start} }

func TestTransitions(t *testing.T) {
	all := []keys.State{keys.Pending, keys.Distributed, keys.Current, keys.Draining, keys.Retired, keys.Revoked}
	legal := map[keys.State]string{
		keys.Pending:     "Distributed Current Retired Revoked",
		keys.Distributed: "Current Retired Revoked",
		keys.Current:     "Draining Retired Revoked",
		keys.Draining:    "Retired Revoked",
		keys.Retired:     "",
		keys.Revoked:     "",
	}
	for _, from := range all {
		var got []string
		for _, to := range all {
			if from.CanBecome(to) {
				got = append(got, string(to))
			}
		}
		if strings.Join(got, " ") != legal[from] {
			t.Errorf("%s can become %q, want %q", from, got, legal[from])
		}
		if want := from != keys.Retired && from != keys.Revoked; from.Accepted() != want {
			t.Errorf("%s accepted: %t", from, !want)
		}
	}
	if keys.State("").Accepted() || keys.State("current").Accepted() {
		t.Error("an unknown state is accepted")
	}
}

func TestNext(t *testing.T) {
	for _, test := range []struct {
		name   string
		facts  keys.Facts
		states string // "id=State …" in the order of the ids
		action keys.Action
		reason string
	}{
		{"nothing yet: the first key is made", keys.Facts{}, "", keys.Issue, keys.ReasonFirstKey},
		{"crash after the Secret was created: its key is adopted", keys.Facts{Client: holds("a")}, "a=Current", keys.Nothing, ""},
		{"nothing to do", keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a")}, "a=Current", keys.Nothing, ""},
		{
			"the Secret was emptied: a new key is made before the old one goes",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}}, "a=Current", keys.Prepare, keys.ReasonSecretLost,
		},
		{
			"the Secret holds a key of somebody else",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("x")}, "a=Current", keys.Prepare, keys.ReasonSecretLost,
		},
		{
			"the Secret holds another text with the same id",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: &keys.Held{ID: "a", SHA256: "other", Since: start}},
			"a=Current", keys.Prepare, keys.ReasonSecretLost,
		},
		{
			"the new key waits: it is recorded, the old one drains, and nobody waits for gates",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("x"), ClientExists: true, Waiting: holds("b")},
			"a=Draining b=Pending", keys.Deliver, keys.ReasonSecretLost,
		},
		{
			"the new key was delivered",
			keys.Facts{Records: []keys.Record{record("a", keys.Retired), record("b", keys.Pending)}, Client: holds("b"), Waiting: holds("b")},
			"a=Retired b=Current", keys.Discard, "",
		},
		{
			"an old key was put back",
			keys.Facts{Records: []keys.Record{record("a", keys.Draining), record("b", keys.Current)}, Client: holds("a")},
			"a=Draining b=Current", keys.Prepare, keys.ReasonSecretLost,
		},
		{
			"a retired key was put back",
			keys.Facts{Records: []keys.Record{record("a", keys.Retired), record("b", keys.Current)}, Client: holds("a")},
			"a=Retired b=Current", keys.Prepare, keys.ReasonSecretLost,
		},
		{
			"the waiting Secret repairs the client's",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Waiting: holds("a")},
			"a=Current", keys.Deliver, keys.ReasonSecretLost,
		},
		{
			"the key is due: its replacement begins",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), Now: due},
			"a=Current", keys.Prepare, keys.ReasonMaximumAge,
		},
		{
			"the replacement waits for the gates",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), Waiting: &keys.Held{ID: "b", SHA256: "hash of b", Since: due}, Now: due},
			"a=Current b=Pending", keys.Nothing, "",
		},
		{
			"the gates have it",
			keys.Facts{
				Records: []keys.Record{record("a", keys.Current), record("b", keys.Pending)}, Client: holds("a"), Waiting: holds("b"),
				Acknowledged: []string{"b"},
			},
			"a=Current b=Distributed", keys.Deliver, keys.ReasonMaximumAge,
		},
		{
			"delivered: the old key drains",
			keys.Facts{Records: []keys.Record{record("a", keys.Current), record("b", keys.Distributed)}, Client: holds("b"), Waiting: holds("b")},
			"a=Draining b=Current", keys.Discard, "",
		},
		{
			"the old key reaches its maximum age while the gates are silent",
			keys.Facts{
				Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"),
				Waiting: &keys.Held{ID: "b", SHA256: "hash of b", Since: due}, Now: end,
			},
			"a=Retired b=Pending", keys.Deliver, keys.ReasonKeyOutlived,
		},
		{
			"maximum age reached while the operator was away",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), Now: end.Add(time.Hour)},
			"a=Retired", keys.Prepare, keys.ReasonKeyOutlived,
		},
		{
			"a draining key ends",
			keys.Facts{
				Records: []keys.Record{record("a", keys.Draining), {ID: "b", SHA256: "hash of b", State: keys.Current, IssuedAt: due, NotAfter: due.Add(schedule.MaximumAge)}},
				Client:  holds("b"), Now: end,
			},
			"a=Retired b=Current", keys.Nothing, "",
		},
		{
			"the current key is revoked: refused before its replacement is there",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), Revoked: []string{"a"}},
			"a=Revoked", keys.Prepare, keys.ReasonKeyRevoked,
		},
		{
			"a key is revoked while it waits",
			keys.Facts{Records: []keys.Record{record("a", keys.Current), record("b", keys.Pending)}, Client: holds("a"), Waiting: holds("b"), Revoked: []string{"b"}},
			"a=Current b=Revoked", keys.Discard, "",
		},
		{
			"the waiting key was lost",
			keys.Facts{Records: []keys.Record{record("a", keys.Current), record("b", keys.Distributed)}, Client: holds("a")},
			"a=Current b=Retired", keys.Nothing, "",
		},
		{
			"the status was lost in the middle of a rotation",
			keys.Facts{Client: holds("a"), Waiting: holds("b")}, "a=Current b=Pending", keys.Nothing, "",
		},
		{
			"the status and the client's Secret were lost",
			keys.Facts{Waiting: holds("b")}, "b=Pending", keys.Deliver, keys.ReasonFirstKey,
		},
		{
			"an adopted key is as old as its Secret",
			keys.Facts{Client: holds("a"), Now: end}, "a=Retired", keys.Prepare, keys.ReasonKeyOutlived,
		},
		{
			"a status with two current keys: the Secret decides",
			keys.Facts{Records: []keys.Record{record("a", keys.Current), record("b", keys.Current)}, Client: holds("b")},
			"a=Draining b=Current", keys.Nothing, "",
		},
		{
			"garbage in the waiting Secret",
			keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), WaitingExists: true}, "a=Current", keys.Discard, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.facts.Now.IsZero() {
				test.facts.Now = start.Add(time.Hour)
			}
			test.facts.WaitingExists = test.facts.WaitingExists || test.facts.Waiting != nil
			before := slices.Clone(test.facts.Records)
			step := keys.Next(test.facts, schedule)
			if got := states(step.Records); got != test.states {
				t.Errorf("records %q, want %q", got, test.states)
			}
			if step.Action != test.action || step.Reason != test.reason {
				t.Errorf("action %q because %q, want %q because %q", step.Action, step.Reason, test.action, test.reason)
			}
			if diff := cmp.Diff(before, test.facts.Records); diff != "" {
				t.Errorf("the facts were changed: %s", diff)
			}
		})
	}
}

func TestNextWakes(t *testing.T) {
	facts := keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), Now: start}
	if got := keys.Next(facts, schedule).Wake; !got.Equal(due) {
		t.Errorf("wakes at %s, want when the key is due, %s", got, due)
	}
	facts = keys.Facts{Records: []keys.Record{record("a", keys.Current)}, Client: holds("a"), Waiting: holds("b"), WaitingExists: true, Now: due}
	if got := keys.Next(facts, schedule).Wake; !got.Equal(end) {
		t.Errorf("wakes at %s, want at the end of the old key, %s", got, end)
	}
}

func TestNextForgetsOldHistory(t *testing.T) {
	facts := keys.Facts{Client: holds("z"), Now: start}
	for i := range 12 {
		k := record(fmt.Sprintf("k%02d", i), keys.Retired)
		k.IssuedAt = start.Add(time.Duration(i) * -time.Hour)
		facts.Records = append(facts.Records, k)
	}
	facts.Records = append(facts.Records, record("z", keys.Current))
	if got, want := states(keys.Next(facts, schedule).Records), "k00=Retired k01=Retired k02=Retired k03=Retired z=Current"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// What a Secret holds is never forgotten: it would be taken for a new key.
	facts.Waiting, facts.WaitingExists = holds("k11"), true
	if got := states(keys.Next(facts, schedule).Records); !strings.Contains(got, "k11=Retired") {
		t.Errorf("got %q", got)
	}
}

func states(records []keys.Record) string {
	var out []string
	for _, k := range records {
		out = append(out, k.ID+"="+string(k.State))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

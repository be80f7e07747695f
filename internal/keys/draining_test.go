package keys_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

// replaced is a key that was replaced at the start.
func replaced(id string) keys.Record {
	k := record(id, keys.Draining)
	k.ActivatedAt, k.ReplacedAt = start, start
	return k
}

func TestDraining(t *testing.T) {
	overlap := start.Add(schedule.Overlap)
	strict := schedule
	strict.MaximumAge = 48 * time.Hour
	for _, test := range []struct {
		name     string
		schedule keys.Schedule
		now      time.Time
		unused   []string
		want     keys.State
	}{
		{"within the overlap, out of use", schedule, overlap.Add(-time.Second), []string{"a"}, keys.Draining},
		{"after the overlap, out of use", schedule, overlap, []string{"a"}, keys.Retired},
		{"after the overlap, in use or unknown", schedule, overlap, nil, keys.Draining},
		{"long after the overlap, another is out of use", schedule, end.Add(-time.Second), []string{"b"}, keys.Draining},
		{"at its maximum age, in use", schedule, end, nil, keys.Retired},
		{"older than a maximum age that became shorter, in use", strict, start.Add(48 * time.Hour), nil, keys.Retired},
		{"older than a maximum age that became shorter, within the overlap", keys.Schedule{MaximumAge: time.Hour, Overlap: schedule.Overlap}, start.Add(2 * time.Hour), nil, keys.Draining},
	} {
		t.Run(test.name, func(t *testing.T) {
			current := record("b", keys.Current)
			current.IssuedAt, current.NotAfter = test.now, test.now.Add(schedule.MaximumAge)
			step := keys.Next(keys.Facts{Records: []keys.Record{replaced("a"), current}, Client: holds("b"), Unused: test.unused, Now: test.now}, test.schedule)
			i := slices.IndexFunc(step.Records, func(k keys.Record) bool { return k.ID == "a" })
			if i < 0 || step.Records[i].State != test.want {
				t.Errorf("%s, want a=%s", states(step.Records), test.want)
			}
			if test.want == keys.Draining && !step.Wake.After(test.now) {
				t.Error("nobody looks again")
			}
		})
	}
}

func TestWhenAKeyIsReplaced(t *testing.T) {
	daily := schedule
	daily.Times = keys.Every(24*time.Hour, 0)
	asked := schedule
	asked.RotateAfter = start.Add(time.Hour)
	stricter := schedule
	stricter.MaximumAge = 10 * 24 * time.Hour
	crowd := []keys.Record{replaced("a"), replaced("b"), replaced("c"), replaced("d")}
	for _, test := range []struct {
		name     string
		schedule keys.Schedule
		others   []keys.Record
		now      time.Time
		action   keys.Action
		reason   string
		due      time.Time
		held     bool
	}{
		{"not yet by schedule", daily, nil, start.Add(23 * time.Hour), keys.Nothing, "", start.Add(24 * time.Hour), false},
		{"by schedule", daily, nil, start.Add(24 * time.Hour), keys.Prepare, keys.ReasonSchedule, time.Time{}, false},
		{"not yet on demand", asked, nil, start.Add(59 * time.Minute), keys.Nothing, "", start.Add(time.Hour), false},
		{"on demand", asked, nil, start.Add(time.Hour), keys.Prepare, keys.ReasonRotateAfter, time.Time{}, false},
		{"the maximum age became shorter", stricter, nil, start.Add(3 * 24 * time.Hour), keys.Prepare, keys.ReasonMaximumAge, time.Time{}, false},
		{"too many replaced keys are in use", daily, crowd, start.Add(25 * time.Hour), keys.Nothing, "", time.Time{}, true},
		{"too many replaced keys, and the current one is old", daily, crowd, due, keys.Prepare, keys.ReasonSchedule, time.Time{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			current := record("z", keys.Current)
			current.ActivatedAt = start
			step := keys.Next(keys.Facts{Records: append(slices.Clone(test.others), current), Client: holds("z"), Now: test.now}, test.schedule)
			if step.Action != test.action || step.Reason != test.reason || !step.Due.Equal(test.due) || step.Held != test.held {
				t.Errorf("got %q %q, due %s, held %t", step.Action, step.Reason, step.Due, step.Held)
			}
		})
	}
}

// TestOneRotationForEachTime: the clock that dates Secrets may be behind, by any time.
func TestOneRotationForEachTime(t *testing.T) {
	s := schedule
	s.Times, s.RotateAfter = keys.Every(24*time.Hour, 0), start.Add(24*time.Hour)
	fresh := record("b", keys.Current)
	fresh.IssuedAt = start.Add(24*time.Hour - 10*time.Second)
	step := keys.Next(keys.Facts{Records: []keys.Record{fresh}, Client: holds("b"), Now: start.Add(24 * time.Hour)}, s)
	if want := start.Add(48 * time.Hour); step.Action != keys.Nothing || !step.Due.Equal(want) {
		t.Errorf("%s at %s, want nothing before %s", step.Action, step.Due, want)
	}
}

package keys_test

import (
	"hash/fnv"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

func TestEvery(t *testing.T) {
	for _, every := range []time.Duration{time.Second, time.Minute, 7 * time.Hour, 24 * time.Hour, 90 * 24 * time.Hour} {
		for _, seed := range []uint64{0, 1, 1 << 40, 1<<64 - 1} {
			times := keys.Every(every, seed)
			for _, at := range []time.Time{start, start.Add(time.Nanosecond), time.Unix(0, 0), time.Unix(-5, 0), start.Add(12345 * time.Second)} {
				next := times.Next(at)
				if !next.After(at) || next.Sub(at) > every {
					t.Fatalf("every %s, seed %d: %s follows %s", every, seed, next, at)
				}
				if got := times.Next(next); got.Sub(next) != every {
					t.Fatalf("every %s, seed %d: %s follows %s", every, seed, got, next)
				}
			}
		}
	}
}

func TestCron(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	// The night in which the clocks go forward has no 02:30, the one in which they go back has two.
	for _, test := range []struct {
		expression, zone string
		seed             uint64
		after, want      time.Time
	}{
		{"0 3 * * *", "UTC", 0, start, time.Date(2030, 1, 1, 3, 0, 0, 0, time.UTC)},
		{"0 3 * * *", "UTC", 0, time.Date(2030, 1, 1, 3, 0, 0, 0, time.UTC), time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)},
		{"0 3 * * *", "UTC", uint64(90 * time.Second), time.Date(2030, 1, 1, 3, 1, 0, 0, time.UTC), time.Date(2030, 1, 1, 3, 1, 30, 0, time.UTC)},
		{"0 3 * * 1", "Europe/Berlin", 0, start, time.Date(2030, 1, 7, 3, 0, 0, 0, berlin)},
		{"*/10 * * * *", "UTC", uint64(time.Hour - time.Second), start, start.Add(59 * time.Second)},
		{"30 2 * * *", "Europe/Berlin", 0, time.Date(2030, 3, 30, 12, 0, 0, 0, berlin), time.Date(2030, 4, 1, 2, 30, 0, 0, berlin)},
		{"0 0 29 2 *", "UTC", 0, start, time.Date(2032, 2, 29, 0, 0, 0, 0, time.UTC)},
	} {
		times, err := keys.Cron(test.expression, test.zone, test.seed)
		if err != nil {
			t.Fatal(err)
		}
		if got := times.Next(test.after); !got.Equal(test.want) {
			t.Errorf("%s %s: %s follows %s, want %s", test.expression, test.zone, got, test.after, test.want)
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for _, test := range []struct{ expression, zone, want string }{
		{"0 3 * *", "UTC", "not a cron expression of five fields"},
		{"0 0 3 * * *", "UTC", "not a cron expression of five fields"},
		{"@daily", "UTC", "not a cron expression of five fields"},
		{"@every 1h", "UTC", "not a cron expression of five fields"},
		{"61 3 * * *", "UTC", "not a cron expression of five fields"},
		{"", "UTC", "not a cron expression of five fields"},
		{"0 3 31 2 *", "UTC", "there is no such day"},
		{"0 3 * * *", "Mars/Olympus", "not in the IANA database"},
		{"0 3 * * *", "../../etc/passwd", "not in the IANA database"},
		{"0 3 * * *", "Local", "whatever the operator's machine has"},
	} {
		if _, err := keys.Cron(test.expression, test.zone, 1); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q in %q: %v, want %q", test.expression, test.zone, err, test.want)
		}
	}
}

func FuzzCron(f *testing.F) {
	f.Add("0 3 * * 1", "Europe/Berlin", uint64(7))
	f.Add("*/5 1-3,7 ? JAN-MAR SUN", "UTC", uint64(1<<63))
	f.Fuzz(func(t *testing.T, expression, zone string, seed uint64) {
		times, err := keys.Cron(expression, zone, seed)
		if err != nil {
			return
		}
		at := start
		for range 4 {
			next := times.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%s follows %s", next, at)
			}
			at = next
		}
	})
}

// TestDay lets 10,000 clients live through two days. On the second their rotations are spread, and at no moment has a client a
// key that is over its maximum age, or none.
func TestDay(t *testing.T) {
	const (
		clients = 10_000
		day     = 24 * time.Hour
	)
	for _, test := range []struct {
		name    string
		maximum time.Duration
		times   func(seed uint64) keys.Times
		// period is the stretch in which rotations have to be spread, and begin where it begins within the day.
		begin, period time.Duration
	}{
		{"interval of a day", 90 * day, func(seed uint64) keys.Times { return keys.Every(day, seed) }, 0, day},
		{"interval of six hours", 10 * day, func(seed uint64) keys.Times { return keys.Every(6*time.Hour, seed) }, 0, day},
		{"nightly cron: within its hour", 90 * day, func(seed uint64) keys.Times {
			times, err := keys.Cron("0 3 * * *", "UTC", seed)
			if err != nil {
				t.Fatal(err)
			}
			return times
		}, 3 * time.Hour, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			const bins = 24
			var rotations [bins]int
			for c := range clients {
				h := fnv.New64a()
				_, _ = h.Write([]byte("uid-" + strconv.Itoa(c)))
				schedule := keys.Schedule{MaximumAge: test.maximum, RenewBefore: 7 * day, Overlap: 24 * time.Hour, Times: test.times(h.Sum64())}
				if test.maximum < 14*day {
					schedule.Overlap = 30 * time.Minute
				}
				begin := start.Add(day + test.begin) // the second day: the first has the keys' making
				for _, at := range live(t, schedule, start.Add(2*day)) {
					if into := at.Sub(begin); into >= 0 && into < test.period {
						rotations[into*bins/test.period]++
					} else if into >= 0 && into < day-test.begin {
						t.Fatalf("a rotation at %s is outside of the stretch", at)
					}
				}
			}
			total, peak := 0, 0
			for _, n := range rotations {
				total, peak = total+n, max(peak, n)
			}
			if total < clients {
				t.Errorf("only %d rotations", total)
			}
			if ratio := float64(peak) * bins / float64(total); ratio > 1.5 {
				t.Errorf("peak over mean is %.2f: %v", ratio, rotations)
			} else {
				t.Logf("%d rotations, peak over mean %.2f", total, ratio)
			}
		})
	}
}

// TestAgeAlone: without a schedule, keys of clients that were made at the same time are replaced before they are too old.
func TestAgeAlone(t *testing.T) {
	if at := live(t, schedule, start.Add(4*schedule.MaximumAge)); len(at) != 4 {
		t.Errorf("rotations at %v", at)
	}
}

// live lets one client with prompt gates live until a time, and returns when its rotations were.
func live(t *testing.T, schedule keys.Schedule, until time.Time) (rotations []time.Time) {
	t.Helper()
	w := world{now: start, regular: schedule}
	for {
		w.acknowledged, w.unused = nil, nil
		for _, k := range w.records {
			w.acknowledged, w.unused = append(w.acknowledged, k.ID), append(w.unused, k.ID)
		}
		step := keys.Next(w.facts(), schedule)
		if step.Action == keys.Prepare {
			rotations = append(rotations, w.now)
		}
		w2, done := w.write(t, nil)
		w = w2
		if !done {
			continue
		}
		if accepted(w.records, w.client, w.now) != keys.Current {
			t.Fatalf("no key at %s", w.now)
		}
		for _, k := range w.records {
			if k.State.Accepted() && w.now.Sub(k.IssuedAt) > schedule.MaximumAge {
				t.Fatalf("%s is %s old", k.ID, w.now.Sub(k.IssuedAt))
			}
		}
		if !step.Wake.After(w.now) {
			t.Fatalf("awake at once at %s", w.now)
		}
		if w.now = step.Wake; w.now.After(until) {
			return rotations
		}
	}
}

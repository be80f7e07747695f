package keys

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // the operator's image has no time zones of its own

	"github.com/robfig/cron/v3"
)

// Schedule says when a key is replaced, and how long its predecessor is still accepted.
type Schedule struct {
	// MaximumAge is how long after it was issued gates accept a key.
	MaximumAge time.Duration
	// RenewBefore is how long before that end its replacement begins, so that both are accepted for a while.
	RenewBefore time.Duration
	// Overlap is how long a replaced key is still accepted, at least.
	Overlap time.Duration
	// RotateAfter asks for a new key when the client has had its current one since before it; zero asks for nothing.
	RotateAfter time.Time
	// Times are when keys are replaced although they are not old; nil means never.
	Times Times
}

// Times are moments at which a new key is wanted.
type Times interface {
	// Next is the first of them after a time; zero when there is none.
	Next(after time.Time) time.Time
}

// maxJitter bounds how far behind its cron expression a rotation begins.
const maxJitter = time.Hour

type interval struct{ every, phase int64 } // seconds

// Every is each time that an interval has passed, in a phase that the seed decides: keys with different seeds are replaced
// at different times, each in its own rhythm, whenever they were made. The interval is at least a second.
func Every(d time.Duration, seed uint64) Times {
	every := max(int64(d/time.Second), 1)
	return interval{every: every, phase: int64(seed % uint64(every))}
}

func (i interval) Next(after time.Time) time.Time {
	past := after.Unix() - i.phase
	periods := past / i.every
	if past < 0 && past%i.every != 0 {
		periods--
	}
	return time.Unix((periods+1)*i.every+i.phase, 0).UTC()
}

type cronTimes struct {
	slots cron.Schedule
	zone  *time.Location
	seed  uint64
}

// Cron is the times of a cron expression of five fields (minute, hour, day of month, month, day of week) on the clocks of a
// time zone of the IANA database. Each comes later by up to an hour, or up to a tenth of the way to the next where that is
// less: the seed decides by how much.
func Cron(expression, zone string, seed uint64) (Times, error) {
	if zone == "Local" {
		return nil, errors.New("time zone Local is whatever the operator's machine has; name one, such as Europe/Berlin")
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("time zone %q is not in the IANA database; write UTC or one such as Europe/Berlin", zone)
	}
	slots, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("%q is not a cron expression of five fields, such as 0 3 * * 1: %w", expression, err)
	}
	if slots.Next(time.Unix(0, 0).In(location)).IsZero() {
		return nil, fmt.Errorf("%q never comes: there is no such day", expression)
	}
	return cronTimes{slots: slots, zone: location, seed: seed}, nil
}

func (c cronTimes) Next(after time.Time) time.Time {
	slot := c.slots.Next(after.In(c.zone).Add(-maxJitter - time.Second))
	for !slot.IsZero() {
		next := c.slots.Next(slot)
		window := maxJitter
		if !next.IsZero() {
			window = min(window, next.Sub(slot)/10)
		}
		if at := slot.Add(time.Duration(c.seed % uint64(window)).Truncate(time.Second)); at.After(after) {
			return at.UTC()
		}
		slot = next
	}
	return time.Time{}
}

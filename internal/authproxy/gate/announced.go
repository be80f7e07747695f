package gate

import (
	"sync"
	"time"
)

const (
	// announcedFor is for how long a mark is known: a verification takes seconds.
	announcedFor = 2 * time.Minute
	// mostAnnounced is how many marks are known at once; each is of one verification.
	mostAnnounced = 8
)

// announced are the marks of verifications: the trace ids that the operator, authenticated by its certificate, its key or its token, has sent. What
// then carries such an id is the operator's attack and nobody's: it is in the audit log as any other, but no alert is to wake
// people for it, and it is not held against whoever shares the operator's address. A trace id has 128 random bits that only the
// operator and the audit log know, and grants nothing.
type announced struct {
	mutex sync.Mutex
	marks []announcement
}

type announcement struct {
	id   string
	from time.Time
}

// add takes note of a mark.
func (a *announced) add(id string, now time.Time) {
	if id == "" {
		return
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, m := range a.marks {
		if m.id == id {
			return // known since the first time, so that it ends
		}
	}
	if len(a.marks) == mostAnnounced {
		a.marks = append(a.marks[:0], a.marks[1:]...)
	}
	a.marks = append(a.marks, announcement{id, now})
}

// has says whether a mark is one that was announced not long ago.
func (a *announced) has(id string, now time.Time) bool {
	if id == "" {
		return false
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, m := range a.marks {
		if m.id == id && now.Sub(m.from) < announcedFor {
			return true
		}
	}
	return false
}

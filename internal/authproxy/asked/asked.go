// Package asked remembers which requests of the server are under way to clients, so that a client answers what it was asked,
// in its own session, once.
package asked

import (
	"sync"
	"time"
)

const (
	// keep is how long an answer may take.
	keep = time.Hour
	// maxSession, maxPrincipal and maxAll bound the requests under way.
	maxSession   = 64
	maxPrincipal = 1024
	maxAll       = 1 << 14
)

// Session is whom the server asks.
type Session struct {
	// Principal is the name of who opened the session, ID the server's own id of it.
	Principal, ID string
}

// Table is the requests under way. Its zero value is ready for use.
type Table struct {
	mu       sync.Mutex
	sessions map[Session]map[string]time.Time
	held     map[string]int
	all      int
}

// Add notes a request by its id as a raw JSON token, and says whether there is room for it. One that is known is noted anew: a
// resumed stream repeats it.
func (t *Table) Add(s Session, id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions, t.held = map[Session]map[string]time.Time{}, map[string]int{}
	}
	if _, known := t.sessions[s][id]; !known {
		if !t.room(s) {
			t.forgetOld(now)
			if !t.room(s) {
				return false
			}
		}
		if t.sessions[s] == nil {
			t.sessions[s] = map[string]time.Time{}
		}
		t.held[s.Principal]++
		t.all++
	}
	t.sessions[s][id] = now
	return true
}

func (t *Table) room(s Session) bool {
	return len(t.sessions[s]) < maxSession && t.held[s.Principal] < maxPrincipal && t.all < maxAll
}

// Take says whether a request is under way, and ends it.
func (t *Table) Take(s Session, id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.sessions[s][id]
	if ok {
		t.remove(s, id)
	}
	return ok && now.Sub(at) < keep
}

// End forgets a session.
func (t *Table) End(s Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.sessions[s] {
		t.remove(s, id)
	}
}

func (t *Table) forgetOld(now time.Time) {
	for s, ids := range t.sessions {
		for id, at := range ids {
			if now.Sub(at) >= keep {
				t.remove(s, id)
			}
		}
	}
}

func (t *Table) remove(s Session, id string) {
	delete(t.sessions[s], id)
	if len(t.sessions[s]) == 0 {
		delete(t.sessions, s)
	}
	t.all--
	if t.held[s.Principal]--; t.held[s.Principal] == 0 {
		delete(t.held, s.Principal)
	}
}

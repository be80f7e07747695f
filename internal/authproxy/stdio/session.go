package stdio

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

// maxSessions bounds the legacy sessions of one principal.
const maxSessions = 64

var errSessions = errors.New("too many sessions of one caller")

// session is a legacy session of one principal with one child.
type session struct {
	id, principal string
	child         *child
	// stream has what the child tells or asks outside of any call.
	stream *mailbox
	// listening says that a caller reads the stream; used is when the session was used last. Both are guarded by the child's mu.
	listening bool
	used      time.Time
}

// sessions are the sessions of all children.
type sessions struct {
	mu   sync.Mutex
	byID map[string]*session
	of   map[string]int
}

func newSessions() *sessions { return &sessions{byID: map[string]*session{}, of: map[string]int{}} }

// begin makes a session with a child.
func (t *sessions) begin(principal string, c *child) (*session, error) {
	s := &session{id: rand.Text(), principal: principal, child: c, stream: newMailbox(), used: time.Now()}
	t.mu.Lock()
	if t.of[principal] >= maxSessions {
		t.mu.Unlock()
		return nil, errSessions
	}
	t.byID[s.id] = s
	t.of[principal]++
	t.mu.Unlock()
	c.mu.Lock()
	gone := c.gone
	if !gone {
		c.sessions[s] = struct{}{}
	}
	c.mu.Unlock()
	if gone {
		t.end(s)
		return nil, errGone
	}
	return s, nil
}

// find is the session of an id, for the principal that began it; nil for everybody else, and when its child is gone.
func (t *sessions) find(principal, id string) *session {
	t.mu.Lock()
	s := t.byID[id]
	t.mu.Unlock()
	if s == nil || s.principal != principal {
		return nil
	}
	s.child.mu.Lock()
	defer s.child.mu.Unlock()
	if s.child.gone {
		return nil
	}
	s.used = time.Now()
	return s
}

// end ends a session: what the child asked it nobody answers any more.
func (t *sessions) end(s *session) {
	t.mu.Lock()
	if t.byID[s.id] != s {
		t.mu.Unlock()
		return
	}
	delete(t.byID, s.id)
	if t.of[s.principal]--; t.of[s.principal] == 0 {
		delete(t.of, s.principal)
	}
	t.mu.Unlock()
	c := s.child
	c.mu.Lock()
	delete(c.sessions, s)
	var open []string
	for id, asked := range c.asked {
		if asked == s {
			open = append(open, id)
			delete(c.asked, id)
		}
	}
	c.mu.Unlock()
	s.stream.end(nil, 0)
	for _, id := range open {
		c.refuse([]byte(id))
	}
}

// endAll ends the sessions of a child that is gone.
func (t *sessions) endAll(c *child) {
	t.mu.Lock()
	var all []*session
	for _, s := range t.byID {
		if s.child == c {
			all = append(all, s)
		}
	}
	t.mu.Unlock()
	for _, s := range all {
		t.end(s)
	}
}

// works says whether the child works on a call of a session. c.mu is held.
func (c *child) works(s *session) bool {
	for _, k := range c.calls {
		if k.session == s {
			return true
		}
	}
	return false
}

// stale ends the sessions that nobody has used since a time, and that nobody listens to.
func (t *sessions) stale(since time.Time) {
	t.mu.Lock()
	var all []*session
	for _, s := range t.byID {
		s.child.mu.Lock()
		if !s.listening && s.used.Before(since) && !s.child.works(s) {
			all = append(all, s)
		}
		s.child.mu.Unlock()
	}
	t.mu.Unlock()
	for _, s := range all {
		t.end(s)
	}
}

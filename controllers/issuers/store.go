// Package issuers fetches the public keys of token issuers, keeps the last good ones, and looks for new ones before they are
// needed. Gates dial nobody: what it finds reaches them with their configuration.
package issuers

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// Times are when an issuer is asked again.
type Times struct {
	// Interval is the time between fetches, as long as all is well; up to a quarter more, so that not all are at once.
	Interval time.Duration
	// Retry is the time after the first failure. It doubles with each, up to Interval.
	Retry time.Duration
	// Unknown is the shortest time between fetches for want of a key: anybody can make one up.
	Unknown time.Duration
}

// DefaultTimes are those of an operator. Issuers publish keys ahead of use, by hours or days.
var DefaultTimes = Times{Interval: 5 * time.Minute, Retry: 5 * time.Second, Unknown: 30 * time.Second}

const (
	// concurrency bounds the fetches under way.
	concurrency = 16
	// maxSources bounds the sources that are remembered.
	maxSources = 4096
	// skew is how far a gate's clock may be behind.
	skew = 30 * time.Second
)

// State is what is known of a source.
type State struct {
	// Keys are the last good ones, as of the time At; nil when there never were any.
	Keys *manifests.IssuerKeys
	At   time.Time
	// Problem is why the last fetch failed; nil when it did not.
	Problem *Problem
	// Asked says whether there was a fetch at all.
	Asked bool
	// Next is when to look at the source again.
	Next time.Time
}

// Store knows the keys of all sources.
type Store struct {
	fetcher Fetcher
	times   Times
	now     func() time.Time
	// wake is told which server has to be looked at because something changed.
	wake  func(types.NamespacedName)
	slots *semaphore.Weighted
	ctx   context.Context

	mu      sync.Mutex
	sources map[manifests.KeySource]*entry
}

type entry struct {
	state    State
	users    map[types.NamespacedName]bool
	fetching bool
	began    time.Time
	failures int
}

// New returns a Store that fetches until the context ends.
func New(ctx context.Context, fetcher Fetcher, times Times, now func() time.Time, wake func(types.NamespacedName)) *Store {
	return &Store{
		fetcher: fetcher, times: times, now: now, wake: wake, ctx: ctx, slots: semaphore.NewWeighted(concurrency),
		sources: map[manifests.KeySource]*entry{},
	}
}

// Get returns what is known of a source and has it fetched if it is time. It does not wait: the user is woken when more is
// known.
func (s *Store) Get(from manifests.KeySource, user types.NamespacedName) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sources[from]
	if e == nil {
		if len(s.sources) >= maxSources {
			return State{Problem: &Problem{ReasonUnreachable, "oidc.issuer", "there are more issuers than the operator remembers"}, Next: s.now().Add(s.times.Interval)}
		}
		e = &entry{users: map[types.NamespacedName]bool{}, state: State{Next: s.now()}}
		s.sources[from] = e
	}
	e.users[user] = true
	if !s.now().Before(e.state.Next) {
		s.fetch(from, e)
	}
	return e.state
}

// Unknown tells of a key that a gate did not know, at a time by the gate's clock.
func (s *Store) Unknown(from manifests.KeySource, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sources[from]
	if e == nil || !at.Add(skew).After(e.began) || s.now().Sub(e.began) < s.times.Unknown {
		return
	}
	s.fetch(from, e)
}

// Keep forgets what the user does not use any more.
func (s *Store) Keep(user types.NamespacedName, used []manifests.KeySource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[manifests.KeySource]bool{}
	for _, from := range used {
		keep[from] = true
	}
	for from, e := range s.sources {
		if !e.users[user] || keep[from] {
			continue
		}
		if delete(e.users, user); len(e.users) == 0 {
			delete(s.sources, from)
		}
	}
}

// fetch begins a fetch, unless one is under way. The lock is held.
func (s *Store) fetch(from manifests.KeySource, e *entry) {
	if e.fetching || s.ctx.Err() != nil {
		return
	}
	e.fetching, e.began = true, s.now()
	go func() {
		if s.slots.Acquire(s.ctx, 1) != nil {
			return
		}
		keys, err := s.fetcher.Fetch(s.ctx, from)
		s.slots.Release(1)
		for _, user := range s.done(e, keys, err) {
			s.wake(user)
		}
	}()
}

// done takes in the outcome of a fetch and returns whom it concerns.
func (s *Store) done(e *entry, keys manifests.IssuerKeys, err error) (concerned []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	before := e.state
	e.fetching, e.state.Asked = false, true
	if err == nil {
		e.failures = 0
		e.state.Problem, e.state.At = nil, now
		if e.state.Keys == nil || !reflect.DeepEqual(*e.state.Keys, keys) {
			e.state.Keys = &keys
		}
		e.state.Next = now.Add(s.times.Interval + rand.N(s.times.Interval/4+1)) //nolint:gosec // no secret
	} else {
		var problem *Problem
		if !errors.As(err, &problem) {
			problem = &Problem{ReasonUnreachable, "oidc.issuer", "it cannot be asked"}
		}
		e.state.Problem = problem
		wait := min(s.times.Retry<<min(e.failures, 10), s.times.Interval)
		e.state.Next = now.Add(wait + rand.N(wait/4+1)) //nolint:gosec // no secret
		e.failures++
	}
	if before.Asked && before.Keys == e.state.Keys && reflect.DeepEqual(before.Problem, e.state.Problem) {
		return nil
	}
	for user := range e.users {
		concerned = append(concerned, user)
	}
	return concerned
}

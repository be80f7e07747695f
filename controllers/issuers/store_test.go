package issuers_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

var quiet = log.New(io.Discard, "", 0)

// source is an issuer that a test plays.
type source struct {
	mu    sync.Mutex
	keys  []gateconfig.TokenKey
	err   error
	asked int
	wait  time.Duration
}

func (s *source) Fetch(ctx context.Context, from manifests.KeySource) (manifests.IssuerKeys, error) {
	s.mu.Lock()
	keys, err, wait := s.keys, s.err, s.wait
	s.asked++
	s.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	return manifests.IssuerKeys{Issuer: from.Issuer, Keys: keys}, err
}

func (s *source) set(err error, ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.keys = err, nil
	for _, id := range ids {
		s.keys = append(s.keys, gateconfig.TokenKey{ID: id})
	}
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

var (
	one  = types.NamespacedName{Namespace: "a", Name: "one"}
	two  = types.NamespacedName{Namespace: "a", Name: "two"}
	corp = manifests.KeySource{Type: "OIDC", Issuer: "https://corp.example"}
	down = &issuers.Problem{Reason: issuers.ReasonUnreachable, Field: "oidc.issuer", Text: "down"}
)

// users collects whom a Store wakes.
type users struct {
	mu    sync.Mutex
	woken []string
}

func (u *users) wake(name types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.woken = append(u.woken, name.Name)
}

func (u *users) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	woken := u.woken
	u.woken = nil
	return woken
}

func keyIDs(state issuers.State) string {
	if state.Keys == nil {
		return "none"
	}
	text := ""
	for _, key := range state.Keys.Keys {
		text += key.ID
	}
	return text
}

// TestStore follows an issuer through its life, by a clock of its own.
func TestStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		from, woken := &source{}, &users{}
		from.set(nil, "1")
		store := issuers.New(ctx, from, issuers.DefaultTimes, time.Now, woken.wake)
		// look is what a server sees when it looks whenever it is told to, for a while.
		look := func(d time.Duration) issuers.State {
			t.Helper()
			end := time.Now().Add(d)
			for time.Now().Before(end) {
				_ = store.Get(corp, one)
				time.Sleep(time.Second)
			}
			synctest.Wait()
			return store.Get(corp, one)
		}
		expect := func(step string, state issuers.State, keys string, problem bool, fetches int) {
			t.Helper()
			if keyIDs(state) != keys || (state.Problem != nil) != problem || from.count() != fetches {
				t.Errorf("%s: keys %s, problem %v, %d fetches; want %s, %t, %d", step, keyIDs(state), state.Problem, from.count(), keys, problem, fetches)
			}
		}
		if state := store.Get(corp, one); state.Asked || state.Keys != nil {
			t.Errorf("at once: %+v", state)
		}
		expect("first", look(time.Second), "1", false, 1)
		if got := woken.take(); len(got) != 1 || got[0] != "one" {
			t.Errorf("woken: %v", got)
		}
		expect("a second server", func() issuers.State { return store.Get(corp, two) }(), "1", false, 1)
		expect("within the interval", look(4*time.Minute), "1", false, 1)
		expect("after the interval", look(3*time.Minute), "1", false, 2)
		if got := woken.take(); got != nil {
			t.Errorf("woken for nothing: %v", got)
		}
		// A new key, published ahead of its use.
		from.set(nil, "1", "2")
		expect("a new key", look(7*time.Minute), "12", false, 3)
		if got := woken.take(); len(got) != 2 {
			t.Errorf("woken for a new key: %v", got)
		}
		// Down: the last good keys are kept, and the issuer is asked less and less often.
		from.set(down)
		before := from.count()
		state := look(30 * time.Minute)
		if keyIDs(state) != "12" || state.Problem != down {
			t.Errorf("down: %+v", state)
		}
		if n := from.count() - before; n < 8 || n > 20 {
			t.Errorf("down for half an hour: asked %d times", n)
		}
		if got := woken.take(); len(got) != 2 {
			t.Errorf("woken by one outage: %v", got)
		}
		from.set(nil, "3")
		expect("up again", look(7*time.Minute), "3", false, from.count())
		// Forgotten when nobody uses it.
		store.Keep(one, nil)
		store.Keep(two, nil)
		if state := store.Get(corp, one); state.Asked || state.Keys != nil {
			t.Errorf("forgotten: %+v", state)
		}
		synctest.Wait()
	})
}

// TestUnknownKeysAreLookedFor: a key that a gate does not know is looked for at once, and not more often than is decent.
func TestUnknownKeysAreLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		from := &source{}
		from.set(nil, "1")
		store := issuers.New(ctx, from, issuers.DefaultTimes, time.Now, func(types.NamespacedName) {})
		store.Unknown(corp, time.Now()) // of no known source
		_ = store.Get(corp, one)
		synctest.Wait()
		time.Sleep(time.Minute)
		from.set(nil, "1", "2")
		seen := time.Now()
		store.Unknown(corp, seen)
		synctest.Wait()
		if state := store.Get(corp, one); keyIDs(state) != "12" || from.count() != 2 {
			t.Errorf("%s after %d fetches", keyIDs(state), from.count())
		}
		// The gates report the same sighting again and again, and an attacker makes new ones.
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			store.Unknown(corp, time.Now())
			store.Unknown(corp, seen)
			synctest.Wait()
		}
		if n := from.count(); n > 4 {
			t.Errorf("asked %d times within a minute", n)
		}
		time.Sleep(time.Minute)
		before := from.count()
		store.Unknown(corp, seen)
		synctest.Wait()
		if from.count() != before {
			t.Error("an old sighting has the issuer asked again")
		}
	})
}

// TestManySources: slow issuers do not keep one another waiting for long, and each has its own keys.
func TestManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		from := &source{wait: 10 * time.Second}
		from.set(nil, "1")
		store := issuers.New(ctx, from, issuers.DefaultTimes, time.Now, func(types.NamespacedName) {})
		for i := range 5000 {
			_ = store.Get(manifests.KeySource{Issuer: fmt.Sprintf("https://%d.example", i)}, one)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := from.count(); n < 5*16 || n > 7*16 {
			t.Errorf("%d fetches in a minute, 16 at once of 10 seconds each", n)
		}
		if state := store.Get(manifests.KeySource{Issuer: "https://4999.example"}, one); state.Problem == nil {
			t.Errorf("more sources than are remembered: %+v", state)
		}
		cancel()
		synctest.Wait()
	})
}

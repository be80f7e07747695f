package fresh

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAsk: however many ask, one question about a key is under way at a time, and no answer is older than its question.
func TestAsk(t *testing.T) {
	var g Group[string, int64]
	var now, asked, underWay atomic.Int64
	const many, times = 50, 100
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			for range times {
				called := now.Add(1)
				got, err := g.Ask(t.Context(), "a", func() (int64, error) {
					if underWay.Add(1) > 1 {
						t.Error("two questions at a time")
					}
					defer underWay.Add(-1)
					asked.Add(1)
					return now.Load(), nil
				})
				if err != nil || got < called {
					t.Errorf("called at %d, the answer is of %d (%v)", called, got, err)
				}
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n >= many*times {
		t.Errorf("%d questions for %d calls: nothing was shared", n, many*times)
	}
	for left := 1; left > 0; runtime.Gosched() { // until the test's own limit
		g.mutex.Lock()
		left = len(g.next) + len(g.busy)
		g.mutex.Unlock()
	}
}

func TestAskGivesUp(t *testing.T) {
	var g Group[string, int]
	finish, begun := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		if got, err := g.Ask(t.Context(), "a", func() (int, error) { close(begun); <-finish; return 1, nil }); got != 1 || err != nil {
			t.Errorf("%d, %v", got, err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Ask(ctx, "a", func() (int, error) { return 2, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
	if got, err := g.Ask(t.Context(), "b", func() (int, error) { return 3, errors.New("no") }); got != 3 || err == nil {
		t.Errorf("another key: %d, %v", got, err)
	}
	close(finish)
	first.Wait()
}

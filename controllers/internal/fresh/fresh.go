// Package fresh has those who ask the same share an answer that is not older than their question.
package fresh

import (
	"context"
	"sync"
)

// Group asks one question about each key at a time. Its zero value is ready for use.
type Group[K comparable, V any] struct {
	mutex sync.Mutex
	// next are the questions that are asked next, with all who wait for them.
	next map[K]*question[V]
	// busy are the keys about which a question is being asked.
	busy map[K]bool
}

type question[V any] struct {
	ask      func() (V, error)
	answered chan struct{}
	answer   V
	err      error
}

// Ask returns an answer to a question that was asked after the call: one's own, or that of somebody who called before it was
// asked. It is not asked again for who gave up. The answer is everybody's, and not to be changed.
func (g *Group[K, V]) Ask(ctx context.Context, key K, ask func() (V, error)) (V, error) {
	q := g.join(key, ask)
	select {
	case <-q.answered:
		return q.answer, q.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (g *Group[K, V]) join(key K, ask func() (V, error)) *question[V] {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.next == nil {
		g.next, g.busy = map[K]*question[V]{}, map[K]bool{}
	}
	if g.next[key] == nil {
		g.next[key] = &question[V]{ask: ask, answered: make(chan struct{})}
	}
	if !g.busy[key] {
		g.busy[key] = true
		go g.work(key)
	}
	return g.next[key]
}

// work asks until nobody waits for another answer.
func (g *Group[K, V]) work(key K) {
	for {
		g.mutex.Lock()
		q := g.next[key]
		delete(g.next, key)
		if q == nil {
			delete(g.busy, key)
			g.mutex.Unlock()
			return
		}
		g.mutex.Unlock()
		q.answer, q.err = q.ask()
		close(q.answered)
	}
}

package gate

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

const (
	// orphanTime and maxOrphans bound the calls whose client went away without cancelling them.
	orphanTime = 5 * time.Minute
	maxOrphans = 64
)

// standing says whether the answer is a stream that would not end by itself.
func (x *exchange) standing() bool {
	return x.r.Method == http.MethodGet || (x.message != nil && x.message.Method == "subscriptions/listen")
}

// calls are the calls that are being answered. They are told when the configuration is replaced and when the gate ends: a
// goroutine that waits for that would cost each call more than its verdict.
type calls struct {
	mu   sync.Mutex
	open map[*exchange]struct{}
}

// watch ends the call when its credential ends, leaves the configuration or loses the right to it, or when the server takes too
// long for its answer, and a stream that would not end by itself when the gate does. The returned function ends watching.
func (g *Gate) watch(x *exchange) func() {
	if within := x.config.Limits.AnswerWithinSeconds; within > 0 && !x.standing() {
		x.late = time.Now().Add(time.Duration(within) * time.Second)
	}
	x.ends = time.AfterFunc(x.left(x.principal.NotAfter), func() { x.ctx.end(x.over()) })
	g.calls.mu.Lock()
	g.calls.open[x] = struct{}{}
	g.calls.mu.Unlock()
	// What was replaced, or ended, before it was known here is not told again.
	if g.life.Err() != nil {
		x.ctx.end(context.Canceled)
	}
	if current, _ := g.store.Current(); current != x.config {
		g.judgeAgain(x)
	}
	select {
	case <-g.drain.Closed():
		if x.standing() {
			x.ctx.end(errDraining)
		}
	default:
	}
	return func() {
		g.calls.mu.Lock()
		delete(g.calls.open, x)
		g.calls.mu.Unlock()
		x.ends.Stop()
	}
}

// each calls a function for each call that is being answered.
func (c *calls) each(do func(*exchange)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for x := range c.open {
		do(x)
	}
}

// judgeAgain ends the call if the configuration in force does not allow it.
func (g *Gate) judgeAgain(x *exchange) {
	current, _ := g.store.Current()
	now := time.Now()
	p, failure := identity.Authenticate(x.r, current, now, nil)
	if failure != "" || p.Name() != x.principal.Name() || !p.Grants(current).Decide(judged(x.judged), now, nil).Allowed {
		x.ctx.end(errRevoked)
		return
	}
	// A credential that ends later, or sooner, by what is in force now.
	x.ends.Reset(x.left(p.NotAfter))
}

// left is how long the call may still take with a credential that ends at a time.
func (x *exchange) left(notAfter time.Time) time.Duration {
	left := time.Until(notAfter)
	if !x.late.IsZero() {
		left = min(left, time.Until(x.late))
	}
	return left
}

// over is why the call ends after the time that was left.
func (x *exchange) over() *message.Error {
	if !x.late.IsZero() && !time.Now().Before(x.late) {
		return errLate
	}
	return errRevoked
}

// watchAll tells calls about what happens to all of them, until the context ends.
func (g *Gate) watchAll(ctx context.Context) {
	closed := g.drain.Closed()
	_, replaced := g.store.Current()
	for {
		select {
		case <-ctx.Done():
			return
		case <-closed:
			closed = nil
			g.calls.each(func(x *exchange) {
				if x.standing() {
					x.ctx.end(errDraining)
				}
			})
		case <-replaced:
			_, replaced = g.store.Current()
			g.calls.each(g.judgeAgain)
		}
	}
}

// follow does for the call what its client's going away asks for: in the stateless revisions it is a cancel, and a GET
// has no call; a legacy call goes on, within bounds. The returned function ends following.
func (g *Gate) follow(x *exchange) func() {
	// Buffered for the one value that is ever sent.
	orphan := make(chan *time.Timer, 1)
	stop := context.AfterFunc(x.r.Context(), func() {
		legacyCall := x.r.Method != http.MethodGet && (x.message == nil || !x.message.Modern())
		if !legacyCall || g.orphans.Add(1) > maxOrphans {
			if legacyCall {
				g.orphans.Add(-1)
			}
			x.ctx.end(errGone)
			orphan <- nil
			return
		}
		orphan <- time.AfterFunc(orphanTime, func() { x.ctx.end(errGone) })
	})
	return func() {
		if stop() {
			return
		}
		if timer := <-orphan; timer != nil {
			timer.Stop()
			g.orphans.Add(-1)
		}
	}
}

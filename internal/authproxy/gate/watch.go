package gate

import (
	"context"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
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

// watch ends the call when its credential ends, leaves the configuration or loses the right to it, and a stream that
// would not end by itself when the gate does.
func (x *exchange) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	var closed <-chan struct{}
	if x.standing() {
		closed = x.gate.drain.Closed()
	}
	replaced := x.replaced
	ends := time.NewTimer(time.Until(x.principal.NotAfter))
	defer ends.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-closed:
			cancel(errDraining)
			return
		case <-ends.C:
			cancel(errRevoked)
			return
		case <-replaced:
			g, next := x.gate.store.Current()
			now := time.Now()
			p, failure := identity.Authenticate(x.r, g, now, nil)
			if failure != "" || p.Name() != x.principal.Name() || !decide(g, p, x.judged, now, nil).Allowed {
				cancel(errRevoked)
				return
			}
			replaced = next
			ends.Reset(time.Until(p.NotAfter))
		}
	}
}

// follow does for the call what its client's going away asks for: in the stateless revisions it is a cancel, and a GET
// has no call; a legacy call goes on, within bounds. The returned function ends following.
func (g *Gate) follow(x *exchange, cancel context.CancelCauseFunc) func() {
	// Buffered for the one value that is ever sent.
	orphan := make(chan *time.Timer, 1)
	stop := context.AfterFunc(x.r.Context(), func() {
		legacyCall := x.r.Method != http.MethodGet && (x.message == nil || !x.message.Modern())
		if !legacyCall || g.orphans.Add(1) > maxOrphans {
			if legacyCall {
				g.orphans.Add(-1)
			}
			cancel(errGone)
			orphan <- nil
			return
		}
		orphan <- time.AfterFunc(orphanTime, func() { cancel(errGone) })
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

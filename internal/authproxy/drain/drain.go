// Package drain ends the gate's work without dropping a request: first it is not ready but still serves, then it takes
// no new work, then the last request is done. docs/shutdown.md draws the timeline of a pod.
package drain

import (
	"sync"
	"time"
)

// Drain is the progress of one drain.
type Drain struct {
	accept time.Duration
	once   sync.Once
	begun  chan struct{}
	closed chan struct{}
	done   chan struct{}
}

// New returns a Drain that has not begun. Once it has, new work is still accepted for the given time.
func New(accept time.Duration) *Drain {
	return &Drain{accept: accept, begun: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{})}
}

// Begin begins the drain, once: when new work must end, refuse is called, which closes the listener, and then last, which
// returns when the last request is done. What ends in between, and whoever connects again for it, finds nobody here.
func (d *Drain) Begin(refuse, last func()) {
	d.once.Do(func() {
		close(d.begun)
		go func() {
			time.Sleep(d.accept)
			refuse()
			close(d.closed)
			last()
			close(d.done)
		}()
	})
}

// Draining says whether the drain has begun.
func (d *Drain) Draining() bool {
	select {
	case <-d.begun:
		return true
	default:
		return false
	}
}

// Closed is closed when no new work is accepted; what would never end by itself must end then.
func (d *Drain) Closed() <-chan struct{} { return d.closed }

// Done is closed when the last request is done, or was given up.
func (d *Drain) Done() <-chan struct{} { return d.done }

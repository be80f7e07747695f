package gate

import (
	"context"
	"slices"
	"sync"
)

// callContext is the context of a call to the server, without deadline or values. It ends once, and its error is the cause. The
// context package's own make ten objects and two maps for a call, of which hardly any ends before its answer.
type callContext struct {
	context.Context

	mu    sync.Mutex
	cause error
	// done is made when somebody asks for it, after are the functions that wait for the end.
	done  chan struct{}
	after []*func()
}

// end ends the context, for the first cause that there is.
func (c *callContext) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	if c.done != nil {
		close(c.done)
	}
	for _, f := range c.after {
		go (*f)()
	}
	c.after = nil
}

// Err is the cause of the end; nil before it.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Done is closed with the end.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.cause != nil {
			close(c.done)
		}
	}
	return c.done
}

// AfterFunc is context.AfterFunc, which uses it for the contexts that are made of this one.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		go f()
		return func() bool { return false }
	}
	c.after = append(c.after, &f)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, &f)
		if i >= 0 {
			c.after = slices.Delete(c.after, i, i+1)
		}
		return i >= 0
	}
}

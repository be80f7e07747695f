package gate

import (
	"context"
	"errors"
	"testing"
)

// TestCallContext: what waits for its end is told once, with the first cause; what stopped waiting is not.
func TestCallContext(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	c := &callContext{Context: context.Background()}
	told, stopped := make(chan struct{}, 2), make(chan struct{}, 2)
	c.AfterFunc(func() { told <- struct{}{} })
	if stop := context.AfterFunc(c, func() { stopped <- struct{}{} }); !stop() || stop() {
		t.Error("a function that waits can be stopped once")
	}
	child, cancel := context.WithCancel(c)
	defer cancel()
	if c.Err() != nil || child.Err() != nil {
		t.Fatalf("it ended before its end: %v, %v", c.Err(), child.Err())
	}
	c.end(first)
	c.end(second)
	<-told
	<-c.Done()
	<-child.Done()
	if context.Cause(c) != first || context.Cause(child) != first {
		t.Errorf("the cause is %v, of its child %v", context.Cause(c), context.Cause(child))
	}
	late := make(chan struct{})
	if stop := c.AfterFunc(func() { close(late) }); stop() {
		t.Error("what comes after the end cannot be stopped")
	}
	<-late
	if len(told) != 0 || len(stopped) != 0 {
		t.Error("something was told twice, or after it was stopped")
	}
	ended := &callContext{Context: context.Background()}
	ended.end(first)
	<-ended.Done()
}

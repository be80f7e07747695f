package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// forwardSpec is the part that carries connections from a port of the host's loopback to the API server in the namespace.
func (c *Cluster) forwardSpec() process.Spec {
	return process.Spec{Name: "forward", Path: self, Args: []string{"forward", "--dir", c.Dir}}
}

// Forward carries connections until ctx ends.
func (c *Cluster) Forward(ctx context.Context) error {
	if err := c.Open(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", strings.TrimPrefix(c.state.Server, "https://"))
	if err != nil {
		return err
	}
	dial, err := dialerInside(fmt.Sprintf("/proc/%d/ns/net", c.member()), strings.TrimPrefix(innerServer, "https://"))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := dial()
			if err != nil {
				return
			}
			defer server.Close()
			carry(client.(*net.TCPConn), server.(*net.TCPConn))
		}()
	}
}

// carry copies both ways; the end of one direction is passed on, as each side may close its own.
func carry(a, b *net.TCPConn) {
	var both sync.WaitGroup
	copyOne := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			_ = to.SetLinger(0) // an error is passed on as a reset
			to.Close()
			return
		}
		_ = to.CloseWrite()
	}
	both.Go(func() { copyOne(a, b) })
	both.Go(func() { copyOne(b, a) })
	both.Wait()
}

// dialerInside returns a function that connects to an address in another network namespace. A socket belongs to the namespace of the thread that
// makes it, so one thread enters the namespace for good and makes them all.
func dialerInside(namespace, address string) (func() (net.Conn, error), error) {
	type result struct {
		conn net.Conn
		err  error
	}
	requests := make(chan chan result)
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: this thread must serve nothing else
		handle, err := os.Open(namespace)
		if err == nil {
			err = unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
			handle.Close()
		}
		entered <- err
		if err != nil {
			return
		}
		for request := range requests {
			conn, err := net.Dial("tcp", address)
			request <- result{conn, err}
		}
	}()
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("entering the testbed's network namespace: %w", err)
	}
	return func() (net.Conn, error) {
		answer := make(chan result, 1)
		requests <- answer
		r := <-answer
		return r.conn, r.err
	}, nil
}

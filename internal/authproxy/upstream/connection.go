package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// bufferSize is how much of an answer is read at once.
	bufferSize = 4 << 10
	// maxInline bounds the requests that are written as a whole before anything is read, in bytes: so much always fits into a
	// socket's buffer. A longer one is written while its answer may already come.
	maxInline = 16 << 10
	// maxKeptBuffer bounds what a connection keeps for its next request, in bytes.
	maxKeptBuffer = 4 << 10
	// writtenTimeout bounds the wait for the rest of a request that has been answered.
	writtenTimeout = 50 * time.Millisecond
	// maxInformational bounds the interim answers (1xx) before an answer.
	maxInformational = 5
)

var errHead = errors.New("the head of the answer is too long")

// connection is one to the server. It is used for one request at a time, and again only after an answer that was framed by a
// length or by chunks and was read to its end.
type connection struct {
	net.Conn
	reader *bufio.Reader
	// limit is how much may still be read of a head; negative for no limit.
	limit int64
	// buffer is for the next request.
	buffer []byte
	// raw and quiet find out whether the server closed the connection or said something that nobody asked for.
	raw   syscall.RawConn
	quiet func(fd uintptr) bool
	alive bool
	// since is when it was last used.
	since time.Time
}

func newConnection(conn net.Conn) *connection {
	c := &connection{Conn: conn, limit: -1}
	c.reader = bufio.NewReaderSize(c, bufferSize)
	if with, ok := conn.(syscall.Conn); ok {
		c.raw, _ = with.SyscallConn()
	}
	c.quiet = func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		c.alive = errors.Is(err, syscall.EAGAIN)
		return true
	}
	return c
}

// Read reads within the limit.
func (c *connection) Read(p []byte) (int, error) {
	if c.limit < 0 {
		return c.Conn.Read(p)
	}
	if c.limit == 0 {
		return 0, errHead
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.limit)])
	c.limit -= int64(n)
	return n, err
}

// usable says whether a connection that waits for a request is as it was left.
func (c *connection) usable(now time.Time) bool {
	if now.Sub(c.since) > idleTimeout || c.reader.Buffered() > 0 {
		return false
	}
	if c.raw == nil {
		return true
	}
	c.alive = false
	return c.raw.Read(c.quiet) == nil && c.alive
}

// answer reads the head of the final answer.
func (c *connection) answer(verb string) (*http.Response, error) {
	asked := &http.Request{Method: verb}
	c.limit = maxResponseHeader
	for range maxInformational + 1 {
		response, err := http.ReadResponse(c.reader, asked)
		if err != nil {
			return nil, err
		}
		if code := response.StatusCode; code < 100 || code >= 200 || code == http.StatusSwitchingProtocols {
			c.limit = -1
			return response, nil
		}
	}
	return nil, errHead
}

// pool are the connections that wait for a request, the one used last at the end.
type pool struct {
	mu     sync.Mutex
	idle   map[string][]*connection
	n      int
	sweeps bool
	closed bool
}

// get takes a connection that can be used; nil when there is none.
func (p *pool) get(address string, now time.Time) *connection {
	for {
		p.mu.Lock()
		waiting := p.idle[address]
		if len(waiting) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := waiting[len(waiting)-1]
		waiting[len(waiting)-1] = nil
		p.idle[address] = waiting[:len(waiting)-1]
		p.n--
		p.mu.Unlock()
		if c.usable(now) {
			return c
		}
		_ = c.Close()
	}
}

// put gives a connection back.
func (p *pool) put(address string, c *connection) {
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.n >= maxIdle {
		_ = c.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[string][]*connection{}
	}
	p.idle[address] = append(p.idle[address], c)
	p.n++
	if !p.sweeps {
		p.sweeps = true
		time.AfterFunc(idleTimeout, p.sweep)
	}
}

// sweep closes the connections that wait for too long.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for address, waiting := range p.idle {
		old := 0
		for old < len(waiting) && now.Sub(waiting[old].since) > idleTimeout {
			_ = waiting[old].Close()
			old++
		}
		p.n -= old
		if old == len(waiting) {
			delete(p.idle, address)
			continue
		}
		p.idle[address] = append(waiting[:0:0], waiting[old:]...)
	}
	if p.sweeps = p.n > 0; p.sweeps {
		time.AfterFunc(idleTimeout, p.sweep)
	}
}

// close closes those that wait, and those that are given back from now on.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, waiting := range p.idle {
		for _, c := range waiting {
			_ = c.Close()
		}
	}
	p.idle, p.n = nil, 0
}

// exchange is one request on a connection. It is the body of the answer: read to its end it gives the connection back, and
// closed before that it closes it.
type exchange struct {
	pool     *pool
	address  string
	c        *connection
	response *http.Response
	body     io.Reader
	// stop ends the closing of the connection with the context.
	stop func() bool
	// written has the error of a request that is written while its answer comes; nil for one that is written before.
	written chan error
	over    atomic.Bool
}

// begin writes the request, whose head is in the connection's buffer, and reads the head of the answer. Nothing says that
// nothing was written.
func (x *exchange) begin(ctx context.Context, verb string, body []byte) (nothing bool, err error) {
	c := x.c
	x.stop = afterFunc(ctx, func() { _ = c.Close() })
	if len(c.buffer)+len(body) <= maxInline {
		c.buffer = append(c.buffer, body...)
		n, err := c.Write(c.buffer)
		if err != nil {
			return n == 0, err
		}
	} else {
		x.written = make(chan error, 1)
		parts := net.Buffers{c.buffer, body}
		go func() {
			_, err := parts.WriteTo(c.Conn)
			x.written <- err
		}()
	}
	x.response, err = c.answer(verb) //nolint:bodyclose // the caller has it
	return false, err
}

// afterFunc is context.AfterFunc, at the context itself where that has it: the package would make three objects more.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if own, ok := ctx.(interface{ AfterFunc(f func()) func() bool }); ok {
		return own.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// Read reads the answer's body.
func (x *exchange) Read(p []byte) (int, error) {
	if x.over.Load() {
		return 0, io.EOF
	}
	n, err := x.body.Read(p)
	switch {
	case err == io.EOF:
		x.end(true)
	case err != nil:
		x.end(false)
	}
	return n, err
}

// Close gives up what was not read. It may be called while Read waits.
func (x *exchange) Close() error {
	x.end(false)
	return nil
}

// end ends the exchange once, and keeps the connection if it may be used again.
func (x *exchange) end(whole bool) {
	if !x.over.CompareAndSwap(false, true) {
		return
	}
	c := x.c
	// An answer that came before all of its request was written ends the connection. Whether it was may be known a little later.
	if whole && x.written != nil {
		_ = c.SetWriteDeadline(time.Now().Add(writtenTimeout))
		whole = <-x.written == nil
		_ = c.SetWriteDeadline(time.Time{})
	}
	if !x.stop() || !whole || x.response.Close || x.response.StatusCode == http.StatusSwitchingProtocols || c.reader.Buffered() > 0 {
		_ = c.Close()
		return
	}
	if cap(c.buffer) > maxKeptBuffer {
		c.buffer = nil
	}
	x.pool.put(x.address, c)
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience bounds each request: the machine may be busy.
const patience = time.Minute

// caller is a connection that makes one request after another.
type caller struct {
	conn   net.Conn
	reader *bufio.Reader
}

// dial opens a connection, with TLS unless the configuration is nil.
func dial(address string, config *tls.Config) (*caller, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if config != nil {
		secured := tls.Client(conn, config)
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := secured.Handshake(); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secured
	}
	return &caller{conn: conn, reader: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// dial opens a connection as one of those that call the target.
func (t *target) dial(i int) (*caller, error) {
	if len(t.tls) == 0 {
		return dial(t.address, nil)
	}
	return dial(t.address, t.tls[i%len(t.tls)])
}

func (c *caller) close() { _ = c.conn.Close() }

// do makes a request and reads its answer. A status that was not expected is an error.
func (c *caller) do(request []byte, want int) (length int, err error) {
	chunked, length, err := c.begin(request, want)
	if err != nil {
		return 0, err
	}
	if !chunked {
		_, err = c.reader.Discard(length)
		return length, err
	}
	for {
		n, err := c.chunk(io.Discard)
		if err != nil {
			return 0, err
		}
		if length += n; n == 0 {
			return length, nil
		}
	}
}

// begin makes a request and reads the head of its answer.
func (c *caller) begin(request []byte, want int) (chunked bool, length int, err error) {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(request); err != nil {
		return false, 0, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return false, 0, err
	}
	if len(line) < 12 || !expected(string(line[9:12]), want) {
		rest, _ := c.reader.Peek(c.reader.Buffered())
		return false, 0, fmt.Errorf("answered with %q, not %d: %.600s", bytes.TrimSpace(line), want, rest)
	}
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return false, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return chunked, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return false, 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
}

// expected says whether a status is the one that is wanted. A source whose failed logins are throttled may fail once more each second.
func expected(status string, want int) bool {
	return status == strconv.Itoa(want) || want == http.StatusTooManyRequests && status == strconv.Itoa(http.StatusUnauthorized)
}

// chunk reads a chunk; the last has no length.
func (c *caller) chunk(w io.Writer) (int, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
	if err != nil {
		return 0, err
	}
	if _, err := io.CopyN(w, c.reader, n); err != nil {
		return 0, err
	}
	_, err = c.reader.Discard(2)
	return int(n), err
}

// callers are connections to one target.
type callers []*caller

func connect(t *target, n int) (callers, error) {
	var all callers
	for i := range n {
		c, err := t.dial(i)
		if err == nil {
			all = append(all, c)
			// A connection on which nothing is asked is closed after a while, and the machine may be busy.
			_, err = c.do(t.request(), t.want)
		}
		if err != nil {
			all.close()
			return nil, err
		}
	}
	return all, nil
}

func (c callers) close() {
	for _, one := range c {
		one.close()
	}
}

// saturate makes so many requests, each connection one after another, as fast as they are answered.
func (c callers) saturate(t *target, count int) error {
	var next atomic.Int64
	failures := make(chan error, len(c))
	for _, one := range c {
		go func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(count) {
					failures <- nil
					return
				}
				if _, err := one.do(t.request(), t.want); err != nil {
					next.Store(int64(count))
					failures <- err
					return
				}
			}
		}()
	}
	var err error
	for range c {
		err = errors.Join(err, <-failures)
	}
	return err
}

// latencies are sorted.
type latencies []time.Duration

func (l latencies) quantile(q float64) time.Duration { return l[min(len(l)-1, int(q*float64(len(l))))] }

// paced makes requests at a rate for a while, whether or not those before were answered: a request waits for a free
// connection, and its latency begins when it was due.
func (c callers) paced(ctx context.Context, t *target, rate int, d time.Duration) (latencies, error) {
	due := make(chan time.Time, rate*int(d/time.Second+1))
	var mu sync.Mutex
	var all latencies
	var failure error
	var running sync.WaitGroup
	for _, one := range c {
		running.Go(func() {
			for at := range due {
				_, err := one.do(t.request(), t.want)
				took := time.Since(at)
				mu.Lock()
				all, failure = append(all, took), errors.Join(failure, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	each := time.Second / time.Duration(rate)
	start := time.Now()
	for at := start; at.Sub(start) < d && ctx.Err() == nil; at = at.Add(each) {
		if wait := time.Until(at); wait > 0 {
			// time.Sleep is as coarse as epoll's milliseconds.
			_ = syscall.Nanosleep(&syscall.Timespec{Nsec: int64(wait) % 1e9, Sec: int64(wait) / 1e9}, nil)
		}
		due <- at
	}
	close(due)
	running.Wait()
	if failure == nil && len(all) == 0 {
		failure = errors.New("no request was made")
	}
	slices.Sort(all)
	return all, failure
}

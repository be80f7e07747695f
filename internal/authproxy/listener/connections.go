package listener

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
)

// Connections bounds the open connections of callers. When there are too many, one without a request makes room: of the
// source that has most of them, the one that has gone longest without. So a stranger who opens connections and says nothing
// keeps nobody out, and takes nobody else's away.
type Connections struct {
	most int

	mu sync.Mutex
	// open has since when a connection is without a request; zero while it has one.
	open map[*connection]time.Time
	// waiting is how many of a source's are without one.
	waiting map[netip.Prefix]int
}

// NewConnections returns a bound of most connections.
func NewConnections(most int) *Connections {
	return &Connections{most: most, open: map[*connection]time.Time{}, waiting: map[netip.Prefix]int{}}
}

// Listener returns l with its connections counted. One for which there is no room is closed.
func (c *Connections) Listener(l net.Listener) net.Listener { return &counting{l, c} }

// State notes whether a connection has a request; it is an http.Server's ConnState.
func (c *Connections) State(conn net.Conn, state http.ConnState) {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	counted, ok := conn.(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[counted]; !ok {
		return
	}
	switch state {
	case http.StateActive, http.StateHijacked:
		c.set(counted, time.Time{})
	case http.StateNew:
	default:
		c.set(counted, time.Now())
	}
}

// set notes since when an open connection is without a request.
func (c *Connections) set(conn *connection, since time.Time) {
	c.forget(conn)
	c.open[conn] = since
	if !since.IsZero() {
		c.waiting[conn.source]++
	}
}

func (c *Connections) forget(conn *connection) {
	since, ok := c.open[conn]
	delete(c.open, conn)
	if !ok || since.IsZero() {
		return
	}
	if c.waiting[conn.source]--; c.waiting[conn.source] == 0 {
		delete(c.waiting, conn.source)
	}
}

// admit counts a connection, and closes another for it if there are too many.
func (c *Connections) admit(conn *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		var longest *connection
		for other, since := range c.open {
			if since.IsZero() {
				continue
			}
			if longest != nil {
				many, most := c.waiting[other.source], c.waiting[longest.source]
				if many < most || many == most && !since.Before(c.open[longest]) {
					continue
				}
			}
			longest = other
		}
		if longest == nil {
			return false
		}
		c.forget(longest)
		_ = longest.Conn.Close()
	}
	c.set(conn, time.Now())
	return true
}

type counting struct {
	net.Listener
	connections *Connections
}

func (l *counting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		counted := &connection{Conn: conn, of: l.connections, source: limit.Network(conn.RemoteAddr().String())}
		if l.connections.admit(counted) {
			return counted, nil
		}
		_ = conn.Close()
	}
}

type connection struct {
	net.Conn
	of     *Connections
	source netip.Prefix
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	c.of.forget(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

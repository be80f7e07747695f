package listener

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
)

// Connections bounds the open connections of callers. When there are too many, one without a request of somebody known makes
// room: of the source that has most of them, the one that has gone longest without. So a stranger who opens connections, and says
// nothing or never comes to an end, keeps nobody out, and takes nobody else's away.
type Connections struct {
	most int

	mu sync.Mutex
	// open has since when a connection is without such a request; zero while it has one.
	open map[*connection]time.Time
	// waiting is how many of a source's are without one.
	waiting map[netip.Prefix]int
}

type connectionKey struct{}

// counted is the connection that is counted for one of an http.Server's; nil without.
func counted(conn net.Conn) *connection {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	c, _ := conn.(*connection)
	return c
}

// NewConnections returns a bound of most connections.
func NewConnections(most int) *Connections {
	return &Connections{most: most, open: map[*connection]time.Time{}, waiting: map[netip.Prefix]int{}}
}

// Listener returns l with its connections counted. One for which there is no room is closed.
func (c *Connections) Listener(l net.Listener) net.Listener { return &counting{l, c} }

// State notes whether a connection has a request, of whomever; it is an http.Server's ConnState.
func (c *Connections) State(conn net.Conn, state http.ConnState) {
	of := counted(conn)
	if of == nil || state == http.StateNew {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of.active = state == http.StateActive
	c.rest(of)
}

// Serves notes that a request on the context's connection is somebody's who is known, until the returned function is called.
func (c *Connections) Serves(ctx context.Context) (served func()) {
	of, _ := ctx.Value(connectionKey{}).(*connection)
	if of == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of.serves++; !c.open[of].IsZero() {
		c.set(of, time.Time{})
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		of.serves--
		c.rest(of)
	}
}

// rest has an open connection be without a request once the last answer is written, too.
func (c *Connections) rest(conn *connection) {
	if since, open := c.open[conn]; open && since.IsZero() && conn.serves == 0 && !conn.active {
		c.set(conn, time.Now())
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
		one := &connection{Conn: conn, of: l.connections, source: limit.Network(conn.RemoteAddr().String())}
		if l.connections.admit(one) {
			return one, nil
		}
		_ = conn.Close()
	}
}

type connection struct {
	net.Conn
	of     *Connections
	source netip.Prefix
	// active says that it has a request, serves how many requests of somebody known; of's mu guards both.
	active bool
	serves int
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	c.of.forget(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

package listener

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// Connections bounds the open connections of callers. When there are too many, the one that has gone longest without a
// request makes room: a stranger who opens connections and says nothing keeps nobody out.
type Connections struct {
	most int

	mu sync.Mutex
	// open has since when a connection is without a request; zero while it has one.
	open map[*connection]time.Time
}

// NewConnections returns a bound of most connections.
func NewConnections(most int) *Connections {
	return &Connections{most: most, open: map[*connection]time.Time{}}
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
		c.open[counted] = time.Time{}
	case http.StateNew:
	default:
		c.open[counted] = time.Now()
	}
}

// admit counts a connection, and closes another for it if there are too many.
func (c *Connections) admit(conn *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		var longest *connection
		for other, since := range c.open {
			if !since.IsZero() && (longest == nil || since.Before(c.open[longest])) {
				longest = other
			}
		}
		if longest == nil {
			return false
		}
		delete(c.open, longest)
		_ = longest.Conn.Close()
	}
	c.open[conn] = time.Now()
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
		counted := &connection{Conn: conn, of: l.connections}
		if l.connections.admit(counted) {
			return counted, nil
		}
		_ = conn.Close()
	}
}

type connection struct {
	net.Conn
	of *Connections
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

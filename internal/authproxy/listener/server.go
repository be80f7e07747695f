package listener

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
)

// Bounds on callers that are no matter of time.
const (
	maxHeader    = 32 << 10
	maxStreams   = 128
	pingInterval = 30 * time.Second
	pingTimeout  = 15 * time.Second
)

// Timeouts bound slow callers.
type Timeouts struct {
	// Header and Body are how long a request's head, the TLS handshake too, and its body may take to come in.
	Header, Body time.Duration
	// Write is how long a caller may take to accept what is written to it at once.
	Write time.Duration
	// Idle is how long a connection may be without a request.
	Idle time.Duration
}

// DefaultTimeouts are those of a gate.
var DefaultTimeouts = Timeouts{Header: 10 * time.Second, Body: 30 * time.Second, Write: 30 * time.Second, Idle: 2 * time.Minute}

// Server returns an HTTP server for callers. The errors of connections, which repeat what strangers sent, are not
// logged.
func Server(handler http.Handler, timeouts Timeouts, connections *Connections) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: timeouts.Header,
		IdleTimeout:       timeouts.Idle,
		MaxHeaderBytes:    maxHeader,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(identity.WithConnection(ctx), connectionKey{}, counted(conn))
		},
		ConnState: connections.State,
		ErrorLog:  log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      pingInterval,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     timeouts.Write,
		},
	}
}

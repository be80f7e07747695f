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

// Bounds on callers.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// BodyTimeout is how long a request's body may take to come in.
	BodyTimeout = 30 * time.Second
	// WriteTimeout is how long a caller may take to accept what is written to it at once.
	WriteTimeout = 30 * time.Second
	maxHeader    = 32 << 10
	maxStreams   = 128
	pingInterval = 30 * time.Second
	pingTimeout  = 15 * time.Second
)

// Server returns an HTTP server for callers. The errors of connections, which repeat what strangers sent, are not
// logged.
func Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return identity.WithConnection(ctx)
		},
		ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      pingInterval,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     WriteTimeout,
		},
	}
}

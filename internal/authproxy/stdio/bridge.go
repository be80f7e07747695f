// Package stdio makes MCP servers that speak over their standard input and output (the stdio transport) reachable for a gate:
// it serves Streamable HTTP on a Unix socket and runs the server as child processes, one for each caller unless told otherwise.
// Ids and progress tokens are replaced by numbers of its own on the way to a child and put back on the way to the caller, so
// that no answer reaches another caller, whatever the child does; nothing else of a message is changed.
package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Options are what a bridge is told by its command line.
type Options struct {
	// Command is what a child process runs.
	Command []string
	// Socket is the Unix socket that the bridge listens on.
	Socket string
	// Stateful says that sessions are offered; without them any child of any replica answers any request.
	Stateful bool
	// Shared says that one child answers all callers.
	Shared bool
	// MaxChildren bounds the children, of which one caller has at most half or else two, and ChildMemory the resident memory of each, in bytes; zero is no bound.
	MaxChildren int
	ChildMemory int64
	// IdleTimeout is after how long an unused child ends.
	IdleTimeout time.Duration
	// Drain is how long the last requests have after the bridge was told to end.
	Drain time.Duration
	// Version is the version of the binary.
	Version string
	// Log is where messages go, and what the children write to their standard error.
	Log io.Writer
}

// Bridge is the bridge. It is an http.Handler for the requests of the gate.
type Bridge struct {
	options  Options
	log      *logger
	pool     *pool
	sessions *sessions
	// modern says that the server speaks a stateless revision.
	modern bool
	// refused counts connections of somebody else than the gate.
	refused atomic.Int64
}

// New returns a bridge that has no children yet.
func New(options Options) (*Bridge, error) {
	if len(options.Command) == 0 {
		return nil, errors.New("the command of the server is missing; give it after --")
	}
	if options.MaxChildren < 1 || options.IdleTimeout <= 0 {
		return nil, errors.New("--max-children and --idle-timeout must be positive")
	}
	b := &Bridge{options: options, log: newLogger(options.Log), sessions: newSessions()}
	b.pool = newPool(options.Command, options.MaxChildren, b.sessions, b.log)
	return b, nil
}

// Run tries the server out, serves until the context ends, and then waits for the last requests and ends all children. A
// server that does not answer is an error.
func (b *Bridge) Run(ctx context.Context) error {
	var err error
	if b.modern, err = b.tryOut(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	b.log.say("the server answers", "stateless revisions", b.modern)
	listener, err := listen(b.options.Socket)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(peers{Listener: listener, bridge: b}) }()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	go b.watch(background)
	select {
	case err = <-failed:
	case <-ctx.Done():
		// The gate takes no new work long before this; what is in flight is finished.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.Drain)
		b.pool.silence()
		if server.Shutdown(bounded) != nil {
			b.log.say("requests were given up", "after", b.options.Drain.String())
		}
		cancel()
	}
	_ = server.Close()
	b.pool.end()
	stop()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// listen opens the socket. One that an earlier process left is replaced.
func listen(socket string) (net.Listener, error) {
	if info, err := os.Lstat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("--socket %s: an old socket cannot be removed: %w", socket, err)
		}
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("--socket %s: the directory must exist and be writable: %w", socket, err)
	}
	// The gate is another user. Who else could reach the socket has its volume.
	if err := os.Chmod(socket, 0o666); err != nil { //nolint:gosec // see above
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

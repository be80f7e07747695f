// Package gate puts the stages together: listener → identity → limit → message → decision → upstream → filter → audit. Each
// stage hands typed values to the next; what they share is the configuration, which is swapped as a whole.
package gate

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/asked"
	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/drain"
	"github.com/bartizan-dev/bartizan/internal/authproxy/handle"
	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listing"
	"github.com/bartizan-dev/bartizan/internal/authproxy/session"
	"github.com/bartizan-dev/bartizan/internal/authproxy/status"
	"github.com/bartizan-dev/bartizan/internal/authproxy/tasks"
	"github.com/bartizan-dev/bartizan/internal/authproxy/trace"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Bounds are how much a gate takes on at once. What goes beyond is refused, with 503 where there is a request.
type Bounds struct {
	// Connections bounds the open connections of callers.
	Connections int
	// Requests bounds the requests being answered, open streams among them, and ClientRequests those of one client.
	Requests, ClientRequests int
	// Held bounds the bodies of requests and answers that are held as a whole, in bytes, and ClientHeld those of one client.
	Held, ClientHeld int64
}

// DefaultBounds are those of a gate, whose container has 256 MiB with a soft limit of 224 MiB: the connections take about
// 50 MiB, the requests 45 MiB beside what is held of them, and the gate itself 20 MiB.
var DefaultBounds = Bounds{Connections: 1024, Requests: 512, ClientRequests: 384, Held: 80 << 20, ClientHeld: 40 << 20}

// Options are what a gate is told by its command line.
type Options struct {
	// ConfigDirectory holds the configuration, Server is the MCPServer that it must be for.
	ConfigDirectory string
	Server          gateconfig.Object
	// GateAddress, StatusAddress and ProbeAddress are where the gate listens.
	GateAddress, StatusAddress, ProbeAddress string
	// UpstreamAddress and UpstreamPath stand for the address and the path that the configuration names; empty for those. The
	// address is loopback, a Unix socket, or refused. They are the pod's own: another pod's server may be another one.
	UpstreamAddress, UpstreamPath string
	// DrainSocket is the socket for the preStop hook; empty goes without. Beside it a file keeps the last line of the audit
	// log for the next process in the pod.
	DrainSocket string
	// Accept is how long a draining gate still accepts work, Bound how long it then waits for the last request.
	Accept, Bound time.Duration
	// Timeouts bound slow callers; zero stands for listener.DefaultTimeouts.
	Timeouts listener.Timeouts
	// ListInterval is how often the gate lists its server when nothing says that it changed; zero: never, not even at the start.
	ListInterval time.Duration
	// Bounds bound what goes on at once; zero stands for DefaultBounds.
	Bounds Bounds
	// Version is the version of the binary.
	Version string
	// Audit is where the audit log goes, Log where the gate's own messages go, and its spans as lines of OTLP's JSON.
	Audit, Log io.Writer
}

// Gate is the pipeline. It is an http.Handler for callers' requests.
type Gate struct {
	options  Options
	boot     string
	store    *config.Store
	sessions *session.Sealer
	// handles seals what is not bound to this process. asked are the server's requests under way, tasks who made its tasks.
	handles *handle.Ring
	asked   asked.Table
	tasks   tasks.Table
	// denied counts the server's requests that nobody granted.
	denied  *status.Denied
	client  *upstream.Client
	log     *audit.Log
	spans   *trace.Exporter
	said    *messages
	hasher  *audit.Hasher
	metrics *status.Metrics
	usage   *status.Usage
	lister  *listing.Lister
	drain   *drain.Drain
	// connections, requests and held bound what goes on at once.
	connections *listener.Connections
	requests    *limit.Slots
	held        *limit.Bytes
	// clients, rules and tools are the rates of clients, of rules, and of tools by the hash of a toolUse; failures count failed
	// logins by source.
	clients  *limit.Rates[string]
	rules    *limit.Rates[ruleUse]
	tools    *limit.Rates[uint64]
	seed     maphash.Seed
	failures *limit.Failures
	// announced are the marks of the operator's verifications.
	announced announced
	// calls are the calls that are being answered.
	calls calls
	// life ends with the gate, and every call with it.
	life context.Context
	end  context.CancelFunc
	// replies counts the gate's own messages that are on their way to the server.
	replies atomic.Int64
	// orphans counts answers that are still read for a client that went away.
	orphans atomic.Int64
}

// New returns a gate that has no configuration yet.
func New(options Options) (*Gate, error) {
	if options.UpstreamAddress != "" {
		if err := upstream.CheckAddress(options.UpstreamAddress); err != nil {
			return nil, err
		}
	}
	if path := options.UpstreamPath; path != "" && !gateconfig.ValidPath(path) {
		return nil, errors.New("the server's path is not an absolute path without query")
	}
	if options.Timeouts == (listener.Timeouts{}) {
		options.Timeouts = listener.DefaultTimeouts
	}
	if options.Bounds == (Bounds{}) {
		options.Bounds = DefaultBounds
	}
	var boot [8]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, err
	}
	sealer, err := session.NewSealer()
	if err != nil {
		return nil, err
	}
	g := &Gate{
		options:  options,
		boot:     hex.EncodeToString(boot[:]),
		sessions: sealer,
		handles:  &handle.Ring{},
		denied:   &status.Denied{},
		client:   upstream.NewClient(),
		metrics:  status.NewMetrics(options.Version),
		usage:    &status.Usage{},
		drain:    drain.New(options.Accept),
		said:     newMessages(options.Log),

		connections: listener.NewConnections(options.Bounds.Connections),
		requests:    limit.NewSlots(options.Bounds.Requests, options.Bounds.ClientRequests),
		held:        limit.NewBytes(options.Bounds.Held, options.Bounds.ClientHeld),
		clients:     limit.NewRates[string](),
		rules:       limit.NewRates[ruleUse](),
		tools:       limit.NewRates[uint64](),
		seed:        maphash.MakeSeed(),
		failures:    limit.NewFailures(time.Now()),
		calls:       calls{open: map[*exchange]struct{}{}},
	}
	g.life, g.end = context.WithCancel(context.Background())
	context.AfterFunc(g.life, func() { g.calls.each(func(x *exchange) { x.ctx.end(context.Canceled) }) })
	g.lister = g.newLister()
	g.store = config.NewStore(options.ConfigDirectory, options.Server, g.loaded)
	if g.hasher, err = audit.NewHasher(); err != nil {
		return nil, err
	}
	g.log = audit.NewLog(audit.Options{Sink: options.Audit, Server: options.Server.Namespace + "/" + options.Server.Name, Boot: g.boot,
		Remember: g.rememberHead})
	g.spans = trace.NewExporter(trace.Options{Sink: options.Log, Namespace: options.Server.Namespace, Server: options.Server.Name,
		Instance: g.boot, Version: options.Version})
	g.metrics.Audit(g.log)
	g.metrics.Told(g.spans.Written, g.spans.Dropped, g.said.lost.Load)
	return g, nil
}

// address is where the server listens.
func (g *Gate) address(generation *config.Generation) string {
	if g.options.UpstreamAddress != "" {
		return g.options.UpstreamAddress
	}
	return generation.UpstreamAddress()
}

// path is the server's own.
func (g *Gate) path(generation *config.Generation) string {
	return cmp.Or(g.options.UpstreamPath, generation.Upstream.Path)
}

// ServeHTTP answers one request of a caller.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.metrics.Began()()
	x := newExchange(g, w, r)
	defer func() {
		end := time.Now()
		g.metrics.Answered(&x.record, x.revision(), x.attack, end.Sub(x.record.Time))
		x.endSpan(end)
	}()
	defer x.recover()
	defer x.release()
	if g.drain.Draining() {
		// HTTP/1.1 closes the connection after the answer, HTTP/2 sends GOAWAY.
		w.Header().Set("Connection", "close")
	}
	x.serve()
}

package status

import (
	"context"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

// The paths of the probe port.
const (
	LivePath  = "/livez"
	ReadyPath = "/readyz"
)

const (
	probeTimeout = 5 * time.Second
	// freshness is how long an answer of the server to a connection is taken as current: however often strangers ask for
	// readiness, the server sees one connection in this time.
	freshness = time.Second
)

// Readiness says whether the gate can do its work.
type Readiness struct {
	store    *config.Store
	address  func(*config.Generation) string
	draining func() bool
	unlisted func() bool
	now      func() time.Time

	mu      sync.Mutex // guards what follows
	checked time.Time
	up      bool
}

// NewReadiness returns a Readiness that asks the server at the address that a generation names.
// unlisted says that there is more to be known about the server first.
func NewReadiness(store *config.Store, address func(*config.Generation) string, draining, unlisted func() bool) *Readiness {
	return &Readiness{store: store, address: address, draining: draining, unlisted: unlisted, now: time.Now}
}

// Upstream says whether the server accepts connections.
func (r *Readiness) Upstream(ctx context.Context) bool {
	g, _ := r.store.Current()
	if g == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.checked.IsZero() || now.Sub(r.checked) >= freshness {
		r.up, r.checked = upstream.Accepts(context.WithoutCancel(ctx), r.address(g)), now
	}
	return r.up
}

// Why says what the gate is not ready for; it is empty when it is ready.
func (r *Readiness) Why(ctx context.Context) string {
	g, _ := r.store.Current()
	switch {
	case r.draining():
		return "draining"
	case g == nil:
		return "no valid configuration"
	case !r.now().Before(g.Certificate.Leaf.NotAfter):
		return "serving certificate expired"
	case !r.Upstream(ctx):
		return "server does not accept connections"
	case r.unlisted():
		return "server not listed"
	default:
		return ""
	}
}

// ProbeServer returns the plain HTTP server for the kubelet. It answers with fixed words and changes nothing.
func ProbeServer(ready *Readiness) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+LivePath, func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if why := ready.Why(r.Context()); why != "" {
			say(w, http.StatusServiceUnavailable, why)
			return
		}
		say(w, http.StatusOK, "ok")
	})
	return small(mux)
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// small returns a server for short requests and answers.
func small(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: probeTimeout, ReadTimeout: probeTimeout, WriteTimeout: 2 * probeTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}
}

package status

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/surroundings"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// MetricsPath is where the status port serves metrics.
const MetricsPath = "/metrics"

// unknownListeners stands in Status.Listeners when the socket tables cannot be read: not knowing is not "none".
const unknownListeners = "unknown"

// Usage remembers when each API key was last in use.
type Usage struct{ keys sync.Map } // id → *use

type use struct {
	last atomic.Int64 // Unix seconds
	open atomic.Int64 // calls
}

func (u *Usage) of(id string) *use {
	of, ok := u.keys.Load(id)
	if !ok {
		of, _ = u.keys.LoadOrStore(id, new(use))
	}
	return of.(*use)
}

// Used records that a key was accepted.
func (u *Usage) Used(id string, now time.Time) { u.of(id).last.Store(now.Unix()) }

// Open records that a call is being answered for which a key was accepted, until the returned function is called: the key is
// in use for as long, because the call would be cut off with it.
func (u *Usage) Open(id string) (closed func()) {
	of := u.of(id)
	of.open.Add(1)
	return func() {
		of.last.Store(time.Now().Unix())
		of.open.Add(-1)
	}
}

// Keep forgets the keys that a generation does not have.
func (u *Usage) Keep(g *config.Generation) {
	u.keys.Range(func(id, _ any) bool {
		if _, ok := g.Key(id.(string)); !ok {
			u.keys.Delete(id)
		}
		return true
	})
}

func (u *Usage) last(id string) time.Time {
	of, ok := u.keys.Load(id)
	switch {
	case !ok:
		return time.Time{}
	case of.(*use).open.Load() > 0:
		return time.Now().Truncate(time.Second).UTC()
	}
	return time.Unix(of.(*use).last.Load(), 0).UTC()
}

// Reporter makes the gate's account of itself.
type Reporter struct {
	Version, Boot string
	Store         *config.Store
	Ready         *Readiness
	Usage         *Usage
	Metrics       *Metrics
	// Log is the audit log.
	Log *audit.Log
	// Definitions tells what the server offers.
	Definitions Definitions
	// Denied are the server's requests that nobody granted.
	Denied *Denied
	// OwnPorts are the ports that the gate itself listens on.
	OwnPorts []uint16

	// monitored is when monitoring last read the metrics, in Unix seconds.
	monitored atomic.Int64
}

// Definitions tells what the server offers.
type Definitions interface {
	// Tools sums it up; nil while nothing is known.
	Tools() *gatestatus.Tools
	// Inventory is all of it.
	Inventory() gatestatus.Inventory
}

// Status is the gate's account of itself now.
func (r *Reporter) Status(ctx context.Context) gatestatus.Status {
	s := gatestatus.Status{
		Version: r.Version, Boot: r.Boot, ConfigError: r.Store.Err(), UpstreamReady: r.Ready.Upstream(ctx), Listeners: r.Look(),
	}
	if head, ok := r.Log.Head(); ok {
		s.Audit = &gatestatus.AuditHead{Seq: head.Seq, Hash: head.Hash}
	}
	s.ServerRequests = r.Denied.list()
	if at := r.monitored.Load(); at > 0 {
		s.MetricsReadAt = time.Unix(at, 0).UTC()
	}
	g, _ := r.Store.Current()
	if g == nil {
		return s
	}
	s.Generation = g.Generation
	s.Tools = r.Definitions.Tools()
	s.Authorities = g.AuthorityDigests
	if g.Config.Status.Authority != "" {
		s.SystemAuthority = gatestatus.Digest(g.Config.Status.Authority)
	}
	s.CertificateSerial = g.Certificate.Leaf.SerialNumber.Text(16)
	s.CertificateAuthority = hex.EncodeToString(g.Certificate.Leaf.AuthorityKeyId)
	s.CertificateNotAfter = g.Certificate.Leaf.NotAfter.UTC()
	for _, unknown := range g.Tokens.Unknown() {
		s.UnknownKeys = append(s.UnknownKeys, gatestatus.UnknownKey(unknown))
	}
	for _, client := range g.Clients {
		for _, key := range client.Keys {
			s.Keys = append(s.Keys, gatestatus.Key{ID: key.ID, LastUsed: r.Usage.last(key.ID)})
		}
	}
	return s
}

// Look returns the listeners in the pod that should not be there, and counts them.
func (r *Reporter) Look() []string {
	found, err := surroundings.Look(r.OwnPorts)
	if err != nil {
		r.Metrics.foreign.Set(-1)
		return []string{unknownListeners}
	}
	r.Metrics.foreign.Set(float64(len(found)))
	return found
}

// Server returns the server of the status port. Whom the configuration does not name does not get past the handshake,
// and no request of a connection outlives a change that takes the right away.
func (r *Reporter) Server() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+gatestatus.Path, func(w http.ResponseWriter, request *http.Request) {
		answer(w, r.Status(request.Context()))
	})
	mux.HandleFunc("GET "+gatestatus.InventoryPath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, r.Definitions.Inventory())
	})
	metrics := promhttp.HandlerFor(r.Metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	mux.HandleFunc("GET "+MetricsPath, func(w http.ResponseWriter, request *http.Request) {
		r.Look()
		metrics.ServeHTTP(w, request)
	})
	return small(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		g, _ := r.Store.Current()
		if request.TLS == nil || mayRead(g, request.TLS.PeerCertificates, time.Now()) != nil {
			w.Header().Set("Connection", "close")
			http.Error(w, "this certificate may not read the gate's status", http.StatusForbidden)
			return
		}
		if request.TLS.PeerCertificates[0].URIs[0].String() == clientid.Monitoring {
			if request.URL.Path != MetricsPath {
				http.Error(w, "this certificate may read the gate's metrics and nothing else", http.StatusForbidden)
				return
			}
			r.monitored.Store(time.Now().Unix())
		}
		mux.ServeHTTP(w, request)
	}))
}

func answer(w http.ResponseWriter, value any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // definitions stay in their canonical form
	if err := encoder.Encode(value); err != nil {
		http.Error(w, "the status cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body.Bytes())
}

var errReader = errors.New("not a reader of the gate's status")

// TLS returns the configuration of the status port's connections: mutual, and only for those that the configuration in
// force names.
func (r *Reporter) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			g, _ := r.Store.Current()
			if g == nil || g.StatusAuthority() == nil {
				return nil, errReader
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{"h2", "http/1.1"},
				Certificates: []tls.Certificate{g.Certificate},
				ClientAuth:   tls.RequireAnyClientCert,
				VerifyConnection: func(state tls.ConnectionState) error {
					return mayRead(g, state.PeerCertificates, time.Now())
				},
			}, nil
		},
	}
}

func mayRead(g *config.Generation, presented []*x509.Certificate, now time.Time) error {
	if g == nil || g.StatusAuthority() == nil || len(presented) == 0 || len(presented) > 4 {
		return errReader
	}
	leaf := presented[0]
	if leaf.IsCA || len(leaf.URIs) != 1 || !slices.Contains(g.Config.Status.Identities, leaf.URIs[0].String()) ||
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return errReader
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range presented[1:] {
		intermediates.AddCert(certificate)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: g.StatusAuthority(), Intermediates: intermediates, CurrentTime: config.JudgedAt(leaf, now), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return errReader
	}
	return nil
}

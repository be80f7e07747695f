package gate_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const host = "gate.test"

// world is a running gate before an upstream, and those who call it.
type world struct {
	t         testing.TB
	config    gateconfig.Config
	directory *gatetest.Directory
	// agents vouches for the clients of the namespace agents, strangers for those of strangers; serving is the gate's
	// own, system the operator's.
	agents, strangers, serving, system *gatetest.Authority
	certificate, key                   string
	// aliceKey and bobKey are API keys.
	aliceKey, bobKey  string
	alice, bob        tls.Certificate
	url               string
	statusURL, probe  string
	audit, log        *buffer
	terminate, killed context.CancelFunc
	ended             chan error
	options           gate.Options
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu     sync.Mutex
	text   bytes.Buffer
	broken error
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return 0, b.broken
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// records are the lines of the audit log that are about requests.
func (b *buffer) records(t testing.TB) []audit.Record {
	t.Helper()
	return b.all(t, audit.KindRequest)
}

// all are the lines of the audit log of a kind.
func (b *buffer) all(t testing.TB, kind audit.Kind) (records []audit.Record) {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("an audit line is not JSON: %q", line)
		}
		if r.Kind == kind {
			records = append(records, r)
		}
	}
	return records
}

func (b *buffer) last(t testing.TB) audit.Record {
	t.Helper()
	all := b.records(t)
	if len(all) == 0 {
		t.Fatal("the audit log is empty")
	}
	return all[len(all)-1]
}

// newWorld starts a gate before the upstream: alice may call the tool "greet", list and read; bob has no rule.
func newWorld(t testing.TB, upstream string, changes ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, directory: gatetest.NewDirectory(t), audit: &buffer{}, log: &buffer{}, ended: make(chan error, 1),
		agents: gatetest.NewAuthority(t, "agents"), strangers: gatetest.NewAuthority(t, "strangers"),
		serving: gatetest.NewAuthority(t, "serving"), system: gatetest.NewAuthority(t, "system"),
	}
	w.certificate, w.key = w.serving.Serving(t)
	w.alice = w.agents.Client(t, clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI())
	w.bob = w.agents.Client(t, clientid.Client{Namespace: "agents", Name: "bob", Servers: "team-a"}.URI())
	aliceKey, alice := gatetest.NewKey(t, time.Now().Add(time.Hour))
	bobKey, bob := gatetest.NewKey(t, time.Now().Add(time.Hour))
	w.aliceKey, w.bobKey = aliceKey, bobKey
	w.config = gateconfig.Config{
		Server: gateconfig.Object{Namespace: "team-a", Name: "pods"},
		Endpoint: gateconfig.Endpoint{URL: "https://" + host + "/mcp", Path: "/mcp", Hosts: []string{host},
			Origins: []string{"https://app.example"}},
		Upstream:       gateconfig.Upstream{Port: 1, Path: "/upstream", Sessions: gateconfig.Stateful, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 64 << 10, Depth: 32},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional},
		Authorities:    map[string]string{"agents": w.agents.PEM, "strangers": w.strangers.PEM},
		Status:         gateconfig.Status{Authority: w.system.PEM, Identities: []string{clientid.Operator}},
		Clients: []gateconfig.Client{
			{Object: gateconfig.Object{Namespace: "agents", Name: "alice"}, Keys: []gateconfig.Key{alice}},
			{Object: gateconfig.Object{Namespace: "agents", Name: "bob"}, Keys: []gateconfig.Key{bob}},
		},
		Policy: policy.Policy{Rules: []policy.Rule{{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"greet", "slow"}}}},
	}
	w.options = gate.Options{
		ConfigDirectory: w.directory.Path, Server: w.config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0",
		ProbeAddress: "127.0.0.1:0", UpstreamAddress: upstream, Bound: 30 * time.Second, Version: "test", Audit: w.audit, Log: w.log,
	}
	for _, change := range changes {
		change(w)
	}
	w.write()
	w.start()
	return w
}

// write puts the configuration into the directory.
func (w *world) write() {
	w.t.Helper()
	w.directory.Write(w.t, gatetest.Files(w.t, w.config, w.certificate, w.key))
}

// reload writes the changed configuration and waits until it is in force.
func (w *world) reload(change func(*gateconfig.Config)) {
	w.t.Helper()
	change(&w.config)
	w.write()
	_, generation, err := gateconfig.Seal(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	gatetest.Eventually(w.t, "the new configuration is in force", func() bool { return strings.Contains(w.log.String(), generation) })
}

func (w *world) start() {
	w.t.Helper()
	g, err := gate.New(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	listeners, err := g.Listen()
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = "https://" + listeners.Gate.Addr().String() + "/mcp"
	w.statusURL = "https://" + listeners.Status.Addr().String()
	w.probe = "http://" + listeners.Probe.Addr().String()
	var ctx, now context.Context
	ctx, w.terminate = context.WithCancel(context.Background())
	now, w.killed = context.WithCancel(context.Background())
	go func() { w.ended <- g.Run(ctx, now, listeners) }()
	w.t.Cleanup(func() {
		w.killed()
		select {
		case <-w.ended:
		case <-time.After(time.Minute):
			w.t.Error("the gate does not end")
		}
	})
	gatetest.Eventually(w.t, "the gate has read its configuration", func() bool { return w.log.String() != "" })
}

// sources numbers the loopback addresses that clients call from.
var sources atomic.Uint32

// client returns an HTTP client that knows the gate's authority and shows the certificates, with a connection and an address
// of its own.
func (w *world) client(certificates ...tls.Certificate) *http.Client {
	n := sources.Add(1)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}}
	transport := &http.Transport{
		DialContext:       dialer.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, Certificates: certificates},
		ForceAttemptHTTP2: true,
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: withHost{transport}, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// withHost addresses the gate by its name.
type withHost struct{ next http.RoundTripper }

func (h withHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Host == r.URL.Host {
		r = r.Clone(r.Context())
		r.Host = host
	}
	return h.next.RoundTrip(r)
}

// withKey adds an API key.
type withKey struct {
	key  string
	next http.RoundTripper
}

func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+k.key)
	return k.next.RoundTrip(r)
}

func (w *world) keyed(key string, certificates ...tls.Certificate) *http.Client {
	c := w.client(certificates...)
	c.Transport = withKey{key, c.Transport}
	return c
}

const (
	legacyCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"x"}}}`
	legacyList = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
)

// post makes a legacy request, changed by the functions given.
func (w *world) post(body string, changes ...func(*http.Request)) *http.Request {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Mcp-Protocol-Version", string(gateconfig.Revision20251125))
	for _, change := range changes {
		change(r)
	}
	return r
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// do sends a request and returns the answer, its body read.
func do(t testing.TB, c *http.Client, r *http.Request) (status int, header http.Header, body string) {
	t.Helper()
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return response.StatusCode, response.Header, string(text)
}

// recorder is an upstream that keeps what it was sent.
type recorder struct {
	*httptest.Server
	mu       sync.Mutex
	requests []recorded
	answer   http.HandlerFunc
}

type recorded struct {
	verb, uri, host string
	header          http.Header
	body            string
}

// result is the answer of an upstream that any request can have.
func result(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
}

func newRecorder(t testing.TB, answer http.HandlerFunc) *recorder {
	t.Helper()
	rec := &recorder{answer: answer}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.mu.Lock()
		rec.requests = append(rec.requests, recorded{verb: r.Method, uri: r.RequestURI, host: r.Host, header: r.Header.Clone(), body: string(body)})
		rec.mu.Unlock()
		rec.answer(w, r)
	}))
	t.Cleanup(rec.Close)
	return rec
}

func (r *recorder) address() string { return r.Listener.Addr().String() }

func (r *recorder) seen() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]recorded(nil), r.requests...)
}

// bodies counts the requests with the text in their body.
func (r *recorder) bodies(text string) (n int) {
	for _, one := range r.seen() {
		if strings.Contains(one.body, text) {
			n++
		}
	}
	return n
}

// unused is a loopback address that nothing listens on.
func unused(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

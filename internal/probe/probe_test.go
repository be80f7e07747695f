package probe_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

const (
	host = "gate.test"
	mark = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// recorder is a server that remembers what reaches it.
type recorder struct {
	*httptest.Server
	mutex  sync.Mutex
	bodies []string
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mutex.Lock()
		r.bodies = append(r.bodies, string(body))
		r.mutex.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"greet","inputSchema":{"type":"object"}}]}}`)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) seen() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.bodies)
}

// fixture is a world around a gate.
type fixture struct {
	agents, serving, system *gatetest.Authority
	certificate, key        string
	audit                   *lines
}

type lines struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) text() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.String()
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{agents: gatetest.NewAuthority(t, "agents"), serving: gatetest.NewAuthority(t, "serving"), system: gatetest.NewAuthority(t, "system"), audit: &lines{}}
	f.certificate, f.key = f.serving.Serving(t)
	return f
}

// target is a gate at an address with everything to attack it.
func (f *fixture) target(t *testing.T, gateAddress string) probe.Target {
	ip, port, err := net.SplitHostPort(gateAddress)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	operator := f.system.Client(t, clientid.Operator)
	forged := func(name string, authority *gatetest.Authority, uri string, changes ...func(*x509.Certificate)) probe.Forged {
		c := authority.Client(t, uri, changes...)
		return probe.Forged{Name: name, Certificate: &c}
	}
	alice := clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI()
	return probe.Target{
		Pod: "pods-1", Address: ip, GatePort: number, ServerPort: closed(t), ServerName: host, Host: host, Path: "/mcp",
		Roots: f.serving.Pool(), Revision: "2025-11-25", Identity: &operator, Mark: mark, Timeout: 5 * time.Second,
		Forged: []probe.Forged{
			forged("expired certificate", f.system, clientid.Operator, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			forged("certificate of an unknown authority", gatetest.NewAuthority(t, "forger"), clientid.Operator),
			forged("another namespace's client", f.system, alice),
		},
	}
}

// closed is a port at which nobody listens.
func closed(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts a real gate before an upstream and returns its address.
func (f *fixture) start(t *testing.T, upstream string, change func(*gateconfig.Config)) string {
	directory := gatetest.NewDirectory(t)
	config := gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "team-a", Name: "pods"},
		Endpoint:       gateconfig.Endpoint{URL: "https://" + host + "/mcp", Path: "/mcp", Hosts: []string{host}},
		Upstream:       gateconfig.Upstream{Port: 1, Path: "/upstream", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 64 << 10, Depth: 32},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional},
		Authorities:    map[string]string{"agents": f.agents.PEM},
		Status:         gateconfig.Status{Authority: f.system.PEM, Identities: []string{clientid.Operator}},
		Clients:        []gateconfig.Client{{Object: gateconfig.Object{Namespace: "agents", Name: "alice"}}},
		Policy:         policy.Policy{Rules: []policy.Rule{{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"**"}}}},
	}
	if change != nil {
		change(&config)
	}
	directory.Write(t, gatetest.Files(t, config, f.certificate, f.key))
	log := &lines{}
	g, err := gate.New(gate.Options{
		ConfigDirectory: directory.Path, Server: config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0",
		ProbeAddress: "127.0.0.1:0", UpstreamAddress: upstream, Bound: 30 * time.Second, Version: "test", Audit: f.audit, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, ctx, listeners) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	gatetest.Eventually(t, "the gate has read its configuration", func() bool { return log.text() != "" })
	return listeners.Gate.Addr().String()
}

// TestGateHolds: against the gate as it is every attack fails, whatever it demands; nothing reaches the server, and all is in
// the audit log with the mark.
func TestGateHolds(t *testing.T) {
	for name, change := range map[string]func(*gateconfig.Config){
		"key or certificate":  nil,
		"key and certificate": func(c *gateconfig.Config) { c.Authentication.ClientCertificates = gateconfig.Required },
		"certificate alone": func(c *gateconfig.Config) {
			c.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Required}
		},
		"newest revision": func(c *gateconfig.Config) { c.Upstream.MinRevision = gateconfig.Revision20260728 },
	} {
		t.Run(name, func(t *testing.T) {
			upstream := newRecorder(t)
			f := newFixture(t)
			target := f.target(t, f.start(t, upstream.Listener.Addr().String(), change))
			if name == "newest revision" {
				target.Revision = "2026-07-28"
				// As of a Stdio server, which has none.
				target.ServerPort = 0
			}
			// The second time the gate throttles failed logins.
			results := append(probe.Run(t.Context(), target), probe.Run(t.Context(), target)...)
			controls := map[string]int{}
			for _, r := range results {
				controls[r.Control]++
				if r.Outcome != posture.Held {
					t.Errorf("%+v", r)
				}
			}
			for _, id := range []string{"AUTH-1", "AUTH-5", "AUTH-6", "AUTH-7", "PERM-1", "PERM-2", "PERM-7", "ENC-1", "ENC-2", "ENC-3", "LOG-3", "TEST-3", "LEAST-6"} {
				if controls[id] == 0 {
					t.Errorf("%s is not attacked", id)
				}
			}
			if seen := upstream.seen(); len(seen) > 0 {
				t.Errorf("reached the server: %v", seen)
			}
			for line := range strings.SplitSeq(strings.TrimSpace(f.audit.text()), "\n") {
				// What is counted instead of written names no request.
				if !strings.Contains(line, mark) && !strings.Contains(line, `"kind":"boot"`) && !strings.Contains(line, `"kind":"repeated"`) {
					t.Errorf("without the mark: %s", line)
				}
			}
			if n := strings.Count(f.audit.text(), "\n"); n < 30 {
				t.Errorf("%d lines in the audit log", n)
			}
		})
	}
}

// TestWithoutIdentity: where the gate asks for no certificate, what needs one is inconclusive, and nothing passes for it.
func TestWithoutIdentity(t *testing.T) {
	f := newFixture(t)
	target := f.target(t, f.start(t, newRecorder(t).Listener.Addr().String(), func(c *gateconfig.Config) {
		c.Authentication.ClientCertificates = gateconfig.Disabled
	}))
	target.Identity, target.NoIdentity = nil, "no certificate is asked for"
	for _, r := range probe.Run(t.Context(), target) {
		needs := slices.Contains([]string{"PERM-1", "PERM-2", "PERM-7"}, r.Control) || r.Control == "TEST-3" && r.Name != "all answers"
		if want := map[bool]posture.Outcome{true: posture.Inconclusive, false: posture.Held}[needs]; r.Outcome != want {
			t.Errorf("want %s: %+v", want, r)
		}
	}
}

// TestNoGate: where no gate answers nothing is said to hold.
func TestNoGate(t *testing.T) {
	f := newFixture(t)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(closed(t)))
	stranger := newFixture(t)
	for name, target := range map[string]probe.Target{
		"nobody":       f.target(t, address),
		"another gate": f.target(t, stranger.start(t, newRecorder(t).Listener.Addr().String(), nil)),
	} {
		results := probe.Run(t.Context(), target)
		for _, r := range results {
			if r.Outcome == posture.Held || r.Outcome == posture.Broken && r.Control != "ENC-3" || r.Detail == "" {
				t.Errorf("%s: %+v", name, results)
			}
		}
	}
}

// lenient is a gate with single controls broken. What a broken control lets through goes to the server behind it.
type lenient struct {
	broken   string
	upstream string
}

func (l lenient) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	refuse := func(status, code int) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		text := "No."
		switch l.broken {
		case "LOG-3":
			text += string(body)
		case "TEST-3":
			text += "panic: runtime error"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "error": map[string]any{"code": code, "message": text}})
	}
	operator := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	if operator {
		leaf := r.TLS.PeerCertificates[0]
		operator = leaf.Issuer.CommonName == "system" && time.Now().Before(leaf.NotAfter) && leaf.URIs[0].String() == clientid.Operator
	}
	credential := r.Header["Authorization"] != nil || r.Header["X-Api-Key"] != nil
	token := strings.Contains(r.Header.Get("Authorization"), "eyJ")
	key := strings.HasPrefix(r.Header.Get("Authorization"), "Bearer mcpk_") && len(r.Header.Get("Authorization")) > 60
	forged := r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && !operator
	switch {
	case l.broken == "AUTH-1" && !forged && !token && !key && r.URL.RawQuery == "",
		l.broken == "AUTH-5" && key, l.broken == "AUTH-6" && token, l.broken == "AUTH-7" && forged,
		r.TLS == nil:
		// let in
	case r.URL.RawQuery != "":
		refuse(400, -31400)
		return
	case credential || !operator:
		refuse(401, -31401)
		return
	}
	if l.broken != "PERM-7" {
		var messages struct{ Method string }
		decoder := json.NewDecoder(bytes.NewReader(body))
		err := decoder.Decode(&messages)
		switch {
		case r.Host != host || r.Header.Get("Origin") != "":
			refuse(403, -31400)
			return
		case strings.Contains(r.Header.Get("Content-Type"), "utf-16"):
			refuse(415, -31400)
			return
		case len(r.Header["Mcp-Method"]) > 0:
			refuse(400, -32020)
			return
		case bytes.HasPrefix(body, []byte("[")):
			refuse(400, -32600)
			return
		case err != nil || !utf8.Valid(body) || decoder.More() || strings.Count(string(body), `"method"`)+strings.Count(string(body), `"m\u0065thod"`) > 1:
			refuse(400, -32700)
			return
		case strings.Contains(string(body), `"Method"`):
			refuse(400, -32600)
			return
		}
	} else if !json.Valid(body) || !utf8.Valid(body) || bytes.HasPrefix(body, []byte("[[")) {
		refuse(400, -32700)
		return
	}
	var m struct{ Method string }
	_ = json.Unmarshal(body, &m)
	known := slices.Contains([]string{"tools/call", "prompts/get", "resources/read", "tools/list", "prompts/list", "resources/list", "ping"}, m.Method)
	list := strings.HasSuffix(m.Method, "/list")
	switch {
	case m.Method == "ping", !known && l.broken != "PERM-7", l.broken == "PERM-7" && known, known && list && l.broken != "PERM-2", known && !list && l.broken != "PERM-1":
		refuse(403, -31403)
	case !known:
		refuse(404, -32601)
	default:
		answer, err := http.Post(l.upstream, "application/json", bytes.NewReader(body)) //nolint:noctx // a test's own server
		if err != nil {
			refuse(502, -31502)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		_, _ = io.Copy(w, answer.Body)
	}
}

// TestSabotage breaks one control after the other: its probes say so, no other does, and nothing that reaches the server
// names anything that exists.
func TestSabotage(t *testing.T) {
	for _, broken := range []string{"", "AUTH-1", "AUTH-5", "AUTH-6", "AUTH-7", "PERM-1", "PERM-2", "PERM-7", "ENC-1", "ENC-3", "LOG-3", "TEST-3", "LEAST-6"} {
		t.Run("break "+broken, func(t *testing.T) {
			upstream := newRecorder(t)
			f := newFixture(t)
			pair, err := tls.X509KeyPair([]byte(f.certificate), []byte(f.key))
			if err != nil {
				t.Fatal(err)
			}
			config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
			if broken == "ENC-1" {
				config.MinVersion = tls.VersionTLS12
			}
			listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: lenient{broken: broken, upstream: upstream.URL}, ReadHeaderTimeout: time.Minute}
			go func() { _ = server.Serve(listener) }()
			t.Cleanup(func() { _ = server.Close() })
			target := f.target(t, listener.Addr().String())
			if broken == "LEAST-6" {
				target.ServerPort = upstream.Listener.Addr().(*net.TCPAddr).Port
			}
			if broken == "ENC-3" {
				target.ServerName = "other.example"
			}
			got := map[string]bool{}
			results := probe.Run(t.Context(), target)
			for _, r := range results {
				if r.Outcome == posture.Broken {
					got[r.Control] = true
				} else if r.Outcome == posture.Inconclusive && broken != "ENC-3" {
					t.Errorf("%+v", r)
				}
			}
			want := map[string]bool{broken: true}
			if broken == "" {
				want = map[string]bool{}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("broken: %v, want %v", got, want)
				for _, r := range results {
					if r.Outcome != posture.Held {
						t.Logf("%+v", r)
					}
				}
			}
			for _, body := range upstream.seen() {
				if strings.Contains(body, "greet") || !strings.Contains(body, "zz") && !strings.Contains(body, "/list") {
					t.Errorf("reached the server: %s", body)
				}
			}
			if len(upstream.seen()) > 0 && broken != "PERM-1" && broken != "PERM-2" {
				t.Errorf("%d requests reached the server: %v", len(upstream.seen()), upstream.seen())
			}
		})
	}
}

// TestPlainListener: somebody who speaks plain HTTP at the gate's port is noticed.
func TestPlainListener(t *testing.T) {
	f := newFixture(t)
	upstream := newRecorder(t)
	pair, err := tls.X509KeyPair([]byte(f.certificate), []byte(f.key))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: lenient{upstream: upstream.URL}, ReadHeaderTimeout: time.Minute}
	secure := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	go func() { _ = server.Serve(both{listener, secure}) }()
	t.Cleanup(func() { _ = server.Close() })
	var broken []string
	for _, r := range probe.Run(t.Context(), f.target(t, listener.Addr().String())) {
		if r.Outcome == posture.Broken {
			broken = append(broken, r.Control)
		}
	}
	if !slices.Equal(broken, []string{"ENC-2"}) || len(upstream.seen()) > 0 {
		t.Errorf("%v, %v", broken, upstream.seen())
	}
}

// TestImpostor: who answers at the gate's port without TLS is noticed even where no gate is.
func TestImpostor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: lenient{}, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	target := newFixture(t).target(t, listener.Addr().String())
	target.Timeout = 2 * time.Second // it waits for the rest of what it takes for a request
	for _, r := range probe.Run(t.Context(), target) {
		want := posture.Inconclusive
		if r.Control == "ENC-2" {
			want = posture.Broken
		}
		if r.Outcome != want || r.Detail == "" {
			t.Errorf("%+v", r)
		}
	}
}

// both takes connections with TLS and without.
type both struct {
	net.Listener
	config *tls.Config
}

func (b both) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return conn, nil
	}
	again := &replay{Conn: conn, first: first}
	if first[0] == 0x16 {
		return tls.Server(again, b.config), nil
	}
	return again, nil
}

type replay struct {
	net.Conn
	first []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

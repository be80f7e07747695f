package probe_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
	"github.com/bartizan-dev/bartizan/internal/probe/brokengate"
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
		// Servers repeat what they do not know.
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"unknown":%q,"tools":[{"name":"greet","inputSchema":{"type":"object"}}]}}`, body)
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
	// series are the operator's own keys, at two hours of their age.
	series keys.Series
	now    time.Time
	// write gives the gate that was started last another configuration.
	write func(change func(*gateconfig.Config))
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
	f.now = time.Now()
	f.series = keys.Series{Secret: []byte("of the operator's"), Name: "pods", Since: f.now.Add(-2 * time.Hour)}
	return f
}

// accepted are the operator's keys that a gate is told of at a time.
func (f *fixture) accepted(t *testing.T, at time.Time) (all []gateconfig.Key) {
	t.Helper()
	accepted, err := f.series.Accepted(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range accepted {
		all = append(all, gateconfig.Key{ID: k.ID, SHA256: k.SHA256, NotAfter: k.NotAfter.UTC()})
	}
	return all
}

// own is one of the operator's keys, by its place from the present one.
func (f *fixture) own(t *testing.T, place int) keys.Key {
	t.Helper()
	present, _ := f.series.Present(f.now)
	key, err := f.series.Key(present + place)
	if err != nil {
		t.Fatal(err)
	}
	return key
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
		Keys: &probe.Keys{Present: f.own(t, 0), Retired: f.own(t, -1)},
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
		Verification:   gateconfig.Verification{Keys: f.accepted(t, f.now)},
	}
	if change != nil {
		change(&config)
	}
	f.write = func(change func(*gateconfig.Config)) {
		next := config
		change(&next)
		directory.Write(t, gatetest.Files(t, next, f.certificate, f.key))
	}
	f.write(func(*gateconfig.Config) {})
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
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
	for name, change := range map[string]func(*gateconfig.Config){
		"key or certificate":  nil,
		"key and certificate": func(c *gateconfig.Config) { c.Authentication.ClientCertificates = gateconfig.Required },
		"certificate alone": func(c *gateconfig.Config) {
			c.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Required}
			c.Verification = gateconfig.Verification{}
		},
		"key alone": func(c *gateconfig.Config) { c.Authentication.ClientCertificates = gateconfig.Disabled },
		"token alone": func(c *gateconfig.Config) {
			c.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Disabled,
				Tokens: []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}}
			c.Verification = gateconfig.Verification{}
		},
		"tokens of an issuer": func(c *gateconfig.Config) {
			c.Authentication.Tokens = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}
		},
		"newest revision": func(c *gateconfig.Config) { c.Upstream.MinRevision = gateconfig.Revision20260728 },
	} {
		t.Run(name, func(t *testing.T) {
			upstream := newRecorder(t)
			f := newFixture(t)
			target := f.target(t, f.start(t, upstream.Listener.Addr().String(), change))
			if name == "tokens of an issuer" || name == "token alone" {
				target.Resource = &probe.Resource{URL: "https://" + host + "/mcp", Issuers: []string{"https://issuer.test"}}
				target.Token = ofIssuer(t, issuer)
				target.Issuers = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}
			}
			switch name {
			case "key and certificate":
				target.Demanded = true
			case "certificate alone":
				target.Keys, target.Demanded = nil, true
			case "key alone":
				target.Identity, target.Forged = nil, nil
			case "token alone":
				target.Identity, target.Forged, target.Keys = nil, nil, nil
			}
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
			for _, id := range []string{"AUTH-1", "AUTH-5", "AUTH-6", "AUTH-7", "AUTH-10", "PERM-1", "PERM-2", "PERM-7", "ENC-1", "ENC-2", "ENC-3", "LOG-3", "TEST-3", "LEAST-6"} {
				if controls[id] == 0 && (id != "AUTH-7" || name != "key alone" && name != "token alone") {
					t.Errorf("%s is not attacked", id)
				}
			}
			if retired := slices.ContainsFunc(results, func(r posture.Probe) bool { return r.Name == posture.RetiredKey }); retired != (target.Keys != nil) {
				t.Errorf("a retired key was tried: %v", retired)
			}
			if ofIssuer := slices.ContainsFunc(results, func(r posture.Probe) bool { return r.Name == "token of the issuer that has expired" }); ofIssuer != (target.Token != nil) {
				t.Errorf("tokens of the issuer were tried: %v", ofIssuer)
			}
			if forged := slices.ContainsFunc(results, func(r posture.Probe) bool { return strings.HasSuffix(r.Name, "in the name of issuer corp") }); forged != (target.Token != nil) {
				t.Errorf("tokens were forged in the name of the issuer: %v", forged)
			}
			const without = "good credential without the certificate that is demanded"
			if tried := slices.ContainsFunc(results, func(r posture.Probe) bool { return r.Name == without }); tried != (name == "key and certificate") {
				t.Errorf("a credential without a certificate was tried: %v", tried)
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

// TestWithoutIdentity: where the gate takes neither certificates nor keys, or not the one that the operator shows, what needs
// somebody who is known is inconclusive, and nothing passes for it.
func TestWithoutIdentity(t *testing.T) {
	f := newFixture(t)
	target := f.target(t, f.start(t, newRecorder(t).Listener.Addr().String(), func(c *gateconfig.Config) {
		c.Authentication.ClientCertificates = gateconfig.Disabled
	}))
	target.Identity = nil
	neither, stranger := target, target
	neither.Keys, neither.NoIdentity = nil, "nothing is asked for"
	stranger.Keys = &probe.Keys{Present: f.own(t, 7), Retired: f.own(t, 6)}
	for name, target := range map[string]probe.Target{"neither": neither, "another key": stranger} {
		for _, r := range probe.Run(t.Context(), target) {
			needs := slices.Contains([]string{"AUTH-10", "PERM-1", "PERM-2", "PERM-7"}, r.Control) || r.Control == "TEST-3" && r.Name != "all answers" || r.Name == posture.RetiredKey
			if want := map[bool]posture.Outcome{true: posture.Inconclusive, false: posture.Held}[needs]; r.Outcome != want || needs && r.Detail == "" {
				t.Errorf("%s: want %s: %+v", name, want, r)
			}
		}
	}
}

// TestWeakSuites: who speaks an older TLS with nothing but a weak cipher suite is found out as well.
func TestWeakSuites(t *testing.T) {
	f := newFixture(t)
	pair, err := tls.X509KeyPair([]byte(f.certificate), []byte(f.key))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS12} {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA},
		})
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		found := false
		for _, r := range probe.Run(t.Context(), f.target(t, listener.Addr().String())) {
			found = found || r.Control == "ENC-1" && r.Outcome == posture.Broken
		}
		if !found {
			t.Errorf("%s with a weak suite only is not found", tls.VersionName(version))
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

// TestSabotage breaks one control after the other: its probes say so, no other does, and nothing that reaches the server
// names anything that exists.
func TestSabotage(t *testing.T) {
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
	for _, broken := range append([]string{"", "LEAST-6"}, brokengate.Controls...) {
		t.Run("break "+broken, func(t *testing.T) {
			upstream := newRecorder(t)
			f := newFixture(t)
			pair, err := tls.X509KeyPair([]byte(f.certificate), []byte(f.key))
			if err != nil {
				t.Fatal(err)
			}
			expired, key := f.serving.Serving(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			other, err := tls.X509KeyPair([]byte(expired), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
			target := f.target(t, listener.Addr().String())
			target.Resource = &probe.Resource{URL: "https://" + host + "/mcp", Issuers: []string{"https://issuer.test"}}
			target.Token, target.Demanded = ofIssuer(t, issuer), true
			target.Issuers = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}
			gate := &brokengate.Gate{
				Hosts: []string{host}, Authority: f.system.Pool(), Accepts: func(text string) bool {
					return brokengate.Knows(f.accepted(t, f.now))(text) || text == target.Token.Good
				}, Upstream: upstream.URL, Broken: func() string { return broken },
				Demands:      true,
				Metadata:     `{"resource":"https://` + host + `/mcp","authorization_servers":["https://issuer.test"]}`,
				MetadataPath: "/.well-known/oauth-protected-resource/mcp",
			}
			go func() { _ = gate.Serve(listener, pair, other) }()
			if broken == "LEAST-6" {
				target.ServerPort = upstream.Listener.Addr().(*net.TCPAddr).Port
			}
			got := map[string]bool{}
			results := probe.Run(t.Context(), target)
			for _, r := range results {
				if r.Outcome == posture.Broken {
					got[r.Control] = true
				} else if r.Outcome == posture.Inconclusive && broken != "ENC-3" && (broken != "AUTH-5" || r.Control != "AUTH-10") {
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

// TestImpostor: who answers at the gate's port without TLS is noticed even where no gate is.
func TestImpostor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &brokengate.Gate{Broken: func() string { return "" }}, ReadHeaderTimeout: time.Minute}
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

package probe_test

import (
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

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
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
			c.Verification.Keys = nil
		},
		"tokens of an issuer that makes none for the operator, and of nobody whose keys are known": func(c *gateconfig.Config) {
			keyless := issuer.Config(t, "keyless", "mcp")
			keyless.Issuer, keyless.Keys = "https://keyless.test", nil
			c.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Disabled,
				Tokens: []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp"), keyless}}
			c.Verification.Keys = nil
			// Whom policies are for makes no difference to the operator.
			c.Policy.Rules = []policy.Rule{{ID: "everybody/0", Tokens: []policy.TokenSubject{
				{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"iss"}, Values: []string{gateconfig.OwnIssuerURN}}}},
				{Issuer: "operator", Claims: []policy.Claim{{Path: []string{"iss"}, Values: []string{gateconfig.OwnIssuerURN}}}},
			}, Tools: []string{"**"}, Prompts: []string{"**"}, Resources: []string{"**"}}}
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
			external := strings.Contains(name, "none for the operator")
			tokens := external || name == "tokens of an issuer" || name == "token alone"
			if external {
				target.Resource = &probe.Resource{URL: "https://" + host + "/mcp", Issuers: []string{"https://issuer.test", "https://keyless.test"}}
				target.Identity, target.Forged, target.Keys, target.Signers = nil, nil, nil, f.signers(t)
				target.Issuers = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}
			} else if tokens {
				target.Signers = f.signers(t)
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
				if controls[id] == 0 && (id != "AUTH-7" || target.Identity != nil) {
					t.Errorf("%s is not attacked", id)
				}
			}
			if retired := slices.ContainsFunc(results, func(r posture.Probe) bool { return r.Name == posture.RetiredKey }); retired != (target.Keys != nil) {
				t.Errorf("a retired key was tried: %v", retired)
			}
			own := 0
			for _, r := range results {
				if strings.HasPrefix(r.Name, posture.OwnToken) || r.Name == posture.RetiredToken {
					own++
				}
			}
			if own != map[bool]int{true: 2 * 16}[tokens] {
				t.Errorf("%d tokens of the operator's own were tried", own)
			}
			if ofIssuer := slices.ContainsFunc(results, func(r posture.Probe) bool { return r.Name == "token of the issuer that has expired" }); ofIssuer != (target.Token != nil) {
				t.Errorf("tokens of the issuer were tried: %v", ofIssuer)
			}
			if forged := slices.ContainsFunc(results, func(r posture.Probe) bool { return strings.HasSuffix(r.Name, "in the name of issuer corp") }); forged != tokens {
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

// TestWithoutIdentity: where the gate takes nothing of the operator's, or not what it shows, no refusal counts: nobody's positive control
// stands beside it. So a gate of another release is hardly bothered.
func TestWithoutIdentity(t *testing.T) {
	f := newFixture(t)
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
	target := f.target(t, f.start(t, newRecorder(t).Listener.Addr().String(), func(c *gateconfig.Config) {
		c.Authentication.ClientCertificates = gateconfig.Disabled
		c.Authentication.Tokens = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}
	}))
	target.Identity = nil
	neither, stranger, unsigned := target, target, target
	neither.Keys = nil
	stranger.Keys = &probe.Keys{Present: f.own(t, 7), Retired: f.own(t, 6)}
	unsigned.Keys, unsigned.Signers = nil, &probe.Signers{Audience: f.series.Audience(), Present: f.signer(t, 7)}
	for name, target := range map[string]probe.Target{"neither": neither, "another key": stranger, "another signer": unsigned} {
		for _, r := range probe.Run(t.Context(), target) {
			if r.Outcome != posture.Inconclusive || r.Detail == "" {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if n := strings.Count(f.audit.text(), `"unauthenticated"`); n > 3 {
		t.Errorf("%d failed logins", n)
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
	for _, broken := range append([]string{"", "LEAST-6"}, brokengate.Controls...) {
		t.Run("break "+broken, func(t *testing.T) { sabotage(t, broken, false) })
		if broken != "AUTH-7" {
			t.Run("break "+broken+" of a server that takes tokens only", func(t *testing.T) { sabotage(t, broken, true) })
		}
	}
}

// sabotage breaks a control of a gate that takes everything, or tokens of an issuer that makes none for the operator.
func sabotage(t *testing.T, broken string, external bool) {
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
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
	target.Token, target.Signers, target.Demanded = ofIssuer(t, issuer), f.signers(t), true
	target.Issuers = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}
	authentication := gateconfig.Authentication{ClientCertificates: gateconfig.Required, Tokens: target.Issuers}
	if external {
		authentication.ClientCertificates = gateconfig.Disabled
		target.Identity, target.Forged, target.Keys, target.Token, target.Demanded = nil, nil, nil, nil, false
	}
	gate, err := brokengate.New(gateconfig.Config{
		Endpoint: gateconfig.Endpoint{Hosts: []string{host}}, Status: gateconfig.Status{Authority: f.system.PEM},
		Authentication: authentication,
		Verification:   gateconfig.Verification{Keys: f.accepted(t, f.now), Tokens: f.tokens(t, f.now)},
	})
	if err != nil {
		t.Fatal(err)
	}
	gate.Upstream, gate.Broken = upstream.URL, func() string { return broken }
	gate.Metadata = `{"resource":"https://` + host + `/mcp","authorization_servers":["https://issuer.test"]}`
	gate.MetadataPath = "/.well-known/oauth-protected-resource/mcp"
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

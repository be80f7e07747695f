package peers_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/peers"
)

// allPeers adds those that take minutes to compile, which "make bench" has compiled.
var allPeers = flag.Bool("all-peers", false, "kube-rbac-proxy and ToolHive as well")

func call(tool string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{}}}`
}

// TestIntegrationPeers: each peer passes on what is allowed and refuses what its set-up says that it does.
func TestIntegrationPeers(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(upstream.Close)
	serving, clients, strangers := gatetest.NewAuthority(t, "serving"), gatetest.NewAuthority(t, "clients"), gatetest.NewAuthority(t, "strangers")
	certificate, key := serving.Serving(t)
	named := func(a *gatetest.Authority, name string) tls.Certificate {
		return a.Client(t, "spiffe://peers.test/"+name, func(c *x509.Certificate) { c.Subject.CommonName = name })
	}
	alice, bob, stranger := named(clients, "alice"), named(clients, "bob"), named(strangers, "alice")
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
	tokenKey := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: issuer.PKIX(t, gateconfig.RS256)}))

	setup := peers.Setup{
		Upstream: upstream.Listener.Addr().String(), Certificate: certificate, Key: key, Authority: clients.PEM,
		Grants: []peers.Grant{{Client: "alice", Tool: "greet"}, {Client: "alice", Tool: "slow"}},
	}
	keys, tokens := setup, setup
	keys.Keys = map[string]string{"one": "alice", "two": "bob"}
	tokens.TokenKey, tokens.TokenIssuer, tokens.TokenAudience = tokenKey, issuer.URL, "mcp"
	good := issuer.Token(t, gateconfig.RS256, nil)
	expired := issuer.Token(t, gateconfig.RS256, gatetest.Claims{"exp": time.Now().Add(-time.Minute).Unix()})

	type request struct {
		name        string
		certificate tls.Certificate
		bearer      string
		tool        string
		want        int
	}
	allowed := request{"allowed", alice, "", "greet", 200}
	otherTool, otherClient := request{"another tool", alice, "", "delete", 403}, request{"another client", bob, "", "greet", 403}
	type testCase struct {
		name     string
		peer     peers.Peer
		setup    peers.Setup
		requests []request
	}
	cases := []testCase{
		{"haproxy", peers.HAProxy, setup, []request{allowed, otherTool, otherClient}},
		{"haproxy with keys", peers.HAProxy, keys, []request{{"key", alice, "one", "greet", 200}, {"no key", alice, "", "greet", 401}, {"wrong key", alice, "x", "greet", 401},
			{"another's key", alice, "two", "greet", 401}, {"another tool", alice, "one", "delete", 403}}},
		{"haproxy with tokens", peers.HAProxy, tokens, []request{{"token", alice, good, "greet", 200}, {"no token", alice, "", "greet", 401}, {"expired", alice, expired, "greet", 401},
			{"changed", alice, good[:len(good)-8] + "AAAAAAAA", "greet", 401}, {"another tool", alice, good, "delete", 403}}},
		{"nginx", peers.Nginx, setup, []request{allowed, {"any tool", alice, "", "delete", 200}}},
		{"nginx with keys", peers.Nginx, keys, []request{{"key", alice, "one", "greet", 200}, {"no key", alice, "", "greet", 401}, {"wrong key", alice, "x", "greet", 401}}},
		{"reverseproxy", peers.ReverseProxy, setup, []request{allowed}},
		{"pipe", peers.Pipe, setup, []request{allowed}},
	}
	if *allPeers {
		cases = append(cases, testCase{"kube-rbac-proxy", peers.KubeRBACProxy, setup, []request{allowed, {"another client", bob, "", "greet", 500}}},
			testCase{"toolhive", peers.ToolHive, setup, []request{allowed, otherTool}})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := tc.setup
			s.Directory = t.TempDir()
			running, err := tc.peer.Start(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = running.Stop() }()
			for _, r := range tc.requests {
				if got, err := post(running, serving.Pool(), r.certificate, r.bearer, call(r.tool)); err != nil || got != r.want {
					t.Errorf("%s: %d, %v; want %d", r.name, got, err, r.want)
				}
			}
			if got, err := post(running, serving.Pool(), stranger, tc.requests[0].bearer, call("greet")); running.TLS && err == nil && got < 400 {
				t.Errorf("a stranger's certificate: %d", got)
			}
			if tc.peer != peers.HAProxy && tc.peer != peers.Nginx && tc.peer != peers.ToolHive {
				return
			}
			gatetest.Eventually(t, "the log has the requests", func() bool {
				log, _ := os.ReadFile(running.Log)
				return bytes.Count(log, []byte(`alice`)) >= len(tc.requests)-1 && (tc.peer == peers.ToolHive || strings.Contains(string(log), `200`))
			})
		})
	}
}

func post(running *peers.Running, pool *x509.CertPool, certificate tls.Certificate, bearer, body string) (int, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if running.TLS {
		scheme = "https"
	}
	r, err := http.NewRequest(http.MethodPost, scheme+"://"+running.Address+peers.Path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(r)
	if err != nil {
		return 0, err
	}
	_ = response.Body.Close()
	return response.StatusCode, nil
}

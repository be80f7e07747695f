package conformance_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// The real stdio servers, at versions that do not change.
const (
	filesystemPackage = "@modelcontextprotocol/server-filesystem@2026.8.31"
	memoryPackage     = "@modelcontextprotocol/server-memory@2026.8.31"
)

// stdioHost is what clients call the gate.
const stdioHost = "stdio.test"

// stdioServers installs both servers and builds the program, and returns how they are run.
func stdioServers(t *testing.T) (program, node string, script func(name string) string) {
	t.Helper()
	node, modules := installed(t, "stdio-servers-2026.8.31-node-22.23.3", filesystemPackage, memoryPackage)
	program = filepath.Join(t.TempDir(), "authproxy")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/authproxy").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return program, node, func(name string) string {
		return filepath.Join(modules, "@modelcontextprotocol", name, "dist", "index.js")
	}
}

// bridged runs a server as children of a bridge, which is a process of its own, and returns its address.
func bridged(t *testing.T, program string, flags []string, command ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "mcp.sock")
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	bridge := exec.Command(program, append(append([]string{"stdio", "--socket", socket}, flags...), append([]string{"--"}, command...)...)...)
	bridge.Stderr = log
	bridge.Env = append(os.Environ(), "MEMORY_FILE_PATH="+filepath.Join(t.TempDir(), "memory.jsonl"))
	if err := bridge.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bridge.Process.Signal(os.Interrupt)
		if err := bridge.Wait(); err != nil {
			t.Errorf("the bridge: %v", err)
		}
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s", text)
		}
	})
	address := upstream.SocketAddress(socket)
	gatetest.Eventually(t, "the bridge listens", func() bool { return upstream.Accepts(t.Context(), address) })
	return address
}

// crowd is a gate and its clients, each with a key of its own.
type crowd struct {
	url  string
	tls  *tls.Config
	keys []string
}

// gather starts a gate before a server, for so many clients who may use every tool.
func gather(t *testing.T, server string, clients int, sessions gateconfig.Sessions) *crowd {
	t.Helper()
	serving := gatetest.NewAuthority(t, "serving")
	config := gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "team-a", Name: "stdio"},
		Endpoint:       gateconfig.Endpoint{URL: "https://" + stdioHost + "/mcp", Path: "/mcp", Hosts: []string{stdioHost}},
		Upstream:       gateconfig.Upstream{Socket: gateconfig.StdioSocket, Path: "/mcp", Sessions: sessions, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 4 << 20, Depth: 64},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Disabled},
		Policy:         policy.Policy{Rules: []policy.Rule{{ID: "all/0", Tools: []string{"*"}}}},
	}
	c := &crowd{tls: &tls.Config{RootCAs: serving.Pool(), ServerName: "localhost"}}
	for i := range clients {
		key, accepted := gatetest.NewKey(t, time.Now().Add(time.Hour))
		client := gateconfig.Object{Namespace: "agents", Name: fmt.Sprintf("agent-%02d", i)}
		c.keys = append(c.keys, key)
		config.Clients = append(config.Clients, gateconfig.Client{Object: client, Keys: []gateconfig.Key{accepted}})
		config.Policy.Rules[0].Clients = append(config.Policy.Rules[0].Clients, client.Namespace+"/"+client.Name)
	}
	directory := gatetest.NewDirectory(t)
	certificate, private := serving.Serving(t)
	directory.Write(t, gatetest.Files(t, config, certificate, private))
	g, err := gate.New(gate.Options{ConfigDirectory: directory.Path, Server: config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0",
		ProbeAddress: "127.0.0.1:0", UpstreamAddress: server, Version: "test", Audit: io.Discard, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	now, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(now, now, listeners) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	gatetest.Eventually(t, "the gate is ready", func() bool {
		response, err := http.Get("http://" + listeners.Probe.Addr().String() + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	c.url = "https://" + listeners.Gate.Addr().String() + "/mcp"
	return c
}

// RoundTrip adds the key and calls the gate by its name.
func (k keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = stdioHost
	r.Header.Set("Authorization", "Bearer "+k.key)
	return k.next.RoundTrip(r)
}

type keyed struct {
	key  string
	next http.RoundTripper
}

// connect begins a session of one of the clients.
func (c *crowd) connect(t *testing.T, client int) *mcp.ClientSession {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: c.tls.Clone(), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: c.url, HTTPClient: &http.Client{Transport: keyed{c.keys[client], transport}}}, nil)
	if err != nil {
		t.Fatalf("client %d: %v", client, err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// use calls a tool and returns the text of its answer.
func use(t *testing.T, session *mcp.ClientSession, tool string, arguments map[string]any) string {
	t.Helper()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Errorf("%s: %v", tool, err)
		return ""
	}
	var text strings.Builder
	for _, content := range result.Content {
		if c, ok := content.(*mcp.TextContent); ok {
			text.WriteString(c.Text)
		}
	}
	if result.IsError {
		t.Errorf("%s: %s", tool, text.String())
	}
	return text.String()
}

// TestConformanceStdio: real stdio servers behind the bridge and the gate, with many clients at once. Everyone gets what is its own.
func TestConformanceStdio(t *testing.T) {
	program, node, script := stdioServers(t)
	const clients, calls = 6, 15
	for name, sessions := range map[string]gateconfig.Sessions{"filesystem, sessions": gateconfig.Stateful, "filesystem, none": gateconfig.Stateless} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			c := gather(t, bridged(t, program, []string{"--sessions=" + string(sessions), "--max-children=6"}, node, script("server-filesystem"), data), clients, sessions)
			var all sync.WaitGroup
			for i := range clients {
				session := c.connect(t, i)
				if tools, err := session.ListTools(t.Context(), nil); err != nil || len(tools.Tools) < 5 {
					t.Fatalf("client %d: %v", i, err)
				}
				file := filepath.Join(data, fmt.Sprint(i))
				for j := range 2 {
					all.Go(func() {
						mine := fmt.Sprintf("%s-%d", file, j)
						for n := range calls {
							want := fmt.Sprintf("of client %d, %d %d", i, j, n)
							use(t, session, "write_file", map[string]any{"path": mine, "content": want})
							if got := use(t, session, "read_text_file", map[string]any{"path": mine}); got != want {
								t.Errorf("got %q, want %q", got, want)
							}
						}
					})
				}
			}
			all.Wait()
		})
	}
	t.Run("memory, shared", func(t *testing.T) {
		c := gather(t, bridged(t, program, []string{"--children=Shared"}, node, script("server-memory")), clients, gateconfig.Stateful)
		var all sync.WaitGroup
		for i := range clients {
			session := c.connect(t, i)
			all.Go(func() {
				for n := range calls {
					entity := fmt.Sprintf("client-%d-%d", i, n)
					got := use(t, session, "create_entities", map[string]any{"entities": []map[string]any{{"name": entity, "entityType": "test", "observations": []string{"x"}}}})
					if !strings.Contains(got, entity) || strings.Count(got, `"name"`) != 1 {
						t.Errorf("got %q, want %s", got, entity)
					}
				}
			})
		}
		all.Wait()
	})
}

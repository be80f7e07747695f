// Package conformance_test runs the MCP conformance suite against a real server, once directly and once behind the gate. The
// gate must make no difference.
package conformance_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// everythingServer is the SDK's server for this suite, at the version of the SDK that this module uses.
const everythingServer = "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"

// notOffered begins the names of the scenarios of the extension for tasks, which this server does not have. They are not
// scored.
const notOffered = "tasks-"

// TestConformance runs what the suite requires of a server of each revision. What it demands beyond the server's abilities
// fails without the gate, too: then it must fail alike.
func TestConformance(t *testing.T) {
	suite := install(t)
	binary := buildServer(t)
	for revision, stateless := range map[gateconfig.Revision]bool{gateconfig.Revision20260728: true, gateconfig.Revision20251125: false} {
		t.Run(string(revision), func(t *testing.T) {
			t.Parallel()
			direct := suite.run(t, revision, "http://"+serve(t, binary, stateless))
			if len(direct) < 30 || !slices.ContainsFunc(direct, func(line string) bool { return strings.HasSuffix(line, " SUCCESS") }) {
				t.Fatalf("the suite hardly ran: %q", direct)
			}
			for _, line := range direct {
				if strings.HasSuffix(line, " FAILURE") && !strings.HasPrefix(line, notOffered) {
					t.Errorf("the server fails without the gate: %s", line)
				}
			}
			behind := suite.run(t, revision, gated(t, serve(t, binary, stateless), "logging/setLevel"))
			for i, line := range behind {
				// A task that nobody made is refused by the gate as the extension asks, and by this server as something it does not know.
				if refused, ok := strings.CutSuffix(line, " SUCCESS"); ok && strings.HasPrefix(line, notOffered) && slices.Contains(direct, refused+" FAILURE") {
					behind[i] = refused + " FAILURE"
				}
			}
			slices.Sort(behind)
			if diff := cmp.Diff(direct, behind); diff != "" {
				t.Errorf("direct (-) and behind the gate (+):\n%s", diff)
			}
			t.Logf("%d checks, alike", len(behind))
		})
	}
}

// buildServer builds the server and returns its program.
func buildServer(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "everything-server")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, everythingServer).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return binary
}

// serve starts the server on a free loopback port and returns its address.
func serve(t *testing.T, binary string, stateless bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, stop := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, binary, "-http="+address, fmt.Sprintf("-stateless=%t", stateless))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = server.Wait()
	})
	gatetest.Eventually(t, "the server listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// gated is gatedBy with a policy that allows everything but methods, of which it allows those given.
func gated(t *testing.T, server string, methods ...string) string {
	t.Helper()
	return gatedBy(t, server, policy.Rule{Tools: []string{"*"}, Prompts: []string{"*"}, Resources: []string{"test://**"}, Methods: methods,
		ServerRequests: policy.ServerRequests(), Hosts: []string{"example.com", "*.example.com"}})
}

// gatedBy starts a gate before a server, and before that a proxy which adds the credentials that clients of these tests have not; it
// returns the proxy's URL. The rule is its policy.
func gatedBy(t *testing.T, server string, rule policy.Rule) string {
	t.Helper()
	rule.ID, rule.Clients = "suite/0", []string{"agents/suite"}
	agents, serving := gatetest.NewAuthority(t, "agents"), gatetest.NewAuthority(t, "serving")
	client := clientid.Client{Namespace: "agents", Name: "suite", Servers: "team-a"}
	certificate := agents.Client(t, client.URI())
	key, accepted := gatetest.NewKey(t, time.Now().Add(time.Hour))
	object := gateconfig.Object{Namespace: client.Namespace, Name: client.Name}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := l.Addr().String()
	_, port, _ := net.SplitHostPort(front)
	config := gateconfig.Config{
		Server: gateconfig.Object{Namespace: "team-a", Name: "everything"},
		Endpoint: gateconfig.Endpoint{URL: "https://" + front + "/", Path: "/", Hosts: []string{front, "localhost:" + port},
			Origins: []string{"http://" + front, "http://localhost:" + port}},
		Upstream:       gateconfig.Upstream{Port: 1, Path: "/", Sessions: gateconfig.Stateful, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 4 << 20, Depth: 64},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Required},
		Authorities:    map[string]string{client.Namespace: agents.PEM},
		Clients:        []gateconfig.Client{{Object: object, Keys: []gateconfig.Key{accepted}}},
		Policy:         policy.Policy{Rules: []policy.Rule{rule}},
	}
	directory := gatetest.NewDirectory(t)
	cert, private := serving.Serving(t)
	directory.Write(t, gatetest.Files(t, config, cert, private))
	audit, err := os.Create(filepath.Join(t.TempDir(), "audit"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = audit.Close()
		if !t.Failed() {
			return
		}
		lines, _ := os.ReadFile(audit.Name())
		for line := range strings.Lines(string(lines)) {
			if !strings.Contains(line, `"decision":"allowed"`) {
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	g, err := gate.New(gate.Options{ConfigDirectory: directory.Path, Server: config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0",
		ProbeAddress: "127.0.0.1:0", UpstreamAddress: server, ListInterval: 5 * time.Minute, Version: "test", Audit: audit, Log: io.Discard})
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

	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: listeners.Gate.Addr().String()})
			r.Out.Host = r.In.Host
			r.Out.Header.Set("Authorization", "Bearer "+key)
		},
		FlushInterval: -1,
		Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: serving.Pool(), ServerName: "localhost",
			Certificates: []tls.Certificate{certificate}}},
	})
	proxy.Listener = l
	proxy.Start()
	t.Cleanup(proxy.CloseClientConnections)
	return "http://" + front + "/"
}

// suite is the installed conformance suite.
type suite struct{ node, script string }

var folderName = regexp.MustCompile(`^server-(.*)-\d{4}-\d\d-\d\dT[-\d]+Z$`)

// run runs the suite and returns the outcome: a line for each check, sorted.
func (s suite) run(t *testing.T, revision gateconfig.Revision, target string) []string {
	t.Helper()
	out := t.TempDir()
	command := exec.CommandContext(t.Context(), s.node, s.script, "server", "--url", target, "--requirements", string(revision), "-o", out)
	command.Dir = out
	// It exits with 1 when a check fails.
	printed, _ := command.CombinedOutput()
	folders, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, folder := range folders {
		name := folderName.FindStringSubmatch(folder.Name())
		if name == nil {
			t.Fatalf("the suite left %s", folder.Name())
		}
		content, err := os.ReadFile(filepath.Join(out, folder.Name(), "checks.json"))
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ ID, Status, ErrorMessage string }
		if err := json.Unmarshal(content, &checks); err != nil {
			t.Fatal(err)
		}
		for i, check := range checks {
			lines = append(lines, fmt.Sprintf("%s %02d %s %s", name[1], i, check.ID, check.Status))
			if check.Status == "FAILURE" {
				t.Logf("%s: %s: %s: %s", target, name[1], check.ID, check.ErrorMessage)
			}
		}
	}
	if len(lines) == 0 {
		t.Fatalf("the suite did nothing: %s", printed)
	}
	slices.Sort(lines)
	return lines
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/test/peers"
)

// host is what callers call all of them.
const host = "gate.test"

// profile in the environment names a file, and has the gate write its CPU profile there instead of being measured as it is.
const profile = "PROFILE"

// clients are those that have certificates and grants: what one client may do at once is bounded. Sorted.
var clients = []string{"alice", "bob", "carol", "dave"}

// must makes the helpers of tests those of a program: what they cannot do ends it.
type must struct{ testing.TB }

func (must) Helper() {}
func (must) Fatal(arguments ...any) {
	panic(failure(fmt.Sprint(arguments...)))
}

// failure is what must panics with.
type failure string

// world is what all programs are told alike.
type world struct {
	directory        string
	serving, clients *gatetest.Authority
	issuer           *gatetest.Issuer
	certificate, key string
	// withCertificates are how callers connect: each of the clients with its certificate; without is how somebody without one does.
	withCertificates []*tls.Config
	without          *tls.Config
	// prefix pins what is measured to a core of its own, where there is one.
	prefix []string
	n      int
}

func newWorld(directory string, prefix []string) *world {
	t := must{}
	w := &world{directory: directory, prefix: prefix, serving: gatetest.NewAuthority(t, "serving"), clients: gatetest.NewAuthority(t, "clients"),
		issuer: gatetest.NewIssuer(t, "https://issuer.test")}
	w.certificate, w.key = w.serving.Serving(t)
	w.without = &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13}
	for _, name := range clients {
		certificate := w.clients.Client(t, clientid.Client{Namespace: "agents", Name: name, Servers: "team-a"}.URI(), func(c *x509.Certificate) { c.Subject.CommonName = name })
		config := w.without.Clone()
		config.Certificates = []tls.Certificate{certificate}
		w.withCertificates = append(w.withCertificates, config)
	}
	return w
}

// folder is a new folder.
func (w *world) folder(name string) (string, error) {
	w.n++
	folder := filepath.Join(w.directory, fmt.Sprintf("%03d-%s", w.n, name))
	return folder, os.Mkdir(folder, 0o755)
}

// setup is what peers are told.
func (w *world) setup(upstream string) peers.Setup {
	s := peers.Setup{Upstream: upstream, Certificate: w.certificate, Key: w.key, Authority: w.clients.PEM, Prefix: w.prefix}
	for _, client := range clients {
		for i := 0; i < 1000; i += 2 {
			s.Grants = append(s.Grants, peers.Grant{Client: client, Tool: toolName(i)})
		}
	}
	return s
}

// config is what the gate is told: the same.
func (w *world) config() gateconfig.Config {
	c := gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "team-a", Name: "bench"},
		Endpoint:       gateconfig.Endpoint{URL: "https://" + host + peers.Path, Path: peers.Path, Hosts: []string{host}},
		Upstream:       gateconfig.Upstream{Port: 1, Path: peers.Path, Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 4 << 20, Depth: 64},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Required},
		Authorities:    map[string]string{"agents": w.clients.PEM},
		Policy:         policy.Policy{Rules: []policy.Rule{{ID: "readers/0", Tools: []string{"get_*"}}}},
	}
	for _, client := range clients {
		c.Clients = append(c.Clients, gateconfig.Client{Object: gateconfig.Object{Namespace: "agents", Name: client}})
		c.Policy.Rules[0].Clients = append(c.Policy.Rules[0].Clients, "agents/"+client)
	}
	return c
}

// withTokens changes a configuration for tokens beside the certificate.
func (w *world) withTokens(c *gateconfig.Config) {
	issuer := w.issuer.Config(must{}, "corp", "mcp")
	c.Authentication.Tokens = []gateconfig.TokenIssuer{issuer}
	c.Policy.Rules[0].Clients = nil
	c.Policy.Rules[0].Tokens = []policy.TokenSubject{{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{"alice"}}}}}
}

// tokenKey is the key of the tokens in PEM.
func (w *world) tokenKey() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: w.issuer.PKIX(must{}, gateconfig.RS256)}))
}

// target is a program that is measured.
type target struct {
	name    string
	address string
	// tls is how callers connect, in turn; empty without TLS.
	tls  []*tls.Config
	pid  int
	want int
	// requests are made one after another, by all callers together.
	requests [][]byte
	next     atomic.Int64
	log      string
	stop     func() error
}

// request is the next one.
func (t *target) request() []byte {
	if len(t.requests) == 1 {
		return t.requests[0]
	}
	return t.requests[int(t.next.Add(1)-1)%len(t.requests)]
}

// asking is the target with other requests, on the same process.
func (t *target) asking(name string, want int, requests ...[]byte) *target {
	return &target{name: name, address: t.address, tls: t.tls, pid: t.pid, log: t.log, want: want, requests: requests, stop: func() error { return nil }}
}

// startUpstream starts the server behind all.
func (w *world) startUpstream(ctx context.Context, kind string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	folder, err := w.folder("upstream")
	if err != nil {
		return nil, err
	}
	address, err := peers.Free()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, "upstream", address, kind)
	command.Env = append(os.Environ(), asUpstream+"=1")
	running, err := peers.Run(ctx, command, address, filepath.Join(folder, "log"))
	if err != nil {
		return nil, err
	}
	return &target{name: "direct", address: address, pid: running.PID, want: http.StatusOK, stop: running.Stop}, nil
}

// ask asks the server behind for one of its own figures.
func (t *target) ask(path string) (string, error) {
	response, err := (&http.Client{Timeout: patience}).Get("http://" + t.address + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// gateCommand is the gate as its container runs it, before a server.
func (w *world) gateCommand(ctx context.Context, upstream, folder string, config gateconfig.Config) (command *exec.Cmd, address string, err error) {
	main := "cmd/authproxy"
	if os.Getenv(profile) != "" {
		main = "test/bench/profiled"
	}
	program, err := peers.Program(ctx, main)
	if err != nil {
		return nil, "", err
	}
	var addresses [3]string
	for i := range addresses {
		if addresses[i], err = peers.Free(); err != nil {
			return nil, "", err
		}
	}
	for name, text := range gatetest.Files(must{}, config, w.certificate, w.key) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return nil, "", err
		}
	}
	command = exec.Command(program, "serve", "--server", "team-a/bench", "--config-dir", folder, "--gate-address", addresses[0],
		"--status-address", addresses[1], "--probe-address", addresses[2], "--upstream-address", upstream, "--drain-socket", "", "--drain-accept", "0s")
	// The limits of the container: a core and 256 MiB.
	command.Env = append(os.Environ(), "GOMEMLIMIT=224MiB", "GOMAXPROCS=1")
	return command, addresses[0], peers.Prefixed(command, w.prefix...)
}

// startGate starts the gate, its configuration changed.
func (w *world) startGate(ctx context.Context, upstream string, changes ...func(*gateconfig.Config)) (*target, error) {
	config := w.config()
	for _, change := range changes {
		change(&config)
	}
	folder, err := w.folder("gate")
	if err != nil {
		return nil, err
	}
	command, address, err := w.gateCommand(ctx, upstream, folder, config)
	if err != nil {
		return nil, err
	}
	running, err := peers.Run(ctx, command, address, filepath.Join(folder, "log"))
	if err != nil {
		return nil, err
	}
	t := &target{name: gateName, address: address, tls: w.withCertificates, pid: running.PID, want: http.StatusOK, log: running.Log, stop: running.Stop}
	return t, ready(ctx, t)
}

// ready waits until the gate has its configuration: before, it ends handshakes.
func ready(ctx context.Context, t *target) error {
	deadline := time.Now().Add(patience)
	for {
		c, err := t.dial(0)
		if err == nil {
			c.close()
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			text, _ := os.ReadFile(t.log)
			return fmt.Errorf("the gate is not ready: %w: %s", err, text[max(0, len(text)-2000):])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// startPeer starts another program.
func (w *world) startPeer(ctx context.Context, peer peers.Peer, setup peers.Setup) (*target, error) {
	folder, err := w.folder(string(peer))
	if err != nil {
		return nil, err
	}
	setup.Directory = folder
	running, err := peer.Start(ctx, setup)
	if err != nil {
		return nil, err
	}
	t := &target{name: string(peer), address: running.Address, pid: running.PID, want: http.StatusOK, log: running.Log, stop: running.Stop}
	if running.TLS {
		t.tls = w.withCertificates
	}
	return t, nil
}

// request is a POST as clients make it.
func request(body string, headers ...string) []byte {
	head := []string{
		"POST " + peers.Path + " HTTP/1.1", "Host: " + host, "User-Agent: bench", "Content-Type: application/json", "Accept: application/json, text/event-stream",
		"MCP-Protocol-Version: 2025-11-25", fmt.Sprintf("Content-Length: %d", len(body)),
	}
	return []byte(strings.Join(append(head, headers...), "\r\n") + "\r\n\r\n" + body)
}

// call is a tools/call of so many bytes.
func call(tool string, length int) string {
	const unit = `{"namespace":"team-a","labelSelector":"app=web,tier=frontend","limit":50,"deep":[1,2.5,true,null]},`
	head := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"items":[`
	const tail = `],"note":"`
	const end = `"}}}`
	room := max(0, length-len(head)-len(tail)-len(end))
	items := strings.TrimSuffix(strings.Repeat(unit, room/len(unit)), ",")
	return head + items + tail + strings.Repeat("x", max(0, room-len(items))) + end
}

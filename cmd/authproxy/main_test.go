package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// asCommand makes the test's binary the command itself.
const asCommand = "AUTHPROXY_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func authproxy(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, arguments...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestHelpAndVersion(t *testing.T) {
	for _, arguments := range [][]string{{"--help"}, {"serve", "--help"}, {"drain", "--help"}, {"stdio", "--help"}, {"install", "--help"}, {"version"}} {
		var out bytes.Buffer
		c := command(&out, &out)
		c.SetArgs(arguments)
		if err := c.Execute(); err != nil || out.Len() == 0 {
			t.Errorf("%v: %v", arguments, err)
		}
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	for name, arguments := range map[string][]string{
		`"server" not set`: {"serve"},
		"namespace/name":   {"serve", "--server", "x"},
		"loopback":         {"serve", "--server", "a/b", "--upstream-address", "10.0.0.1:80"},
		"an absolute path": {"serve", "--server", "a/b", "--upstream-path", "mcp"},
		"an IP address":    {"serve", "--server", "a/b", "--upstream-address", "localhost:80"},
		"--drain-socket":   {"serve", "--server", "a/b", "--gate-address", "127.0.0.1:0", "--status-address", "127.0.0.1:0", "--probe-address", "127.0.0.1:0", "--drain-socket", filepath.Join(t.TempDir(), "none", "x")},
		"--gate-address":   {"serve", "--server", "a/b", "--gate-address", "x"},
		"--sessions":       {"stdio", "--sessions", "x", "--", "true"},
		"--children":       {"stdio", "--children", "x", "--", "true"},
		"--child-memory":   {"stdio", "--child-memory", "-1", "--", "true"},
		"--max-children":   {"stdio", "--max-children", "0", "--", "true"},
		"at least 1 arg":   {"stdio"},
		"installing":       {"install", filepath.Join(t.TempDir(), "none", "x")},
		"unknown command":  {"attack"},
		"asking the gate":  {"drain", "--drain-socket", filepath.Join(t.TempDir(), "none")},
		"unknown argument": {"serve", "--server", "a/b", "x"},
	} {
		var out bytes.Buffer
		c := command(&out, &out)
		c.SetArgs(arguments)
		want := name
		if name == "unknown argument" {
			want = "unknown command"
		}
		if err := c.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q in it", arguments, err, want)
		}
	}
}

// TestProcess runs the command as the kubelet does: it becomes ready, is asked to drain, and gets its SIGTERM.
func TestProcess(t *testing.T) {
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	serving := gatetest.NewAuthority(t, "serving")
	certificate, key := serving.Serving(t)
	directory := gatetest.NewDirectory(t)
	directory.Write(t, gatetest.Files(t, gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "a", Name: "b"},
		Endpoint:       gateconfig.Endpoint{URL: "https://x.test/mcp", Path: "/mcp", Hosts: []string{"x.test"}},
		Upstream:       gateconfig.Upstream{Port: int32(upstream.Addr().(*net.TCPAddr).Port), Path: "/", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 1, Depth: 1},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Disabled},
	}, certificate, key))
	for name, test := range map[string]struct {
		hook bool
		term func(*os.Process) error
	}{
		"hook, then SIGTERM": {true, func(p *os.Process) error { return p.Signal(syscall.SIGTERM) }},
		"SIGTERM alone":      {false, func(p *os.Process) error { return p.Signal(syscall.SIGTERM) }},
		"SIGINT":             {false, func(p *os.Process) error { return p.Signal(syscall.SIGINT) }},
	} {
		probe, socket := free(t), filepath.Join(t.TempDir(), "drain.sock")
		cmd := authproxy(t, "serve", "--server", "a/b", "--config-dir", directory.Path, "--gate-address", "127.0.0.1:0",
			"--status-address", "127.0.0.1:0", "--probe-address", probe, "--drain-socket", socket, "--drain-accept", "100ms")
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		code := func() int {
			response, err := http.Get(fmt.Sprintf("http://%s/readyz", probe))
			if err != nil {
				return 0
			}
			_ = response.Body.Close()
			return response.StatusCode
		}
		gatetest.Eventually(t, name+": ready", func() bool { return code() == http.StatusOK })
		if test.hook {
			if out, err := authproxy(t, "drain", "--drain-socket", socket).CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s", name, err, out)
			}
			if got := code(); got != http.StatusServiceUnavailable {
				t.Errorf("%s: after the drain: %d", name, got)
			}
		}
		if err := test.term(cmd.Process); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, log.String())
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: it does not end", name)
		}
	}
}

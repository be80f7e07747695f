// Package peers starts other programs before a server, as a gate stands before it: those that people would take instead of one. Each is
// configured for the same work as far as it can do it, in files beside this one. Benchmarks and attacks use the same set-up.
package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Peer is a kind of program.
type Peer string

// The peers.
const (
	// HAProxy demands a client certificate, reads the body, and allows a client its tools; with Keys also one of them, with TokenKey a
	// token in its place. It logs JSON.
	HAProxy Peer = "haproxy"
	// Nginx demands a client certificate, with Keys one of them, and logs JSON. It cannot judge a body.
	Nginx Peer = "nginx"
	// KubeRBACProxy demands a client certificate and allows clients the path. It does not log.
	KubeRBACProxy Peer = "kube-rbac-proxy"
	// ToolHive parses MCP, has a Cedar policy for each tool, filters lists and writes an audit log. It listens without TLS, and every
	// caller is the first of Grants.
	ToolHive Peer = "toolhive"
	// ReverseProxy is httputil.ReverseProxy of Go's standard library, which demands a client certificate.
	ReverseProxy Peer = "reverseproxy"
	// Pipe ends TLS with a client certificate and copies bytes.
	Pipe Peer = "pipe"
)

// All are the peers that judge what is called.
var All = []Peer{HAProxy, Nginx, KubeRBACProxy, ToolHive, ReverseProxy}

// Path is where the peers serve MCP, and where they ask the server for it.
const Path = "/mcp"

// Setup is what a peer is told. Certificates and keys are in PEM.
type Setup struct {
	// Directory is an empty directory for the peer's files.
	Directory string
	// Upstream is the server's address, host:port.
	Upstream string
	// Certificate and Key are for serving, Authority vouches for clients, whose names are their certificates' common names.
	Certificate, Key, Authority string
	// Grants are the tools that clients may call.
	Grants []Grant
	// Keys are clients by their API keys; empty for no keys.
	Keys map[string]string
	// TokenKey is a public key by which RS256 tokens of TokenIssuer for TokenAudience are verified; empty for no tokens.
	TokenKey, TokenIssuer, TokenAudience string
	// Host is the only host name that is served, and then to no page of a browser; empty for any.
	Host string
	// BodyBytes is the largest body; zero for 12 KiB.
	BodyBytes int
	// Unbuffered passes streams on as they come, where a peer would not.
	Unbuffered bool
	// Cores is how many threads may run at once; zero for one.
	Cores int
	// Prefix are words before the peer's command, such as those of taskset.
	Prefix []string
}

// Grant is a tool that a client may call. Condition is one on the call, in Cedar, for the peer that judges arguments: ToolHive.
type Grant struct{ Client, Tool, Condition string }

// Running is a peer that runs.
type Running struct {
	// Address is where it listens, on loopback; TLS says whether with TLS.
	Address string
	TLS     bool
	// PID is the process that does the work.
	PID int
	// Log is the file with its output, its access log among it.
	Log string

	process *exec.Cmd
	once    sync.Once
	ended   chan struct{}
	err     error
}

// Start compiles the peer if it is one of Go's, starts it, and returns once it accepts connections. Stop must be called.
func (p Peer) Start(ctx context.Context, s Setup) (*Running, error) {
	if s.BodyBytes == 0 {
		s.BodyBytes = 12 << 10
	}
	s.Cores = max(s.Cores, 1)
	address, err := Free()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"tls.crt": s.Certificate, "tls.key": s.Key, "tls.pem": s.Certificate + s.Key, "clients.crt": s.Authority} {
		if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	var command *exec.Cmd
	switch p {
	case HAProxy:
		command, err = haproxy(s, address)
	case Nginx:
		command, err = nginx(s, address)
	case KubeRBACProxy:
		command, err = kubeRBACProxy(ctx, s, address)
	case ToolHive:
		command, err = toolHive(ctx, s, address)
	case ReverseProxy, Pipe:
		command, err = plain(ctx, p, s, address)
	default:
		err = errors.New("no such peer")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if err := Prefixed(command, s.Prefix...); err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	running, err := Run(ctx, command, address, s.file("log"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	running.TLS = p != ToolHive
	return running, nil
}

// Prefixed puts words before a command, the first of which is a program that becomes the command.
func Prefixed(command *exec.Cmd, words ...string) error {
	if len(words) == 0 {
		return nil
	}
	program, err := exec.LookPath(words[0])
	if err != nil {
		return err
	}
	command.Args = append(append(slices.Clone(words), command.Path), command.Args[1:]...)
	command.Path = program
	return nil
}

// Run starts a program that listens on an address, with its output in a file, and returns once it accepts connections.
func Run(ctx context.Context, command *exec.Cmd, address, log string) (*Running, error) {
	output, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	// It does not outlive us.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, err
	}
	r := &Running{Address: address, PID: command.Process.Pid, Log: log, process: command, ended: make(chan struct{})}
	go func() {
		r.err = command.Wait()
		close(r.ended)
	}()
	if err := r.accepts(ctx); err != nil {
		_ = r.Stop()
		text, _ := os.ReadFile(log)
		return nil, fmt.Errorf("%w: %s", err, text[max(0, len(text)-2000):])
	}
	return r, nil
}

// accepts waits until the peer accepts connections.
func (r *Running) accepts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", r.Address, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-r.ended:
			return fmt.Errorf("it ended: %w", r.err)
		case <-ctx.Done():
			return errors.New("it does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop ends the peer and returns when it is gone.
func (r *Running) Stop() error {
	r.once.Do(func() {
		_ = r.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.ended:
		case <-time.After(10 * time.Second):
			_ = r.process.Process.Kill()
			<-r.ended
		}
	})
	return nil
}

func (s Setup) file(name string) string { return filepath.Join(s.Directory, name) }

// Free is an address of loopback that nothing listens on.
func Free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

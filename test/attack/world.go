package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/test/corpus"
	"github.com/bartizan-dev/bartizan/test/peers"
)

// patience is how long an answer is waited for, and rest after how long a request that waits for more gets the end of it.
const (
	patience = 3 * time.Second
	rest     = time.Second
)

// must makes the helpers of tests those of a program: what they cannot do ends it.
type must struct{ testing.TB }

func (must) Helper()                { /* There is no test to help. */ }
func (must) Fatal(arguments ...any) { fatal(errors.New(fmt.Sprint(arguments...))) }

// world is what all programs are told alike: alice may call greet and slow, with her certificate and her key.
type world struct {
	directory        string
	serving, clients *gatetest.Authority
	certificate, key string
	alice            tls.Certificate
	aliceKey, bobKey string
	config           gateconfig.Config
	sources          atomic.Uint32
}

func newWorld(directory string) (*world, error) {
	t := must{}
	w := &world{directory: directory, serving: gatetest.NewAuthority(t, "serving"), clients: gatetest.NewAuthority(t, "clients")}
	w.certificate, w.key = w.serving.Serving(t)
	w.alice = w.clients.Client(t, clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI(), func(c *x509.Certificate) { c.Subject.CommonName = "alice" })
	aliceKey, alice := gatetest.NewKey(t, time.Now().Add(time.Hour))
	bobKey, bob := gatetest.NewKey(t, time.Now().Add(time.Hour))
	w.aliceKey, w.bobKey = aliceKey, bobKey
	w.config = gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "team-a", Name: "pods"},
		Endpoint:       gateconfig.Endpoint{URL: "https://" + corpus.Host + peers.Path, Path: peers.Path, Hosts: []string{corpus.Host}},
		Upstream:       gateconfig.Upstream{Port: 1, Path: peers.Path, Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 64 << 10, Depth: 32},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Required},
		Authorities:    map[string]string{"agents": w.clients.PEM},
		Clients: []gateconfig.Client{
			{Object: gateconfig.Object{Namespace: "agents", Name: "alice"}, Keys: []gateconfig.Key{alice}},
			{Object: gateconfig.Object{Namespace: "agents", Name: "bob"}, Keys: []gateconfig.Key{bob}},
		},
		Policy: policy.Policy{Rules: []policy.Rule{{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"greet", "slow"}, Resources: []string{"file:///pub/**"}}}},
	}
	_, _, err := gateconfig.Seal(w.config)
	return w, err
}

// target is a program that runs.
type target struct {
	address string
	tls     bool
	stop    func() error
}

func (w *world) peer(ctx context.Context, peer peers.Peer, upstream string) (*target, error) {
	s := peers.Setup{
		Directory: filepath.Join(w.directory, string(peer)), Upstream: upstream, Certificate: w.certificate, Key: w.key, Authority: w.clients.PEM,
		Grants: []peers.Grant{{Client: "alice", Tool: "greet"}, {Client: "alice", Tool: "slow"}},
		Keys:   map[string]string{w.aliceKey: "alice", w.bobKey: "bob"}, Host: corpus.Host, BodyBytes: 64 << 10,
	}
	if err := os.Mkdir(s.Directory, 0o755); err != nil {
		return nil, err
	}
	running, err := peer.Start(ctx, s)
	if err != nil {
		return nil, err
	}
	return &target{address: running.Address, tls: running.TLS, stop: running.Stop}, nil
}

func (w *world) gate(ctx context.Context, upstream string) (*target, error) {
	directory := &gatetest.Directory{Path: filepath.Join(w.directory, "gate")}
	if err := os.Mkdir(directory.Path, 0o755); err != nil {
		return nil, err
	}
	directory.Write(must{}, gatetest.Files(must{}, w.config, w.certificate, w.key))
	g, err := gate.New(gate.Options{
		ConfigDirectory: directory.Path, Server: w.config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0", ProbeAddress: "127.0.0.1:0",
		UpstreamAddress: upstream, Bound: time.Second, Version: "attack", Audit: io.Discard, Log: io.Discard,
	})
	if err != nil {
		return nil, err
	}
	listeners, err := g.Listen()
	if err != nil {
		return nil, err
	}
	now, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, now, listeners) }()
	return &target{address: listeners.Gate.Addr().String(), tls: true, stop: func() error {
		stop()
		return <-ended
	}}, nil
}

// attack sends the requests to a program, one after another, with a good one before and after them, and returns which of them
// reached the server.
func (w *world) attack(ctx context.Context, start func(context.Context, string) (*target, error), requests []corpus.Request) (map[int]bool, error) {
	server, err := newRecorder()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	t, err := start(ctx, server.Addr().String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.stop() }()
	credentials := corpus.Credentials(w.aliceKey, w.bobKey)
	good := func() error {
		// The gate has read its configuration only a moment after it listens.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			before := server.requests.Load()
			status, err := w.send(t, corpus.Good(), credentials)
			if err == nil && status == http.StatusOK && server.requests.Load() == before+1 {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("a good request: %d, %w", status, err)
			}
		}
	}
	if err := good(); err != nil {
		return nil, err
	}
	reached := map[int]bool{}
	for i := range requests {
		before := server.requests.Load()
		if _, err := w.send(t, &requests[i], credentials); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", requests[i].Category, requests[i].Name, err)
		}
		reached[i] = server.requests.Load() > before
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return reached, good()
}

// send sends a request over a connection and from an address of its own, and returns the status of the answer, 0 for none.
func (w *world) send(t *target, request *corpus.Request, credentials *strings.Replacer) (status int, err error) {
	text, err := request.Bytes(credentials)
	if err != nil {
		return 0, err
	}
	n := w.sources.Add(1)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}, Timeout: patience}
	var conn interface {
		net.Conn
		CloseWrite() error
	}
	if t.tls {
		conn, err = tls.DialWithDialer(dialer, "tcp", t.address, &tls.Config{RootCAs: w.serving.Pool(), ServerName: corpus.Host,
			Certificates: []tls.Certificate{w.alice}, NextProtos: []string{"http/1.1"}})
	} else {
		var plain net.Conn
		if plain, err = dialer.Dial("tcp", t.address); err == nil {
			conn = plain.(*net.TCPConn)
		}
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	// It may answer, and close, before it has read all.
	go func() { _, _ = conn.Write(text) }()
	end := time.AfterFunc(rest, func() { _ = conn.CloseWrite() })
	defer end.Stop()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}

// recorder is a server that counts what reaches it, whether it understands it or not.
type recorder struct {
	net.Listener
	requests atomic.Int64
}

func newRecorder() (*recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r, nil
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		if _, err := in.Peek(1); err != nil {
			return
		}
		r.requests.Add(1)
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		const answer = `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
		var out bytes.Buffer
		fmt.Fprintf(&out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		if _, err := conn.Write(out.Bytes()); err != nil {
			return
		}
	}
}

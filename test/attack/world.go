package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
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
func (must) Cleanup(func())         { /* The program's end ends it. */ }
func (must) Fatal(arguments ...any) { fatal(errors.New(fmt.Sprint(arguments...))) }

// world is what all programs are told alike: alice and carol may call greet and slow, with their certificates and their keys; or, where
// tokens are taken, alice with her certificate and her token.
type world struct {
	directory        string
	serving, clients *gatetest.Authority
	certificate, key string
	alice, carol     tls.Certificate
	known            corpus.Credentials
	config           gateconfig.Config
	sources          atomic.Uint32
}

// issuerURL is who issues tokens, tokenAudience whom they are for.
const (
	issuerURL     = "https://issuer.example/realm"
	tokenAudience = "mcp"
)

func newWorld(directory string) (*world, error) {
	t := must{}
	w := &world{directory: directory, serving: gatetest.NewAuthority(t, "serving"), clients: gatetest.NewAuthority(t, "clients")}
	w.certificate, w.key = w.serving.Serving(t)
	client := func(name string) tls.Certificate {
		return w.clients.Client(t, clientid.Client{Namespace: "agents", Name: name, Servers: "team-a"}.URI(), func(c *x509.Certificate) { c.Subject.CommonName = name })
	}
	w.alice, w.carol = client("alice"), client("carol")
	aliceKey, alice := gatetest.NewKey(t, time.Now().Add(time.Hour))
	bobKey, bob := gatetest.NewKey(t, time.Now().Add(time.Hour))
	carolKey, carol := gatetest.NewKey(t, time.Now().Add(time.Hour))
	w.known = corpus.Credentials{Alice: aliceKey, Bob: bobKey, Carol: carolKey, Issuer: gatetest.NewIssuer(t, issuerURL), Stranger: gatetest.NewIssuer(t, issuerURL)}
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
			{Object: gateconfig.Object{Namespace: "agents", Name: "carol"}, Keys: []gateconfig.Key{carol}},
		},
		Policy: policy.Policy{Rules: []policy.Rule{{ID: "friends/0", Clients: []string{"agents/alice", "agents/carol"}, Tools: []string{"greet", "slow"}, Resources: []string{"file:///pub/**"}},
			{ID: "friends/1", Clients: []string{"agents/alice"}, Tools: []string{"copy"}, Expression: corpus.Condition}}},
	}
	_, _, err := gateconfig.Seal(w.config)
	return w, err
}

// cedar is corpus.Condition for ToolHive.
const cedar = `resource has arg_path && resource.arg_path like "/pub/*" && !(resource.arg_path like "*..*") && !(resource has arg_force)`

// target is a program that runs.
type target struct {
	address string
	// tls and http2 say whether it speaks them.
	tls, http2 bool
	stop       func() error
}

// withTokens is the configuration of a gate that lets people in by tokens alone.
func (w *world) withTokens() gateconfig.Config {
	c := w.config
	c.Authentication.Tokens = []gateconfig.TokenIssuer{w.known.Issuer.Config(must{}, "corp", tokenAudience)}
	holder := []policy.TokenSubject{{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{"alice"}}}}}
	c.Policy = policy.Policy{Rules: []policy.Rule{{ID: "people/0", Tokens: holder, Tools: []string{"greet", "slow"}}}}
	return c
}

func (w *world) peer(ctx context.Context, peer peers.Peer, upstream string, tokens bool) (*target, error) {
	s := peers.Setup{
		Upstream: upstream, Certificate: w.certificate, Key: w.key, Authority: w.clients.PEM, Host: corpus.Host, BodyBytes: 64 << 10,
		Grants: []peers.Grant{{Client: "alice", Tool: "greet"}, {Client: "alice", Tool: "slow"}, {Client: "carol", Tool: "greet"}, {Client: "carol", Tool: "slow"},
			{Client: "alice", Tool: "copy", Condition: cedar}},
	}
	if tokens {
		s.TokenKey = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: w.known.Issuer.PKIX(must{}, gateconfig.RS256)}))
		s.TokenIssuer, s.TokenAudience = issuerURL, tokenAudience
	} else {
		s.Keys = map[string]string{w.known.Alice: "alice", w.known.Bob: "bob", w.known.Carol: "carol"}
	}
	var err error
	if s.Directory, err = os.MkdirTemp(w.directory, string(peer)); err != nil {
		return nil, err
	}
	running, err := peer.Start(ctx, s)
	if err != nil {
		return nil, err
	}
	return &target{address: running.Address, tls: running.TLS, http2: peer == peers.KubeRBACProxy, stop: running.Stop}, nil
}

func (w *world) gate(ctx context.Context, upstream string, config gateconfig.Config) (*target, error) {
	folder, err := os.MkdirTemp(w.directory, "gate")
	if err != nil {
		return nil, err
	}
	directory := &gatetest.Directory{Path: folder}
	directory.Write(must{}, gatetest.Files(must{}, config, w.certificate, w.key))
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
	return &target{address: listeners.Gate.Addr().String(), tls: true, http2: true, stop: func() error {
		stop()
		return <-ended
	}}, nil
}

package probe_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gate"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// fixture is a world around a gate.
type fixture struct {
	agents, serving, system *gatetest.Authority
	certificate, key        string
	audit                   *lines
	// series are the operator's own keys, at two hours of their age.
	series keys.Series
	now    time.Time
	// write gives the gate that was started last another configuration.
	write func(change func(*gateconfig.Config))
}

type lines struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) text() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.String()
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{agents: gatetest.NewAuthority(t, "agents"), serving: gatetest.NewAuthority(t, "serving"), system: gatetest.NewAuthority(t, "system"), audit: &lines{}}
	f.certificate, f.key = f.serving.Serving(t)
	f.now = time.Now()
	f.series = keys.Series{Secret: []byte("of the operator's"), Name: "pods", Since: f.now.Add(-2 * time.Hour)}
	return f
}

// accepted are the operator's keys that a gate is told of at a time.
func (f *fixture) accepted(t *testing.T, at time.Time) (all []gateconfig.Key) {
	t.Helper()
	accepted, err := f.series.Accepted(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range accepted {
		all = append(all, gateconfig.Key{ID: k.ID, SHA256: k.SHA256, NotAfter: k.NotAfter.UTC()})
	}
	return all
}

// tokens are the operator's own tokens that a gate is told of at a time.
func (f *fixture) tokens(t *testing.T, at time.Time) *gateconfig.OwnTokens {
	t.Helper()
	signers, err := f.series.Signers(at)
	if err != nil {
		t.Fatal(err)
	}
	own, err := gateconfig.NewOwnTokens(f.series.Audience(), signers)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// signer is one of those who sign the operator's own tokens, by its place from the present one.
func (f *fixture) signer(t *testing.T, place int) keys.Signer {
	t.Helper()
	present, _ := f.series.Present(f.now)
	signer, err := f.series.Signer(present + place)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func (f *fixture) signers(t *testing.T) *probe.Signers {
	t.Helper()
	return &probe.Signers{Audience: f.series.Audience(), Present: f.signer(t, 0), Retired: f.signer(t, -1)}
}

// own is one of the operator's keys, by its place from the present one.
func (f *fixture) own(t *testing.T, place int) keys.Key {
	t.Helper()
	present, _ := f.series.Present(f.now)
	key, err := f.series.Key(present + place)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// target is a gate at an address with everything to attack it.
func (f *fixture) target(t *testing.T, gateAddress string) probe.Target {
	ip, port, err := net.SplitHostPort(gateAddress)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	operator := f.system.Client(t, clientid.Operator)
	forged := func(name string, authority *gatetest.Authority, uri string, changes ...func(*x509.Certificate)) probe.Forged {
		c := authority.Client(t, uri, changes...)
		return probe.Forged{Name: name, Certificate: &c}
	}
	alice := clientid.Client{Namespace: "agents", Name: "alice", Servers: "team-a"}.URI()
	return probe.Target{
		Pod: "pods-1", Address: ip, GatePort: number, ServerPort: closed(t), ServerName: host, Host: host, Path: "/mcp",
		Roots: f.serving.Pool(), Revision: "2025-11-25", Identity: &operator, Mark: mark, Timeout: 5 * time.Second,
		Keys: &probe.Keys{Present: f.own(t, 0), Retired: f.own(t, -1)},
		Forged: []probe.Forged{
			forged("expired certificate", f.system, clientid.Operator, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			forged("certificate of an unknown authority", gatetest.NewAuthority(t, "forger"), clientid.Operator),
			forged("another namespace's client", f.system, alice),
		},
	}
}

// closed is a port at which nobody listens.
func closed(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts a real gate before an upstream and returns its address.
func (f *fixture) start(t *testing.T, upstream string, change func(*gateconfig.Config)) string {
	directory := gatetest.NewDirectory(t)
	config := gateconfig.Config{
		Server:         gateconfig.Object{Namespace: "team-a", Name: "pods"},
		Endpoint:       gateconfig.Endpoint{URL: "https://" + host + "/mcp", Path: "/mcp", Hosts: []string{host}},
		Upstream:       gateconfig.Upstream{Port: 1, Path: "/upstream", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 64 << 10, Depth: 32},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional},
		Authorities:    map[string]string{"agents": f.agents.PEM},
		Status:         gateconfig.Status{Authority: f.system.PEM, Identities: []string{clientid.Operator}},
		Clients:        []gateconfig.Client{{Object: gateconfig.Object{Namespace: "agents", Name: "alice"}}},
		Policy:         policy.Policy{Rules: []policy.Rule{{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"**"}}}},
		Verification:   gateconfig.Verification{Keys: f.accepted(t, f.now), Tokens: f.tokens(t, f.now)},
	}
	if change != nil {
		change(&config)
	}
	f.write = func(change func(*gateconfig.Config)) {
		next := config
		change(&next)
		directory.Write(t, gatetest.Files(t, next, f.certificate, f.key))
	}
	f.write(func(*gateconfig.Config) {})
	log := &lines{}
	g, err := gate.New(gate.Options{
		ConfigDirectory: directory.Path, Server: config.Server, GateAddress: "127.0.0.1:0", StatusAddress: "127.0.0.1:0",
		ProbeAddress: "127.0.0.1:0", UpstreamAddress: upstream, Bound: 30 * time.Second, Version: "test", Audit: f.audit, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, ctx, listeners) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	gatetest.Eventually(t, "the gate has read its configuration", func() bool { return log.text() != "" })
	return listeners.Gate.Addr().String()
}

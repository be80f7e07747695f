package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/test/peers"
)

// setups are what the gate and the peers are told, to be changed.
type setups struct {
	gate gateconfig.Config
	peer peers.Setup
}

func (s *setups) config(c *gateconfig.Config) { *c = s.gate }

const (
	connections = 16
	microsecond = "µs"
	// haproxyWork is what the gate and HAProxy both do.
	haproxyWork = "mTLS, tools/call of 300 bytes, the tool's grant, a log line"
)

// calls is P1 and P2.
func (b *bench) calls(ctx context.Context) error {
	f, err := b.prepare(ctx, "call", nil, peers.HAProxy, peers.Nginx, peers.ReverseProxy, peers.KubeRBACProxy, peers.ToolHive, peers.Pipe)
	defer f.stop()
	if err != nil {
		return err
	}
	f.asks(request(call("get_0", 300)))
	got, err := b.saturated(ctx, "P1", f.targets, connections, b.some(8000, 300))
	if err != nil {
		return err
	}
	gate := got[gateName]
	for _, c := range []struct {
		id   string
		peer peers.Peer
		goal func(float64) (string, bool)
	}{
		{"P1", peers.HAProxy, atMost(1)}, {"P1", peers.ReverseProxy, atMost(0.55)}, {"P1", peers.KubeRBACProxy, atMost(0.25)},
		{"P1", peers.Nginx, none}, {"P1", peers.ToolHive, none}, {"P2", peers.Pipe, atMost(1.4)},
	} {
		b.compare(c.id, haproxyWork, microsecond, gate, string(c.peer), got[string(c.peer)], c.goal)
	}
	return nil
}

// tokens is P4.
func (b *bench) tokens(ctx context.Context) error {
	f, err := b.prepare(ctx, "call", func(s *setups) {
		b.w.withTokens(&s.gate)
		s.peer.TokenKey, s.peer.TokenIssuer, s.peer.TokenAudience = b.w.tokenKey(), b.w.issuer.URL, "mcp"
	}, peers.HAProxy)
	defer f.stop()
	if err != nil {
		return err
	}
	body := call("get_0", 300)
	count := b.some(4000, 200)
	hot := b.signed(b.some(1000, 50), body, "hot")
	f.asks(hot...)
	got, err := b.saturated(ctx, "P4 hot", f.targets, connections, count)
	if err != nil {
		return err
	}
	haproxy := string(peers.HAProxy)
	b.compare("P4", fmt.Sprintf("RS256 tokens beside mTLS, %d in use", len(hot)), microsecond, got[gateName], haproxy, got[haproxy], atMost(0.8))
	// As many as are used: the gate meets each once.
	count = b.some(1500, 100)
	f.asks(b.signed(count*(b.rounds+1), body, "new")...)
	if got, err = b.saturated(ctx, "P4 new", f.targets, connections, count); err != nil {
		return err
	}
	b.compare("P4", "RS256 tokens beside mTLS, each one new", microsecond, got[gateName], haproxy, got[haproxy], atMost(1.1))
	return nil
}

// signed are requests, each with a token of its own.
func (b *bench) signed(n int, body, name string) [][]byte {
	b.progress("P4: signing %d tokens", n)
	out := make([][]byte, n)
	var running sync.WaitGroup
	for worker := range runtime.NumCPU() {
		running.Go(func() {
			for i := worker; i < n; i += runtime.NumCPU() {
				token := b.w.issuer.Token(must{}, gateconfig.RS256, gatetest.Claims{"jti": fmt.Sprintf("%s-%d", name, i), "exp": time.Now().Add(time.Hour).Unix()})
				out[i] = request(body, "Authorization: Bearer "+token)
			}
		})
	}
	running.Wait()
	return out
}

// keyCount is how many API keys there are.
const keyCount = 10_000

// keys is P5.
func (b *bench) keys(ctx context.Context) error {
	key, s := b.w.manyKeys(keyCount)
	f, err := b.prepare(ctx, "call", func(both *setups) {
		both.gate.Authentication.APIKeys = gateconfig.Enabled
		both.gate.Clients = s.gate.Clients
		both.peer.Keys = s.peer.Keys
		s.gate.Clients = fitting(&both.gate)
	}, peers.Nginx, peers.HAProxy)
	defer f.stop()
	if err != nil {
		return err
	}
	f.asks(request(call("get_0", 300), "Authorization: Bearer "+key))
	for _, t := range f.targets {
		t.tls = t.tls[:1] // alice, whose key it is
	}
	got, err := b.saturated(ctx, "P5", f.targets, connections, b.some(8000, 300))
	if err != nil {
		return err
	}
	n := 0
	for _, client := range s.gate.Clients {
		n += len(client.Keys)
	}
	work := fmt.Sprintf("mTLS and an API key among %d, tools/call of 300 bytes", n)
	b.compare("P5", work+"; nginx does not read the body", microsecond, got[gateName], string(peers.Nginx), got[string(peers.Nginx)], atMost(1.1))
	b.compare("P5", work, microsecond, got[gateName], string(peers.HAProxy), got[string(peers.HAProxy)], none)
	return b.keyAllocations(s.gate.Clients, key)
}

// manyKeys makes n API keys, two of each client, and returns one of alice's.
func (w *world) manyKeys(n int) (key string, s setups) {
	s.peer.Keys = map[string]string{}
	add := func(name string) {
		c := gateconfig.Client{Object: gateconfig.Object{Namespace: "agents", Name: name}}
		for range 2 {
			text, accepted := gatetest.NewKey(must{}, time.Now().Add(time.Hour).Truncate(time.Second))
			c.Keys = append(c.Keys, accepted)
			s.peer.Keys[text] = name
			if name == "alice" {
				key = text
			}
		}
		s.gate.Clients = append(s.gate.Clients, c)
	}
	add("alice")
	for i := range n/2 - 1 {
		add(fmt.Sprintf("b%05d", i))
	}
	return key, s
}

// fitting cuts the clients of a configuration to those that one document has room for.
func fitting(c *gateconfig.Config) []gateconfig.Client {
	for {
		if document, _, err := gateconfig.Seal(*c); err != nil || len(document) <= 1<<20 {
			return c.Clients
		}
		c.Clients = c.Clients[:len(c.Clients)*49/50]
	}
}

// bodies is P6.
func (b *bench) bodies(ctx context.Context) error {
	for _, size := range []struct {
		name         string
		bytes        int
		whole, quick int
	}{{"16 KB", 16 << 10, 4000, 100}, {"1 MB", 1 << 20, 200, 10}} {
		f, err := b.prepare(ctx, "call", func(s *setups) { s.peer.BodyBytes = size.bytes + 8<<10 }, peers.HAProxy)
		if err == nil {
			f.asks(request(call("get_0", size.bytes)))
			var got map[string][]float64
			if got, err = b.saturated(ctx, "P6 "+size.name, f.targets, 8, b.some(size.whole, size.quick)); err == nil {
				b.compare("P6", "mTLS, tools/call of "+size.name+", the tool's grant, a log line", microsecond, got[gateName], string(peers.HAProxy), got[string(peers.HAProxy)], atMost(1))
			}
		}
		f.stop()
		if err != nil {
			return err
		}
		body := []byte(call("get_0", size.bytes))
		strict, lenient, err := b.scans(body)
		if err != nil {
			return err
		}
		b.compare("P6", "strict scan of "+size.name+", within the process", microsecond, strict, "encoding/json into any", lenient, atMost(0.1))
	}
	return nil
}

// scans reads a body strictly and with encoding/json in turn.
func (b *bench) scans(body []byte) (strict, lenient []float64, err error) {
	limits := gateconfig.Limits{RequestBytes: 4 << 20, Depth: 64}
	for range b.rounds {
		one, err := timed(func() error {
			if _, refusal := message.Read(body, limits); refusal != nil {
				return fmt.Errorf("the scan refuses the body: %s", refusal.Reason)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
		other, err := timed(func() error {
			var v any
			return json.Unmarshal(body, &v)
		})
		if err != nil {
			return nil, nil, err
		}
		strict, lenient = append(strict, one), append(lenient, other)
	}
	return strict, lenient, nil
}

// timed is how long a call takes, in microseconds: the shortest of several times, since what is added to it is others' work.
func timed(do func() error) (float64, error) {
	var shortest time.Duration
	for i, deadline := 0, time.Now().Add(100*time.Millisecond); i < 3 || time.Now().Before(deadline); i++ {
		start := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		if took := time.Since(start); shortest == 0 || took < shortest {
			shortest = took
		}
	}
	return float64(shortest.Nanoseconds()) / 1e3, nil
}

// refusals is P11.
func (b *bench) refusals(ctx context.Context) error {
	key, s := b.w.manyKeys(2)
	f, err := b.prepare(ctx, "call", func(both *setups) {
		both.gate.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Disabled}
		both.gate.Clients = s.gate.Clients
	})
	defer f.stop()
	if err != nil {
		return err
	}
	gate := f.targets[0]
	gate.tls = []*tls.Config{b.w.without}
	good, bearer := call("get_0", 300), "Authorization: Bearer "
	allowed := gate.asking("allowed", http.StatusOK, request(good, bearer+key))
	refused := []*target{
		gate.asking("another tool", http.StatusForbidden, request(call("drop_1", 300), bearer+key)),
		gate.asking("a member twice", http.StatusBadRequest, request(strings.Replace(good, `"id":1`, `"id":1,"id":2`, 1), bearer+key)),
		gate.asking("a wrong key", http.StatusTooManyRequests, request(good, bearer+wrong(key))),
	}
	count := b.some(8000, 300)
	var reached []float64
	for _, t := range refused {
		if t.want == http.StatusTooManyRequests {
			if err := exhaust(t); err != nil {
				return err
			}
		}
		before, err := f.upstream.ask("/count")
		if err != nil {
			return err
		}
		alone, err := b.saturated(ctx, "P11 "+t.name, []*target{t}, connections, b.some(500, 100))
		if err != nil {
			return err
		}
		after, err := f.upstream.ask("/count")
		if err != nil {
			return err
		}
		if before != after || len(alone) == 0 {
			return fmt.Errorf("P11 %s: requests reached the server: %s before, %s after", t.name, before, after)
		}
		reached = append(reached, 0)
	}
	got, err := b.saturated(ctx, "P11", append([]*target{allowed}, refused...), connections, count)
	if err != nil {
		return err
	}
	for _, t := range refused {
		b.compare("P11", "a flood of refused requests: "+t.name, microsecond, got[t.name], "an allowed one", got[allowed.name], atMost(0.7))
	}
	b.measured("P11", "refused requests that reached the server", "requests", reached, "", 0, atMost(0))
	return nil
}

// exhaust fails until the source has no failures left.
func exhaust(t *target) error {
	c, err := t.dial(0)
	if err != nil {
		return err
	}
	defer c.close()
	for range 1000 {
		if _, err := c.do(t.request(), http.StatusUnauthorized); err != nil {
			return nil //nolint:nilerr // It is throttled, which the flood shows.
		}
	}
	return fmt.Errorf("a thousand wrong keys in a row are not throttled")
}

// wrong is a key that differs in its last character.
func wrong(key string) string {
	last := byte('a')
	if key[len(key)-1] == last {
		last = 'b'
	}
	return key[:len(key)-1] + string(last)
}

// keyAllocations is how often memory is allocated to find who has a key.
func (b *bench) keyAllocations(clients []gateconfig.Client, key string) error {
	config := b.w.config()
	config.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Disabled}
	config.Clients = clients
	authenticate, err := b.w.authenticate(config, key)
	if err != nil {
		return err
	}
	b.measured("P5", "authentication with an API key, within the process", "allocations", []float64{testing.AllocsPerRun(1000, authenticate)}, "", 0, atMost(0))
	return nil
}

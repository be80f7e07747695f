package identity_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// generation is one with a single client that has a single key.
func generation(t testing.TB) (*config.Generation, string) {
	t.Helper()
	text, key := gatetest.NewKey(t, time.Now().Add(time.Hour))
	certificate, private := gatetest.NewAuthority(t, "serving").Serving(t)
	directory := gatetest.NewDirectory(t)
	server := gateconfig.Object{Namespace: "team-a", Name: "pods"}
	directory.Write(t, gatetest.Files(t, gateconfig.Config{
		Server:         server,
		Endpoint:       gateconfig.Endpoint{URL: "https://gate.test/mcp", Path: "/mcp", Hosts: []string{"gate.test"}},
		Upstream:       gateconfig.Upstream{Port: 8080, Path: "/mcp", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20250618},
		Limits:         gateconfig.Limits{RequestBytes: 1024, Depth: 8},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional},
		Clients:        []gateconfig.Client{{Object: gateconfig.Object{Namespace: "agents", Name: "alice"}, Keys: []gateconfig.Key{key}}},
	}, certificate, private))
	g, err := config.Load(directory.Path, server)
	if err != nil {
		t.Fatal(err)
	}
	return g, text
}

// FuzzHeaders: whatever the headers are, only the one key in one of its forms is let in, and nothing panics.
func FuzzHeaders(f *testing.F) {
	g, key := generation(f)
	f.Add("Bearer KEY", "", "")
	f.Add("", "KEY", "")
	f.Add("bearer KEY", "KEY", "x")
	f.Add("Basic eDp5", "", "KEY")
	f.Fuzz(func(t *testing.T, authorization, apiKey, second string) {
		h := http.Header{}
		add := func(name, value string) {
			if value != "" {
				h.Add(name, strings.ReplaceAll(value, "KEY", key))
			}
		}
		add("Authorization", authorization)
		add("X-Api-Key", apiKey)
		add("X-Api-Key", second)
		p, failure := identity.Authenticate(&http.Request{Header: h}, g, time.Now(), nil)
		values := append(append([]string{}, h["Authorization"]...), h["X-Api-Key"]...)
		want := len(values) == 1 && (h.Get("X-Api-Key") == key ||
			len(h["Authorization"]) == 1 && strings.EqualFold(values[0][:min(7, len(values[0]))], "Bearer ") && values[0][min(7, len(values[0])):] == key)
		if (failure == "") != want || (failure == "") != (p.Name() == "agents/alice") || (failure != "" && failure.Text(false) == "") {
			t.Errorf("%q: %+v, %q", h, p, failure)
		}
	})
}

func BenchmarkKey(b *testing.B) {
	g, key := generation(b)
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + key}}}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, failure := identity.Authenticate(r, g, now, nil); failure != "" {
			b.Fatal(failure)
		}
	}
}

func TestKeysTakeNoAllocation(t *testing.T) {
	g, key := generation(t)
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + key}}}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		if _, failure := identity.Authenticate(r, g, now, nil); failure != "" {
			t.Fatal(failure)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a request", n)
	}
}

// TestSignaturesHaveABudget: it is asked only on a connection on which a token was refused, and not for one that is known.
func TestSignaturesHaveABudget(t *testing.T) {
	issuer := gatetest.NewIssuer(t, "https://issuer.example")
	stranger := gatetest.NewIssuer(t, "https://issuer.example")
	tokens, err := token.New([]gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}, func(*token.Token, policy.Token) *decision.Match { return nil })
	if err != nil {
		t.Fatal(err)
	}
	g := &config.Generation{Config: gateconfig.Config{Authentication: gateconfig.Authentication{
		ClientCertificates: gateconfig.Disabled, Tokens: []gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}}}, Tokens: tokens}
	n, asked, left := 0, 0, 0
	good := func() string {
		n++
		return issuer.Token(t, gateconfig.EdDSA, gatetest.Claims{"jti": strconv.Itoa(n)})
	}
	forged := stranger.Token(t, gateconfig.EdDSA, nil)
	connection := identity.WithConnection(t.Context())
	show := func(on context.Context, text string) identity.Failure {
		r := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + text}}}).WithContext(on)
		_, failure := identity.Authenticate(r, g, time.Now(), func() bool {
			asked++
			left--
			return left >= 0
		})
		return failure
	}
	known := good()
	for i, step := range []struct {
		on    context.Context
		text  string
		left  int
		want  identity.Failure
		asked int
	}{
		{connection, known, 0, "", 0}, {connection, good(), 0, "", 0}, {connection, forged, 0, "token-signature", 0},
		{connection, forged, 0, identity.TokenUnchecked, 1}, {connection, good(), 0, identity.TokenUnchecked, 2}, {connection, known, 0, "", 2},
		{identity.WithConnection(t.Context()), good(), 0, "", 2}, {connection, good(), 1, "", 3}, {connection, forged, 1, "token-signature", 4},
		{t.Context(), good(), 0, "", 4},
	} {
		left = step.left
		if failure := show(step.on, step.text); failure != step.want || asked != step.asked {
			t.Errorf("step %d: %q, asked %d times; want %q, %d", i, failure, asked, step.want, step.asked)
		}
	}
}

package manifests

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

var end = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// who is what package access finds for two clients.
func who() access.Result {
	return access.Result{
		Policy: policy.Policy{Rules: []policy.Rule{
			{ID: "readers/0", Clients: []string{"agents/assistant", "agents/robot"}, Tools: []string{"read_*"}},
			{ID: "writers/0", Clients: []string{"agents/assistant"}, Tools: []string{"write"}, NotAfter: end},
		}},
		Clients: []gateconfig.Client{
			{Object: gateconfig.Object{Namespace: "agents", Name: "assistant"}, Keys: []gateconfig.Key{{ID: strings.Repeat("a", 16), SHA256: strings.Repeat("0", 64), NotAfter: end}}},
			{Object: gateconfig.Object{Namespace: "agents", Name: "robot"}},
		},
		Authorities: map[string]string{},
	}
}

func config(t *testing.T, s *v1alpha1.MCPServer, who access.Result) gateconfig.Config {
	t.Helper()
	c, err := GateConfig(s, "", who, gateconfig.Status{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGateConfig(t *testing.T) {
	for _, name := range []string{"minimal", "everything"} {
		t.Run(name, func(t *testing.T) {
			sealed, err := Seal(config(t, server(t, name), who()))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", "gateconfig", name+".yaml"), json.RawMessage(sealed.Document))
		})
	}
}

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                           "https://clock.team-a.svc/mcp",
		"https://mcp.example":        "https://mcp.example/mcp",
		"https://mcp.example/":       "https://mcp.example/mcp",
		"https://mcp.example:8443/x": "https://mcp.example:8443/x",
	} {
		s := server(t, "minimal")
		s.Spec.Endpoint = &v1alpha1.Endpoint{URL: url}
		if got := URL(s); got != want {
			t.Errorf("%q: got %s, want %s", url, got, want)
		}
	}
}

// TestSealRefusesWhatAGateRefuses: a document that a gate would not take would leave a revoked client in force.
func TestSealRefusesWhatAGateRefuses(t *testing.T) {
	for name, change := range map[string]func(*gateconfig.Config){
		"port":      func(c *gateconfig.Config) { c.Upstream.Port = gateconfig.GatePort },
		"authority": func(c *gateconfig.Config) { c.Authorities = map[string]string{"agents": "no certificate"} },
		"clients":   func(c *gateconfig.Config) { c.Clients[0], c.Clients[1] = c.Clients[1], c.Clients[0] },
		"policy":    func(c *gateconfig.Config) { c.Policy.Rules[1].ID = c.Policy.Rules[0].ID },
		"status":    func(c *gateconfig.Config) { c.Status.Identities = []string{clientid.Operator} },
	} {
		c := config(t, server(t, "minimal"), who())
		change(&c)
		if sealed, err := Seal(c); err == nil || len(sealed.Document) > 0 {
			t.Errorf("%s: sealed %s", name, sealed.Document)
		}
	}
}

// TestNoKeyInTheGatesSecret: what the gate is given tells nobody a key.
func TestNoKeyInTheGatesSecret(t *testing.T) {
	key, err := keys.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	found := who()
	found.Clients[0].Keys = []gateconfig.Key{{ID: key.ID, SHA256: keys.Hash(key.Text), NotAfter: end}}
	s := server(t, "everything")
	p := params(s)
	if p.Gate, err = Seal(config(t, s, found)); err != nil {
		t.Fatal(err)
	}
	children, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(children.GateSecret.Data[gateconfig.ConfigFile], []byte(keys.Hash(key.Text))) {
		t.Error("the gate's Secret does not know the key")
	}
	if len(children.GateSecret.Data) != 1 || len(children.GateSecret.StringData) != 0 {
		t.Error("the gate's Secret has more than the configuration")
	}
	secret := strings.TrimPrefix(key.Text, keys.Prefix+key.ID+"_")
	for _, child := range append(all(children), string(children.GateSecret.Data[gateconfig.ConfigFile])) {
		content, err := json.Marshal(child)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(secret)) || bytes.Contains(content, []byte(keys.Prefix)) {
			t.Errorf("%T holds the key", child)
		}
	}
}

func TestGateSecretIsBounded(t *testing.T) {
	p := params(server(t, "minimal"))
	p.Gate.Document = make([]byte, gateconfig.MaxPacked+1)
	_, _ = rand.Read(p.Gate.Document)
	_, err := Build(p)
	if err == nil || !strings.Contains(err.Error(), "shorten the MCPAccessPolicies") {
		t.Errorf("got %v", err)
	}
}

// TestTenThousandClients: as many clients with two keys each fit into the gate's Secret, in one form that gates read.
func TestTenThousandClients(t *testing.T) {
	const clients = 10_000
	many := who()
	many.Clients, many.Policy.Rules = nil, many.Policy.Rules[:1]
	rule := &many.Policy.Rules[0]
	rule.Clients = nil
	for i := range clients {
		client := gateconfig.Client{Object: gateconfig.Object{Namespace: fmt.Sprintf("team-%03d", i/100), Name: fmt.Sprintf("agent-%05d", i)}}
		key, err := keys.New(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		client.Keys = []gateconfig.Key{{ID: key.ID, SHA256: keys.Hash(key.Text), NotAfter: end.Add(time.Duration(i) * time.Second)}}
		many.Clients = append(many.Clients, client)
		rule.Clients = append(rule.Clients, client.Namespace+"/"+client.Name)
	}
	s := server(t, "minimal")
	p := params(s)
	var err error
	if p.Gate, err = Seal(config(t, s, many)); err != nil {
		t.Fatal(err)
	}
	children, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	packed := children.GateSecret.Data[gateconfig.ConfigFile]
	if len(packed) > gateconfig.MaxPacked || !bytes.Equal(packed, again.GateSecret.Data[gateconfig.ConfigFile]) {
		t.Errorf("%d bytes, or another form for the same", len(packed))
	}
	got, err := gateconfig.Parse(packed)
	if err != nil || got.Generation != p.Gate.Generation || len(got.Clients) != clients {
		t.Errorf("%d clients, %v", len(got.Clients), err)
	}
	t.Logf("%d bytes are %d in the Secret", len(p.Gate.Document), len(packed))
}

// TestRestrict: a server with a problem in its spec is no more open than it was, revocations are in force, and rotations go on.
func TestRestrict(t *testing.T) {
	current := config(t, server(t, "minimal"), who())
	spoiled := server(t, "minimal")
	spoiled.Spec.Transport.Port = gateconfig.GatePort
	spoiled.Spec.Authentication = &v1alpha1.Authentication{
		APIKeys:            v1alpha1.APIKeys{Mode: v1alpha1.APIKeysDisabled},
		ClientCertificates: v1alpha1.ClientCertificates{Mode: v1alpha1.ClientCertificatesOptional},
	}
	changed := who()
	rotated := gateconfig.Key{ID: strings.Repeat("b", 16), SHA256: strings.Repeat("1", 64), NotAfter: end}
	changed.Clients = []gateconfig.Client{
		{Object: gateconfig.Object{Namespace: "agents", Name: "assistant"}, Keys: []gateconfig.Key{rotated}},
		{Object: gateconfig.Object{Namespace: "agents", Name: "intruder"}},
	}
	changed.Policy.Rules[0].Clients = []string{"agents/assistant", "agents/intruder"}
	changed.Policy.Rules[0].Tools = []string{"**", "read_*"}
	changed.Policy.Rules[0].NotAfter = end
	changed.Policy.Rules[1].Tools = []string{"**"}
	next, err := GateConfig(spoiled, "", changed, gateconfig.Status{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	own := gateconfig.Key{ID: strings.Repeat("c", 16), SHA256: strings.Repeat("2", 64), NotAfter: end}
	next.Verification.Keys = []gateconfig.Key{own} // the operator's own rotate, too
	got := Restrict(current, next)
	want := current
	want.Verification = next.Verification
	want.Clients = changed.Clients[:1]
	want.Policy.Rules = []policy.Rule{{ID: "readers/0", Clients: []string{"agents/assistant"}, Tools: []string{"read_*"}, NotAfter: end}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Seal(got); err != nil {
		t.Error(err)
	}
	// Conditions, rates and what is forbidden only ever get tighter.
	conditional, tighter := current, current
	with := func(r policy.Rule, expression string, rate policy.Rate) policy.Policy {
		r.Expression, r.Rate = expression, rate
		return policy.Policy{Rules: []policy.Rule{r}, Forbidden: []string{expression}}
	}
	conditional.Policy = with(current.Policy.Rules[0], "name == 'a'", policy.Rate{Requests: 5, PerSeconds: 60})
	tighter.Policy = with(current.Policy.Rules[0], "name == 'b'", policy.Rate{Requests: 9, PerSeconds: 600})
	rule := Restrict(conditional, tighter).Policy.Rules[0]
	if want := (policy.Rate{Requests: 9, PerSeconds: 600}); rule.Expression != "(name == 'a') && (name == 'b')" || rule.Rate != want {
		t.Errorf("got %+v", rule)
	}
	if rule := Restrict(current, tighter).Policy.Rules[0]; rule.Expression != "name == 'b'" || rule.Rate.Requests != 9 {
		t.Errorf("a new condition: %+v", rule)
	}
	if rule := Restrict(tighter, current).Policy.Rules[0]; rule.Expression != "name == 'b'" || rule.Rate.Requests != 9 {
		t.Errorf("a condition that is gone: %+v", rule)
	}
	if forbidden := Restrict(conditional, tighter).Policy.Forbidden; len(forbidden) != 2 {
		t.Errorf("forbidden: %q", forbidden)
	}
	if diff := cmp.Diff(current, Restrict(current, current)); diff != "" {
		t.Errorf("nothing changes, and yet (-want +got):\n%s", diff)
	}
}

// TestTokenIssuersWithKeys: keys go to the issuer that they are of; an issuer that is there twice, or not known, gets none, and
// the gate knows that there are tokens all the same.
func TestTokenIssuersWithKeys(t *testing.T) {
	s := server(t, "everything")
	key := func(id string) []gateconfig.TokenKey { return []gateconfig.TokenKey{{ID: id}} }
	for name, test := range map[string]struct {
		keys map[string]IssuerKeys
		want string
	}{
		"none": {nil, "corp https://login.example.com/realms/corp 0, old https://old.example.com 0, cluster urn:bartizan:unknown:cluster 0"},
		"all": {map[string]IssuerKeys{"corp": {"https://login.example.com/realms/corp", key("a")}, "old": {"https://old.example.com", key("b")}, "cluster": {"https://kubernetes.default.svc", key("c")}},
			"corp https://login.example.com/realms/corp 1, old https://old.example.com 1, cluster https://kubernetes.default.svc 1"},
		"the cluster is one of the others": {map[string]IssuerKeys{"cluster": {"https://old.example.com", key("c")}},
			"corp https://login.example.com/realms/corp 0, old https://old.example.com 0, cluster urn:bartizan:unknown:cluster 0"},
	} {
		var got []string
		for _, issuer := range tokenIssuers(s, test.keys) {
			got = append(got, fmt.Sprintf("%s %s %d", issuer.Name, issuer.Issuer, len(issuer.Keys)))
			if issuer.MaxLifetimeSeconds != 3600 && issuer.Name != "old" {
				t.Errorf("%s: %s may live %d seconds", name, issuer.Name, issuer.MaxLifetimeSeconds)
			}
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("%s: %s", name, text)
		}
	}
	sources := map[string]bool{}
	for _, change := range []func(*v1alpha1.OIDCTokens){
		func(*v1alpha1.OIDCTokens) {}, func(o *v1alpha1.OIDCTokens) { o.JWKSURI = "https://a.example" }, func(o *v1alpha1.OIDCTokens) { o.CABundle = "x" }, func(o *v1alpha1.OIDCTokens) { o.Issuer += "/" },
	} {
		spec := s.DeepCopy().Spec.Authentication.Tokens[0]
		change(spec.OIDC)
		sources[KeySourceOf(spec).ID()] = true
	}
	if len(sources) != 4 {
		t.Errorf("%d sources of 4", len(sources))
	}
}

func TestTokensThatNoGateWouldObey(t *testing.T) {
	for want, change := range map[string]func(*v1alpha1.OIDCTokens){
		"spec.authentication.tokens[corp].oidc.caBundle": func(o *v1alpha1.OIDCTokens) { o.CABundle = "-----BEGIN CERTIFICATE-----" },
		"spec.authentication.tokens[corp]: requiredSco":  func(o *v1alpha1.OIDCTokens) { o.RequiredScopes = []string{"offline_access"} },
		"spec.authentication.tokens[corp]: issuer":       func(o *v1alpha1.OIDCTokens) { o.Issuer = "http://a.example" },
		"spec.authentication.tokens[corp]: audiences":    func(o *v1alpha1.OIDCTokens) { o.Audiences = nil },
	} {
		s := server(t, "everything")
		change(s.Spec.Authentication.Tokens[0].OIDC)
		problems := Validate(s, Options{})
		if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Reason == ReasonTokensInvalid && strings.Contains(p.Message, want) }) {
			t.Errorf("%s: %v", want, problems)
		}
	}
}

package gateconfig_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

func authority(t testing.TB, isCA bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func publicKey(t testing.TB, curve elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pkix(t, key.Public())
}

func pkix(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func valid(t testing.TB) gateconfig.Config {
	ca := authority(t, true)
	return gateconfig.Config{
		Server: gateconfig.Object{Namespace: "team-a", Name: "github-tools"},
		Endpoint: gateconfig.Endpoint{URL: "https://mcp.example/mcp", Path: "/mcp",
			Hosts: []string{"mcp.example", "mcp.example:8443", "[::1]:15443"}, Origins: []string{"https://app.example"}},
		Upstream: gateconfig.Upstream{Port: 8080, Path: "/mcp/", Sessions: gateconfig.Stateless, MinRevision: gateconfig.Revision20251125},
		Limits:   gateconfig.Limits{RequestBytes: 1 << 20, Depth: 64},
		Authentication: gateconfig.Authentication{APIKeys: gateconfig.Enabled, ClientCertificates: gateconfig.Optional, Tokens: []gateconfig.TokenIssuer{
			{Name: "corp", Type: gateconfig.OIDC, Issuer: "https://issuer.example/realm", Audiences: []string{"mcp"}, RequiredScopes: []string{"mcp"},
				RequiredClaims: []policy.Claim{{Path: []string{"groups"}, Values: []string{"agents"}}}, Source: "one",
				Keys: []gateconfig.TokenKey{{ID: "1", Algorithms: []gateconfig.Algorithm{gateconfig.ES256}, PKIX: publicKey(t, elliptic.P256())}}},
			{Name: "cluster", Type: gateconfig.Kubernetes, Issuer: "https://kubernetes.default.svc", Audiences: []string{"mcp"}, Source: "two"},
		}},
		Authorities: map[string]string{"agents": ca},
		Status:      gateconfig.Status{Authority: ca, Identities: []string{"spiffe://bartizan.dev/operator"}},
		Clients: []gateconfig.Client{
			{Object: gateconfig.Object{Namespace: "agents", Name: "alice"}, Keys: []gateconfig.Key{
				{ID: strings.Repeat("a", 16), SHA256: strings.Repeat("0", 64), NotAfter: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}}},
			{Object: gateconfig.Object{Namespace: "agents", Name: "bob"}},
		},
		Verification: gateconfig.Verification{Tokens: &gateconfig.OwnTokens{Audience: "urn:uuid:1", Keys: []gateconfig.TokenKey{
			{ID: "1", Algorithms: []gateconfig.Algorithm{gateconfig.ES256}, PKIX: publicKey(t, elliptic.P256()), NotAfter: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}}}},
		Policy: policy.Policy{Rules: []policy.Rule{{ID: "readers/0", Clients: []string{"agents/alice"}, Tools: []string{"<*>"}}}},
	}
}

func TestParseReadsWhatSealWrote(t *testing.T) {
	want := valid(t)
	document, generation, err := gateconfig.Seal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := gateconfig.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	want.Version, want.Generation = gateconfig.Version, generation
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefusesOtherDocuments(t *testing.T) {
	document, generation, err := gateconfig.Seal(valid(t))
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string {
		if !bytes.Contains(document, []byte(old)) {
			t.Fatalf("the document has no %s", old)
		}
		return strings.Replace(string(document), old, new, 1)
	}
	for name, text := range map[string]string{
		"nothing":             "",
		"null":                "null",
		"an array":            "[]",
		"cut off":             string(document[:len(document)-1]),
		"two documents":       string(document) + string(document),
		"trailing newline":    string(document) + "\n",
		"other version":       replace(`"version":1`, `"version":2`),
		"no version":          replace(`"version":1,`, ``),
		"changed content":     replace(`"port":8080`, `"port":8081`),
		"changed generation":  replace(generation, strings.Repeat("0", 32)),
		"unknown field":       replace(`"version":1`, `"version":1,"evil":true`),
		"duplicate field":     replace(`"port":8080`, `"port":8081,"port":8080`),
		"case-fold twin":      replace(`"port":8080`, `"Port":8081,"port":8080`),
		"other case":          replace(`"port"`, `"Port"`),
		"wrong type":          replace(`"port":8080`, `"port":"8080"`),
		"larger than allowed": strings.Repeat(" ", 1<<20) + string(document),
	} {
		if _, err := gateconfig.Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseRefusesWhatCannotBeObeyed(t *testing.T) {
	leaf := authority(t, false)
	id := strings.Repeat("a", 16)
	for want, change := range map[string]func(*gateconfig.Config){
		"server:":                                          func(c *gateconfig.Config) { c.Server.Name = "" },
		"endpoint.url:":                                    func(c *gateconfig.Config) { c.Endpoint.URL = "http://mcp.example/" },
		"endpoint.path:":                                   func(c *gateconfig.Config) { c.Endpoint.Path = "/a/../mcp" },
		"endpoint.hosts:":                                  func(c *gateconfig.Config) { c.Endpoint.Hosts = nil },
		"endpoint.hosts[0]:":                               func(c *gateconfig.Config) { c.Endpoint.Hosts[0] = "Mcp.example" },
		"endpoint.origins[0]:":                             func(c *gateconfig.Config) { c.Endpoint.Origins[0] = "*" },
		"upstream.port: not":                               func(c *gateconfig.Config) { c.Upstream.Port = 65536 },
		"upstream.port: one":                               func(c *gateconfig.Config) { c.Upstream.Port = gateconfig.GatePort },
		"upstream.socket:":                                 func(c *gateconfig.Config) { c.Upstream.Port, c.Upstream.Socket = 0, "/run/other.sock" },
		"upstream.port: set":                               func(c *gateconfig.Config) { c.Upstream.Socket = gateconfig.StdioSocket },
		"upstream.path:":                                   func(c *gateconfig.Config) { c.Upstream.Path = "/mcp?admin=1" },
		"upstream.sessions:":                               func(c *gateconfig.Config) { c.Upstream.Sessions = "" },
		"upstream.minRevision:":                            func(c *gateconfig.Config) { c.Upstream.MinRevision = "2024-11-05" },
		"limits.requestBytes:":                             func(c *gateconfig.Config) { c.Limits.RequestBytes = 0 },
		"limits.perClient:":                                func(c *gateconfig.Config) { c.Limits.PerClient.Burst = 1 },
		"limits.perTool:":                                  func(c *gateconfig.Config) { c.Limits.PerTool = gateconfig.ClientRate{RPS: 1, Burst: -1} },
		"limits.answerWithinSeconds:":                      func(c *gateconfig.Config) { c.Limits.AnswerWithinSeconds = 86401 },
		"limits.answerWithinSeconds: not":                  func(c *gateconfig.Config) { c.Limits.AnswerWithinSeconds = -1 },
		"limits.depth:":                                    func(c *gateconfig.Config) { c.Limits.Depth = -1 },
		"authentication.apiKeys:":                          func(c *gateconfig.Config) { c.Authentication.APIKeys = gateconfig.Required },
		"authentication.clientCertificates:":               func(c *gateconfig.Config) { c.Authentication.ClientCertificates = gateconfig.Enabled },
		"authentication.tokens: more":                      func(c *gateconfig.Config) { c.Authentication.Tokens = make([]gateconfig.TokenIssuer, 9) },
		"authentication.tokens[1]: a name":                 func(c *gateconfig.Config) { tokens(c)[1].Name = "corp" },
		"authentication.tokens[1]: a name or":              func(c *gateconfig.Config) { tokens(c)[1].Issuer = tokens(c)[0].Issuer },
		"authentication.tokens[0].name:":                   func(c *gateconfig.Config) { tokens(c)[0].Name = "a b" },
		"authentication.tokens[0].type:":                   func(c *gateconfig.Config) { tokens(c)[0].Type = "SAML" },
		"authentication.tokens[0].issuer: not 1":           func(c *gateconfig.Config) { tokens(c)[0].Issuer = "" },
		"authentication.tokens[0].issuer: not an":          func(c *gateconfig.Config) { tokens(c)[0].Issuer = "http://issuer.example" },
		"authentication.tokens[0].audiences:":              func(c *gateconfig.Config) { tokens(c)[0].Audiences = nil },
		"authentication.tokens[0].audiences: none":         func(c *gateconfig.Config) { tokens(c)[0].Audiences = []string{""} },
		"authentication.tokens[0].maxLifetimeSeconds:":     func(c *gateconfig.Config) { tokens(c)[0].MaxLifetimeSeconds = -1 },
		"authentication.tokens[0].source:":                 func(c *gateconfig.Config) { tokens(c)[0].Source = "" },
		"authentication.tokens[0].requiredScopes[0]:":      func(c *gateconfig.Config) { tokens(c)[0].RequiredScopes = []string{"offline_access"} },
		"authentication.tokens[0].requiredScopes[1]:":      func(c *gateconfig.Config) { tokens(c)[0].RequiredScopes = []string{"a", `b"`} },
		"authentication.tokens[0].requiredClaims[0].path:": func(c *gateconfig.Config) { tokens(c)[0].RequiredClaims[0].Path = nil },
		"authentication.tokens[0].keys: more":              func(c *gateconfig.Config) { tokens(c)[0].Keys = make([]gateconfig.TokenKey, 33) },
		"authentication.tokens[0].keys[0].id:":             func(c *gateconfig.Config) { tokens(c)[0].Keys[0].ID = "" },
		"authentication.tokens[0].keys[1].id:":             func(c *gateconfig.Config) { tokens(c)[0].Keys = append(tokens(c)[0].Keys, tokens(c)[0].Keys[0]) },
		"authentication.tokens[0].keys[0].algorithms: emp": func(c *gateconfig.Config) { tokens(c)[0].Keys[0].Algorithms = nil },
		"authentication.tokens[0].keys[0].algorithms: the": func(c *gateconfig.Config) { tokens(c)[0].Keys[0].Algorithms[0] = gateconfig.RS256 },
		"authentication.tokens[0].keys[0].algorithms: t":   func(c *gateconfig.Config) { tokens(c)[0].Keys[0].Algorithms[0] = "HS256" },
		"authentication.tokens[0].keys[0].pkix: not a":     func(c *gateconfig.Config) { tokens(c)[0].Keys[0].PKIX = []byte("secret") },
		"authentication.tokens[0].keys[0].pkix: not an":    func(c *gateconfig.Config) { tokens(c)[0].Keys[0].PKIX = publicKey(t, elliptic.P521()) },
		"authentication.tokens[0].keys[0].pkix: not an RSA": func(c *gateconfig.Config) {
			tokens(c)[0].Keys[0].PKIX = pkix(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537})
		},
		"authentication.tokens[0].keys[0].pkix: not an RSA key": func(c *gateconfig.Config) {
			tokens(c)[0].Keys[0].PKIX = pkix(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 1<<30 + 1})
		},
		"authorities: a key":         func(c *gateconfig.Config) { c.Authorities["*"] = leaf },
		"authorities: a certificate": func(c *gateconfig.Config) { c.Authorities["agents"] += leaf },
		"authorities: not":           func(c *gateconfig.Config) { c.Authorities["agents"] += "-----BEGIN EC PRIVATE KEY-----" },
		"authorities: no":            func(c *gateconfig.Config) { c.Authorities["agents"] = "" },
		"status.authority:":          func(c *gateconfig.Config) { c.Status.Authority = "" },
		"status.identities:":         func(c *gateconfig.Config) { c.Status.Identities = nil },
		"status.identities[0]:":      func(c *gateconfig.Config) { c.Status.Identities[0] = "operator" },
		"clients[1]: not sorted":     func(c *gateconfig.Config) { c.Clients[1] = c.Clients[0] },
		"clients[0]: not a":          func(c *gateconfig.Config) { c.Clients[0].Name = "a/b" },
		"clients[0].keys[0].id: not": func(c *gateconfig.Config) { c.Clients[0].Keys[0].ID = "short" },
		"clients[1].keys[0].id: used twice": func(c *gateconfig.Config) {
			c.Clients[1].Keys = []gateconfig.Key{{ID: id, SHA256: strings.Repeat("1", 64), NotAfter: time.Now()}}
		},
		"verification.keys[1].id: used twice": func(c *gateconfig.Config) {
			c.Verification.Keys = []gateconfig.Key{{ID: strings.Repeat("c", 16), SHA256: strings.Repeat("1", 64), NotAfter: time.Now()}, c.Clients[0].Keys[0]}
		},
		"verification.keys[0].notAfter:": func(c *gateconfig.Config) {
			c.Verification.Keys = []gateconfig.Key{{ID: strings.Repeat("c", 16), SHA256: strings.Repeat("1", 64)}}
		},
		"verification.tokens.audiences:": func(c *gateconfig.Config) { c.Verification.Tokens.Audience = "" },
		"verification.tokens.keys: none": func(c *gateconfig.Config) { c.Verification.Tokens.Keys = nil },
		"verification.tokens.keys: none, or one without notAfter": func(c *gateconfig.Config) {
			c.Verification.Tokens.Keys[0].NotAfter = time.Time{}
		},
		"verification.tokens.keys[1].id:": func(c *gateconfig.Config) {
			c.Verification.Tokens.Keys = append(c.Verification.Tokens.Keys, c.Verification.Tokens.Keys[0])
		},
		"verification.tokens.keys[0].pkix:": func(c *gateconfig.Config) { c.Verification.Tokens.Keys[0].PKIX = []byte("x") },
		"authentication.tokens[1].issuer: it is the operator's": func(c *gateconfig.Config) {
			c.Authentication.Tokens[1].Issuer = gateconfig.OwnIssuerURN
		},
		"authentication.tokens[1].type: not OIDC": func(c *gateconfig.Config) { c.Authentication.Tokens[1].Type = gateconfig.OwnIssuer },
		"clients[0].keys[0].sha256:":              func(c *gateconfig.Config) { c.Clients[0].Keys[0].SHA256 = strings.Repeat("A", 64) },
		"clients[0].keys[0].notAfter:":            func(c *gateconfig.Config) { c.Clients[0].Keys[0].NotAfter = time.Time{} },
		"policy.rules[0].id:":                     func(c *gateconfig.Config) { c.Policy.Rules[0].ID = "" },
	} {
		c := valid(t)
		change(&c)
		document, _, err := gateconfig.Seal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gateconfig.Parse(document); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v; want an error that begins with %q", err, want)
		}
	}
}

func tokens(c *gateconfig.Config) []gateconfig.TokenIssuer { return c.Authentication.Tokens }

func FuzzParse(f *testing.F) {
	document, _, err := gateconfig.Seal(valid(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := gateconfig.Parse(document)
		if err != nil {
			return
		}
		again, generation, err := gateconfig.Seal(c)
		if err != nil || generation != c.Generation {
			t.Errorf("an accepted document is not what Seal writes")
		}
		// gzip has other ways to say the same, but not of a document that would fit as it is.
		if packed, ok := gateconfig.Pack(again); !ok || !bytes.Equal(packed, document) && len(again) <= gateconfig.MaxPacked {
			t.Errorf("an accepted document is not what Pack writes")
		}
	})
}

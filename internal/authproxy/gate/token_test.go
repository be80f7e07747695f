package gate_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const issuerURL = "https://issuer.example/realm"

// holder is the holder of a token of the issuer "corp" with a subject.
func holder(subject string) []policy.TokenSubject {
	return []policy.TokenSubject{{Issuer: "corp", Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{subject}}}}}
}

// withTokens is a world whose gate accepts tokens of an issuer: its alice may call greet, with the scope "write" erase too, and
// through the client agents/alice drop.
func withTokens(t *testing.T, upstream string, changes ...func(*world)) (*world, *gatetest.Issuer) {
	t.Helper()
	issuer := gatetest.NewIssuer(t, issuerURL)
	return newWorld(t, upstream, append([]func(*world){func(w *world) {
		w.config.Authentication.Tokens = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}
		w.config.Policy.Rules = append(w.config.Policy.Rules,
			policy.Rule{ID: "people/0", Tokens: holder("alice"), Tools: []string{"greet", "slow"}},
			policy.Rule{ID: "people/1", Tokens: holder("alice"), Tools: []string{"erase"}, Scopes: []string{"write"}},
			policy.Rule{ID: "people/2", Tokens: holder("alice"), Tools: []string{"drop"}, Actors: []string{"agents/alice"}},
		)
	}}, changes...)...), issuer
}

func call(tool string) string { return strings.Replace(legacyCall, "greet", tool, 1) }

func bearer(text string) func(*http.Request) { return set("Authorization", "Bearer "+text) }

// TestTokens: who the token's holder is decides, and who acts for the holder; the token itself goes nowhere.
func TestTokens(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, issuer := withTokens(t, upstream.address())
	alice := issuer.Token(t, gateconfig.RS256, nil)
	writer := issuer.Token(t, gateconfig.ES256, gatetest.Claims{"scope": "read write"})
	mallory := issuer.Token(t, gateconfig.ES256, gatetest.Claims{"sub": "mallory", "scope": "write"})
	for name, test := range map[string]struct {
		client *http.Client
		tool   string
		rule   string // empty: denied
		reason string
	}{
		"the holder":                        {w.keyed(alice), "greet", "people/0", ""},
		"the holder without the scope":      {w.keyed(alice), "erase", "", "scope"},
		"the holder with the scope":         {w.keyed(writer), "erase", "people/1", ""},
		"the holder without the agent":      {w.keyed(writer), "drop", "", "tool"},
		"the holder through the agent":      {w.keyed(alice, w.alice), "drop", "people/2", ""},
		"the holder through another agent":  {w.keyed(alice, w.bob), "drop", "", "tool"},
		"the agent alone":                   {w.client(w.alice), "drop", "", "tool"},
		"the agent by its key":              {w.keyed(w.aliceKey), "drop", "", "tool"},
		"the agent's own, with a holder":    {w.keyed(mallory, w.alice), "greet", "friends/0", ""},
		"another holder through the agent":  {w.keyed(mallory, w.alice), "drop", "", "tool"},
		"another holder":                    {w.keyed(mallory), "greet", "", "no-rule"},
		"another holder with the scope":     {w.keyed(mallory), "erase", "", "no-rule"},
		"the holder, what nobody may":       {w.keyed(writer, w.alice), "format", "", "tool"},
		"the holder through a silent agent": {w.keyed(alice, w.bob), "greet", "people/0", ""},
	} {
		before := len(upstream.seen())
		status, _, body := do(t, test.client, w.post(call(test.tool)))
		record := w.audit.last(t)
		passed := len(upstream.seen()) - before
		if test.rule != "" && (status != http.StatusOK || passed != 1 || record.Rule != test.rule) ||
			test.rule == "" && (status != http.StatusForbidden || passed != 0 || record.Decision != audit.Denied || record.Reason != test.reason) {
			t.Errorf("%s: %d %s, %d passed, %+v", name, status, body, passed, record)
		}
	}
	_, _, _ = do(t, w.keyed(alice, w.bob), w.post(legacyCall))
	if r := w.audit.last(t); r.Client != "agents/bob" || r.Issuer != "corp" || r.Subject != "alice" || r.CertificateSerial == "" || r.KeyID != "" {
		t.Errorf("the audit log says %+v", r)
	}
	for _, request := range upstream.seen() {
		for name, values := range request.header {
			if strings.Contains(strings.Join(values, ","), "eyJ") || strings.Contains(strings.Join(values, ","), "alice") || name == "Authorization" {
				t.Errorf("the server saw %s: %s", name, values)
			}
		}
	}
	for _, secret := range []string{alice, writer, mallory} {
		if logs := w.audit.String() + w.log.String(); strings.Contains(logs, secret[strings.LastIndexByte(secret, '.')+1:]) || strings.Contains(logs, "eyJ") {
			t.Error("a log has a token")
		}
	}
}

// TestTokensThatAreRefused: none reaches the server, and none says why it was refused. internal/authproxy/token has the table
// of forgeries.
func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, issuer := withTokens(t, upstream.address())
	good := issuer.Token(t, gateconfig.EdDSA, nil)
	stranger := gatetest.NewIssuer(t, issuerURL)
	query := func(r *http.Request) { r.URL.RawQuery = "access_token=" + good }
	for name, test := range map[string]struct {
		change func(*http.Request)
		status int
		reason string
		error  string
	}{
		"expired":              {bearer(issuer.Token(t, gateconfig.EdDSA, gatetest.Claims{"exp": time.Now().Add(-time.Hour).Unix(), "nbf": 1, "iat": 1})), 401, "token-expired", "invalid_token"},
		"forged":               {bearer(stranger.Token(t, gateconfig.EdDSA, nil)), 401, "token-signature", "invalid_token"},
		"for another audience": {bearer(issuer.Token(t, gateconfig.EdDSA, gatetest.Claims{"aud": "other"})), 401, "token-audience", "invalid_token"},
		"unsigned":             {bearer("eyJhbGciOiJub25lIn0.e30."), 401, "token-malformed", "invalid_token"},
		"opaque":               {bearer("0123456789abcdef"), 401, "token-malformed", "invalid_token"},
		"as an API key":        {set("X-API-Key", good), 401, "key-malformed", ""},
		"nothing":              {func(*http.Request) {}, 401, "no-credential", ""},
		"basic":                {func(r *http.Request) { r.SetBasicAuth("alice", good) }, 401, "no-credential", ""},
		"scheme alone":         {set("Authorization", "Bearer"), 400, "bearer-malformed", "invalid_request"},
		"empty":                {bearer(""), 400, "bearer-malformed", "invalid_request"},
		"two spaces":           {bearer(" " + good), 400, "bearer-malformed", "invalid_request"},
		"two tokens":           {bearer(good + ", " + good), 400, "bearer-malformed", "invalid_request"},
		"quoted":               {bearer(`"` + good + `"`), 400, "bearer-malformed", "invalid_request"},
		"a header twice":       {func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + good} }, 400, "key-repeated", "invalid_request"},
		"a key beside it":      {func(r *http.Request) { bearer(good)(r); set("X-API-Key", w.aliceKey)(r) }, 400, "key-repeated", "invalid_request"},
		"in the query":         {query, 400, "query", ""},
		"a wrong key":          {bearer("mcpk_" + strings.Repeat("a", 69)), 401, "key-malformed", ""},
	} {
		status, header, body := do(t, w.client(), w.post(legacyCall, test.change))
		challenge := strings.Join(header.Values("WWW-Authenticate"), ", ")
		if status != test.status || w.audit.last(t).Reason != test.reason || len(upstream.seen()) != 0 {
			t.Errorf("%s: %d %s, %+v", name, status, body, w.audit.last(t))
		}
		if test.reason != "query" && (!strings.Contains(challenge, `resource_metadata="https://gate.test/.well-known/oauth-protected-resource/mcp"`) ||
			(test.error != "") != strings.Contains(challenge, "error=") || !strings.Contains(challenge, test.error)) {
			t.Errorf("%s: the challenge is %s", name, challenge)
		}
		if (test.reason != "query" && strings.Contains(body, test.reason)) || strings.Contains(body, "issuer.example") || strings.Contains(body, "eyJ") {
			t.Errorf("%s: the answer says too much: %s", name, body)
		}
	}
}

// TestOperatorWithToken: the operator sees whether a token is accepted, and may do nothing with it that its holder may.
func TestOperatorWithToken(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, issuer := withTokens(t, upstream.address())
	if status, _, body := do(t, w.client(), w.post(legacyCall, bearer(issuer.Token(t, gateconfig.ES256, nil)))); status != http.StatusOK {
		t.Fatalf("the holder alone: %d %s", status, body)
	}
	seen := len(upstream.seen())
	for _, mode := range []gateconfig.Mode{gateconfig.Optional, gateconfig.Required} {
		if mode != w.config.Authentication.ClientCertificates {
			w.reload(func(c *gateconfig.Config) { c.Authentication.ClientCertificates = mode })
		}
		operator := w.client(w.system.Client(t, clientid.Operator))
		status, _, body := do(t, operator, w.post(legacyCall, bearer(issuer.Token(t, gateconfig.ES256, nil))))
		if r := w.audit.last(t); status != http.StatusForbidden || r.Client != "/bartizan-operator" || r.Subject != "" {
			t.Errorf("certificates %s: %d %s, %+v", mode, status, body, r)
		}
		status, _, body = do(t, operator, w.post(legacyCall, bearer(issuer.Token(t, gateconfig.ES256, gatetest.Claims{"aud": "another"}))))
		if r := w.audit.last(t); status != http.StatusUnauthorized || r.Reason != "token-audience" {
			t.Errorf("certificates %s, another audience: %d %s, %+v", mode, status, body, r)
		}
	}
	if n := len(upstream.seen()); n != seen {
		t.Errorf("%d requests reached the server", n-seen)
	}
}

func TestModesWithTokens(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, issuer := withTokens(t, upstream.address())
	token := issuer.Token(t, gateconfig.ES256, nil)
	for _, test := range []struct {
		keys, certificates gateconfig.Mode
		// the reasons to refuse a caller with a token, a certificate, both; empty: allowed
		token, certificate, both string
	}{
		{gateconfig.Enabled, gateconfig.Optional, "", "", ""},
		{gateconfig.Enabled, gateconfig.Required, "certificate-required", "key-required", ""},
		{gateconfig.Disabled, gateconfig.Required, "certificate-required", "key-required", ""},
		{gateconfig.Disabled, gateconfig.Optional, "", "", ""},
		{gateconfig.Disabled, gateconfig.Disabled, "", "no-credential", ""},
	} {
		w.reload(func(c *gateconfig.Config) {
			c.Authentication.APIKeys, c.Authentication.ClientCertificates = test.keys, test.certificates
		})
		for how, try := range map[string]struct {
			client *http.Client
			reason string
		}{
			"token":       {w.keyed(token), test.token},
			"certificate": {w.client(w.alice), test.certificate},
			"both":        {w.keyed(token, w.alice), test.both},
		} {
			status, _, body := do(t, try.client, w.post(legacyCall))
			if reason := w.audit.last(t).Reason; reason != try.reason || (status == http.StatusOK) != (try.reason == "") {
				t.Errorf("keys %s, certificates %s, %s: %d %s (%s); want %q", test.keys, test.certificates, how, status, body, reason, try.reason)
			}
		}
	}
}

// TestStepUp: the challenge names all that the operation needs, and the tool that needs it is listed.
func TestStepUp(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"greet"},{"name":"erase"},{"name":"drop"}]}}`))
	})
	w, issuer := withTokens(t, upstream.address(), func(w *world) {
		w.config.Authentication.Tokens[0].RequiredScopes = []string{"mcp"}
		w.config.Policy.Rules[2].Scopes = []string{"write", "delete"}
	})
	token := func(scopes string) *http.Client {
		return w.keyed(issuer.Token(t, gateconfig.ES256, gatetest.Claims{"scope": scopes}))
	}
	for _, test := range []struct {
		scopes, tool, challenge string
		status                  int
	}{
		{"", "erase", `Bearer error="invalid_token", resource_metadata="https://gate.test/.well-known/oauth-protected-resource/mcp", scope="mcp"`, 401},
		{"mcp", "erase", `Bearer error="insufficient_scope", resource_metadata="https://gate.test/.well-known/oauth-protected-resource/mcp", scope="delete mcp write"`, 403},
		{"mcp write", "erase", `Bearer error="insufficient_scope", resource_metadata="https://gate.test/.well-known/oauth-protected-resource/mcp", scope="delete mcp write"`, 403},
		{"mcp write delete offline_access", "erase", "", 200},
		{"mcp", "greet", "", 200},
		{"mcp", "drop", "", 403},
	} {
		status, header, body := do(t, token(test.scopes), w.post(call(test.tool)))
		challenge := ""
		if all := header.Values("WWW-Authenticate"); len(all) > 0 {
			challenge = all[0]
		}
		if status != test.status || challenge != test.challenge {
			t.Errorf("%s with %q: %d %s, challenge\n%s, want\n%s", test.tool, test.scopes, status, body, challenge, test.challenge)
		}
	}
	if _, _, body := do(t, token("mcp"), w.post(legacyList)); !strings.Contains(body, "erase") || strings.Contains(body, "drop") {
		t.Errorf("listed: %s", body)
	}
}

// TestMetadata: both addresses serve the document, to those whom the server is for, and only where there is an issuer.
func TestMetadata(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, _ := withTokens(t, upstream.address(), func(w *world) {
		cluster := gatetest.NewIssuer(t, "https://kubernetes.default.svc").Config(t, "cluster", "mcp")
		cluster.Type = gateconfig.Kubernetes
		w.config.Authentication.Tokens[0].RequiredScopes = []string{"tools", "mcp"}
		w.config.Authentication.Tokens = append(w.config.Authentication.Tokens, cluster)
	})
	base := strings.TrimSuffix(w.url, "/mcp")
	at := func(verb, path string, changes ...func(*http.Request)) *http.Request {
		r, err := http.NewRequest(verb, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range changes {
			change(r)
		}
		return r
	}
	const root, own = "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"
	for _, path := range []string{root, own} {
		status, header, body := do(t, w.client(), at(http.MethodGet, path))
		var document map[string]any
		if err := json.Unmarshal([]byte(body), &document); err != nil || status != http.StatusOK || header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %v %s", path, status, header, body)
		}
		servers, _ := document["authorization_servers"].([]any)
		if document["resource"] != "https://gate.test/mcp" || !slices.Equal(servers, []any{issuerURL}) || len(document["scopes_supported"].([]any)) != 2 {
			t.Errorf("%s: %s", path, body)
		}
		if status, header, body := do(t, w.client(), at(http.MethodHead, path)); status != http.StatusOK || body != "" || header.Get("Content-Length") == "" {
			t.Errorf("HEAD %s: %d %v %q", path, status, header, body)
		}
		if status, _, _ := do(t, w.client(), at(http.MethodGet, path, set("Origin", "https://app.example"))); status != http.StatusOK {
			t.Errorf("%s from an accepted origin: %d", path, status)
		}
	}
	for name, test := range map[string]struct {
		request *http.Request
		status  int
	}{
		"another host":       {at(http.MethodGet, own, func(r *http.Request) { r.Host = "evil.example" }), 403},
		"another origin":     {at(http.MethodGet, own, set("Origin", "https://evil.example")), 403},
		"POST":               {at(http.MethodPost, own), 405},
		"DELETE":             {at(http.MethodDelete, root), 405},
		"another resource":   {at(http.MethodGet, root+"/other"), 404},
		"dots":               {at(http.MethodGet, root+"/../mcp"), 404},
		"encoded":            {at(http.MethodGet, "/.well-known/oauth-protected-resource%2Fmcp"), 404},
		"a query":            {at(http.MethodGet, own+"?x=1"), 400},
		"an issuer's own":    {at(http.MethodGet, "/.well-known/oauth-authorization-server"), 404},
		"a trailing slash":   {at(http.MethodGet, root+"/"), 404},
		"with an other case": {at(http.MethodGet, strings.ToUpper(root)), 404},
	} {
		if status, _, body := do(t, w.client(), test.request); status != test.status || strings.Contains(body, "authorization_servers") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	w.reload(func(c *gateconfig.Config) { c.Authentication.Tokens = c.Authentication.Tokens[1:] })
	for _, path := range []string{root, own} {
		if status, _, body := do(t, w.client(), at(http.MethodGet, path)); status != http.StatusNotFound {
			t.Errorf("without an OAuth issuer %s: %d %s", path, status, body)
		}
	}
	if _, header, _ := do(t, w.client(), w.post(legacyCall)); strings.Contains(strings.Join(header.Values("WWW-Authenticate"), ""), "Bearer") {
		t.Errorf("without an OAuth issuer the challenge is %s", header.Values("WWW-Authenticate"))
	}
	if len(upstream.seen()) != 0 {
		t.Errorf("the server saw %+v", upstream.seen())
	}
}

// TestTokenStreamsEnd: whatever took the right away, it ends the open streams of a token's holder, and what is remembered of
// the token.
func TestTokenStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*gateconfig.Config)
		status int // of the next request; 200: the streams go on
	}{
		"nothing changed":  {func(c *gateconfig.Config) { c.Limits.Depth++ }, 200},
		"a new key beside": {func(c *gateconfig.Config) { c.Authentication.Tokens[0].Keys = c.Authentication.Tokens[0].Keys[1:] }, 200},
		"issuer removed":   {func(c *gateconfig.Config) { c.Authentication.Tokens = nil }, 401},
		"key withdrawn":    {func(c *gateconfig.Config) { c.Authentication.Tokens[0].Keys = c.Authentication.Tokens[0].Keys[:2] }, 401},
		"key replaced": {func(c *gateconfig.Config) {
			c.Authentication.Tokens[0].Keys[2].PKIX = gatetest.NewIssuer(t, issuerURL).PKIX(t, gateconfig.ES256)
		}, 401},
		"another audience": {func(c *gateconfig.Config) { c.Authentication.Tokens[0].Audiences = []string{"other"} }, 401},
		"a scope demanded": {func(c *gateconfig.Config) { c.Authentication.Tokens[0].RequiredScopes = []string{"mcp"} }, 401},
		"issuer renamed":   {func(c *gateconfig.Config) { c.Authentication.Tokens[0].Name = "other" }, 403},
		"rules removed":    {func(c *gateconfig.Config) { c.Policy.Rules = c.Policy.Rules[:1] }, 403},
		"rule for another": {func(c *gateconfig.Config) {
			c.Policy.Rules[1].Tokens = holder("bob")
			c.Policy.Rules = c.Policy.Rules[:2]
		}, 403},
		"certificates needed": {func(c *gateconfig.Config) { c.Authentication.ClientCertificates = gateconfig.Required }, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &streamer{next: make(chan string)}
			upstream := newRecorder(t, server.serve)
			w, issuer := withTokens(t, upstream.address())
			c := w.keyed(issuer.Token(t, gateconfig.ES256, nil))
			for _, r := range []*http.Request{w.post(legacyCall), w.modern(), w.verb(http.MethodGet)} {
				_, _ = open(t, c, r)
			}
			w.reload(test.change)
			if test.status == http.StatusOK {
				server.send(t, ": go on\n\n")
				if server.count() != 3 {
					t.Errorf("%d streams are open", server.count())
				}
				return
			}
			gatetest.Eventually(t, "the streams have ended", func() bool { return server.count() == 0 })
			if status, _, body := do(t, c, w.post(legacyCall)); status != test.status {
				t.Errorf("the next request: %d %s", status, body)
			}
		})
	}
}

// TestTokenEndsOnOldConnections: neither an open stream nor a remembered token outlives the token's end.
func TestTokenEndsOnOldConnections(t *testing.T) {
	t.Parallel()
	server := &streamer{next: make(chan string)}
	upstream := newRecorder(t, server.serve)
	w, issuer := withTokens(t, upstream.address())
	c := w.keyed(issuer.Token(t, gateconfig.ES256, gatetest.Claims{
		"nbf": time.Now().Add(-time.Hour).Unix(), "iat": nil, "exp": time.Now().Add(-15 * time.Second).Unix()}))
	_, _ = open(t, c, w.post(legacyCall))
	gatetest.Eventually(t, "the stream has ended with the token, the skew included", func() bool { return server.count() == 0 })
	if status, _, body := do(t, c, w.post(legacyCall)); status != http.StatusUnauthorized || w.audit.last(t).Reason != "token-expired" {
		t.Errorf("%d %s", status, body)
	}
}

// TestSessionsBelongToTheHolder: a session is its holder's, whatever token shows that, and nobody else's.
func TestSessionsBelongToTheHolder(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, sessions)
	other := gatetest.NewIssuer(t, "https://other.example")
	w, issuer := withTokens(t, upstream.address(), func(w *world) {
		w.config.Authentication.Tokens = append(w.config.Authentication.Tokens, other.Config(t, "other", "mcp"))
		everybody := policy.Claim{Path: []string{"aud"}, Values: []string{"mcp"}}
		for _, name := range []string{"corp", "other"} {
			w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: name + "/0", Tools: []string{"**"},
				Tokens: []policy.TokenSubject{{Issuer: name, Claims: []policy.Claim{everybody}}}})
		}
	})
	alice := issuer.Token(t, gateconfig.ES256, nil)
	_, header, _ := do(t, w.keyed(alice), w.post(initialize))
	session := set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))
	for name, test := range map[string]struct {
		client *http.Client
		status int
	}{
		"the same token":                   {w.keyed(alice), 200},
		"a newer token":                    {w.keyed(issuer.Token(t, gateconfig.RS256, gatetest.Claims{"scope": "more"})), 200},
		"another subject":                  {w.keyed(issuer.Token(t, gateconfig.ES256, gatetest.Claims{"sub": "alic"})), 404},
		"a subject that says more":         {w.keyed(issuer.Token(t, gateconfig.ES256, gatetest.Claims{"sub": "alice "})), 404},
		"the same subject elsewhere":       {w.keyed(other.Token(t, gateconfig.ES256, nil)), 404},
		"through an agent":                 {w.keyed(alice, w.alice), 404},
		"a client of that name":            {w.keyed(w.aliceKey), 404},
		"a subject that imitates an agent": {w.keyed(issuer.Token(t, gateconfig.ES256, gatetest.Claims{"sub": "agents/alice"})), 404},
	} {
		if status, _, body := do(t, test.client, w.post(legacyCall, session)); status != test.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

// TestUnknownKeysAreReported: the operator learns that an issuer may have a new key, and nothing that the caller chose.
func TestUnknownKeysAreReported(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w, issuer := withTokens(t, upstream.address(), func(w *world) {
		w.config.Authentication.Tokens[0].Keys = w.config.Authentication.Tokens[0].Keys[:1]
	})
	if s := w.status(t); len(s.UnknownKeys) != 0 {
		t.Errorf("before: %+v", s.UnknownKeys)
	}
	for range 2 {
		if status, _, _ := do(t, w.keyed(issuer.Token(t, gateconfig.ES256, nil)), w.post(legacyCall)); status != http.StatusUnauthorized {
			t.Errorf("a token with an unknown key: %d", status)
		}
	}
	if s := w.status(t); len(s.UnknownKeys) != 1 || s.UnknownKeys[0].Issuer != "corp" || s.UnknownKeys[0].Count != 2 || time.Since(s.UnknownKeys[0].Last) > time.Minute {
		t.Errorf("%+v", s.UnknownKeys)
	}
}

package gate_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

func uri(namespace, name, servers string) string {
	return clientid.Client{Namespace: namespace, Name: name, Servers: servers}.URI()
}

// TestCredentials tries every kind of wrong credential: none reaches the server, and none says why it was refused.
func TestCredentials(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	var expired gateconfig.Key
	var expiredText string
	w := newWorld(t, upstream.address(), func(w *world) {
		expiredText, expired = gatetest.NewKey(t, time.Now().Add(-time.Second))
		w.config.Clients[0].Keys = append(w.config.Clients[0].Keys, expired)
	})
	unknownKey, _ := gatetest.NewKey(t, time.Now().Add(time.Hour))
	wrongSecret := w.aliceKey[:len(w.aliceKey)-1] + string("ab"[strings.IndexByte("ba", w.aliceKey[len(w.aliceKey)-1])&1])
	if wrongSecret == w.aliceKey {
		wrongSecret = w.aliceKey[:len(w.aliceKey)-1] + "q"
	}
	alice := uri("agents", "alice", "team-a")
	certificate := func(changes ...func(*x509.Certificate)) []tls.Certificate {
		return []tls.Certificate{w.agents.Client(t, alice, changes...)}
	}
	intermediate := w.intermediate(t)
	bearer := func(key string) func(*http.Request) { return set("Authorization", "Bearer "+key) }
	apiKey := func(key string) func(*http.Request) { return set("X-API-Key", key) }
	both := func(a, b func(*http.Request)) func(*http.Request) { return func(r *http.Request) { a(r); b(r) } }
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		change       func(*http.Request)
		reason       string // empty: allowed
	}{
		"key as bearer":           {nil, bearer(w.aliceKey), ""},
		"key, scheme in capitals": {nil, set("Authorization", "BEARER "+w.aliceKey), ""},
		"key as X-API-Key":        {nil, apiKey(w.aliceKey), ""},
		"certificate":             {[]tls.Certificate{w.alice}, nil, ""},
		"both":                    {[]tls.Certificate{w.alice}, bearer(w.aliceKey), ""},
		"by a clock ahead":        {certificate(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(config.Skew - time.Second) }), nil, ""},

		"nothing":                  {nil, nil, "no-credential"},
		"empty bearer":             {nil, bearer(""), "key-malformed"},
		"empty X-API-Key":          {nil, apiKey(""), "key-malformed"},
		"basic":                    {nil, func(r *http.Request) { r.SetBasicAuth("alice", w.aliceKey) }, "key-malformed"},
		"key without scheme":       {nil, set("Authorization", w.aliceKey), "key-malformed"},
		"two spaces":               {nil, set("Authorization", "Bearer  "+w.aliceKey), "key-malformed"},
		"key in upper case":        {nil, bearer(strings.ToUpper(w.aliceKey)), "key-unknown"},
		"two keys in one":          {nil, bearer(w.aliceKey + ", " + w.bobKey), "key-malformed"},
		"unknown id":               {nil, bearer(unknownKey), "key-unknown"},
		"wrong secret":             {nil, bearer(wrongSecret), "key-wrong"},
		"alice's id, bob's secret": {nil, bearer(w.aliceKey[:22] + w.bobKey[22:]), "key-wrong"},
		"expired key":              {nil, bearer(expiredText), "key-expired"},
		"hash instead of the key":  {nil, bearer(w.config.Clients[0].Keys[0].SHA256), "key-unknown"},
		"a token":                  {nil, bearer("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImlzcyI6Im1lIn0.c2lnbmF0dXJl"), "key-malformed"},
		"a short secret":           {nil, bearer("abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"), "key-malformed"},
		"both headers":             {nil, both(bearer(w.aliceKey), apiKey(w.aliceKey)), "key-repeated"},
		"header twice":             {nil, func(r *http.Request) { r.Header["X-Api-Key"] = []string{w.aliceKey, w.aliceKey} }, "key-repeated"},
		"bearer twice": {nil, func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer " + w.aliceKey, "Bearer " + w.bobKey}
		}, "key-repeated"},
		"bob's certificate":         {[]tls.Certificate{w.bob}, bearer(w.aliceKey), "credentials-contradict"},
		"bob's key":                 {[]tls.Certificate{w.alice}, bearer(w.bobKey), "credentials-contradict"},
		"good certificate, bad key": {[]tls.Certificate{w.alice}, bearer(wrongSecret), "key-wrong"},
		"good key, bad certificate": {certificate(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), bearer(w.aliceKey), "certificate-expired"},

		"expired certificate":      {certificate(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), nil, "certificate-expired"},
		"by a clock far ahead":     {certificate(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), nil, "certificate-expired"},
		"certificate of tomorrow":  {certificate(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), nil, "certificate-expired"},
		"for other servers":        {[]tls.Certificate{w.agents.Client(t, uri("agents", "alice", "team-b"))}, nil, "certificate-other-servers"},
		"unknown client":           {[]tls.Certificate{w.agents.Client(t, uri("agents", "carol", "team-a"))}, nil, "client-unknown"},
		"namespace without CA":     {[]tls.Certificate{w.agents.Client(t, uri("nowhere", "alice", "team-a"))}, nil, "client-unknown"},
		"other namespace's CA":     {[]tls.Certificate{w.strangers.Client(t, alice)}, nil, "certificate-invalid"},
		"the gate's serving CA":    {[]tls.Certificate{w.serving.Client(t, alice)}, nil, "certificate-invalid"},
		"the operator's CA":        {[]tls.Certificate{w.system.Client(t, alice)}, nil, "certificate-invalid"},
		"the operator, by another": {[]tls.Certificate{w.agents.Client(t, clientid.Operator)}, nil, "certificate-invalid"},
		"the operator with a key":  {[]tls.Certificate{w.system.Client(t, clientid.Operator)}, bearer(w.aliceKey), "credentials-contradict"},
		"a CA nobody knows":        {[]tls.Certificate{gatetest.NewAuthority(t, "agents").Client(t, alice)}, nil, "certificate-invalid"},
		"other CA as intermediate": {[]tls.Certificate{w.withIntermediate(t, intermediate, alice)}, nil, "certificate-invalid"},
		"for servers":              {certificate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), nil, "certificate-invalid"},
		"for any use":              {certificate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), nil, "certificate-invalid"},
		"for no use":               {certificate(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), nil, "certificate-invalid"},
		"an authority":             {certificate(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), nil, "certificate-invalid"},
		"no URI":                   {certificate(func(c *x509.Certificate) { c.URIs = nil }), nil, "certificate-invalid"},
		"two URIs": {certificate(func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "bartizan.dev", Path: "/ns/agents/mcpclient/bob/servers/team-a"})
		}), nil, "certificate-invalid"},
		"a DNS name too": {certificate(func(c *x509.Certificate) { c.DNSNames = []string{"alice.example"} }), nil, "certificate-invalid"},
		"an IP too":      {certificate(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), nil, "certificate-invalid"},
		"another URI":    {[]tls.Certificate{w.agents.Client(t, alice+"/x")}, nil, "certificate-invalid"},
		"URI with query": {[]tls.Certificate{w.agents.Client(t, alice+"?x=1")}, nil, "certificate-invalid"},
	} {
		before := len(upstream.seen())
		var changes []func(*http.Request)
		if test.change != nil {
			changes = append(changes, test.change)
		}
		status, header, body := do(t, w.client(test.certificates...), w.post(legacyCall, changes...))
		record := w.audit.last(t)
		passed := len(upstream.seen()) - before
		if test.reason == "" {
			if status != http.StatusOK || passed != 1 || record.Client != "agents/alice" {
				t.Errorf("%s: %d %s, %+v", name, status, body, record)
			}
			continue
		}
		if status != http.StatusUnauthorized || passed != 0 || record.Decision != audit.Unauthenticated || record.Reason != test.reason || record.Client != "" {
			t.Errorf("%s: %d %s, %d requests to the server, %+v", name, status, body, passed, record)
		}
		if header.Get("WWW-Authenticate") == "" || strings.Contains(header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: the challenge is %q", name, header.Get("WWW-Authenticate"))
		}
		if strings.Contains(body, "alice") || strings.Contains(body, test.reason) || strings.Contains(body, "team-a") {
			t.Errorf("%s: the answer says too much: %s", name, body)
		}
	}
	for _, secret := range []string{w.aliceKey, w.bobKey, expiredText, unknownKey, wrongSecret} {
		if strings.Contains(w.audit.String()+w.log.String(), secret[22:]) {
			t.Error("a log has a key's secret")
		}
	}
}

// intermediate is an authority of strangers that strangers' root vouches for.
func (w *world) intermediate(t *testing.T) *gatetest.Authority {
	t.Helper()
	return gatetest.NewAuthority(t, "intermediate")
}

func (w *world) withIntermediate(t *testing.T, by *gatetest.Authority, uri string) tls.Certificate {
	t.Helper()
	c := by.Client(t, uri)
	c.Certificate = append(c.Certificate, by.Certificate.Raw)
	return c
}

func TestModesOfAuthentication(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	for _, test := range []struct {
		keys, certificates gateconfig.Mode
		// the reasons to refuse a caller with a key, a certificate, both, nothing; empty: allowed
		key, certificate, both, nothing string
	}{
		{gateconfig.Enabled, gateconfig.Optional, "", "", "", "no-credential"},
		{gateconfig.Enabled, gateconfig.Required, "certificate-required", "key-required", "", "certificate-required"},
		{gateconfig.Enabled, gateconfig.Disabled, "", "no-credential", "", "no-credential"},
		{gateconfig.Disabled, gateconfig.Optional, "keys-disabled", "", "keys-disabled", "no-credential"},
		{gateconfig.Disabled, gateconfig.Required, "certificate-required", "", "keys-disabled", "certificate-required"},
		{gateconfig.Disabled, gateconfig.Disabled, "keys-disabled", "no-credential", "keys-disabled", "no-credential"},
	} {
		w.reload(func(c *gateconfig.Config) {
			c.Authentication = gateconfig.Authentication{APIKeys: test.keys, ClientCertificates: test.certificates}
		})
		for how, try := range map[string]struct {
			client *http.Client
			reason string
		}{
			"key":         {w.keyed(w.aliceKey), test.key},
			"certificate": {w.client(w.alice), test.certificate},
			"both":        {w.keyed(w.aliceKey, w.alice), test.both},
			"nothing":     {w.client(), test.nothing},
		} {
			status, _, body := do(t, try.client, w.post(legacyCall))
			if reason := w.audit.last(t).Reason; reason != try.reason || (status == http.StatusOK) != (try.reason == "") {
				t.Errorf("keys %s, certificates %s, %s: %d %s (%s); want %q", test.keys, test.certificates, how, status, body, reason, try.reason)
			}
		}
	}
}

// TestClientWithoutCertificates: a valid certificate of a client that shall have none is refused, on an open connection too and
// beside a good key.
func TestClientWithoutCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newRecorder(t, result).address())
	open := w.client(w.alice)
	if status, _, body := do(t, open, w.post(legacyCall)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	w.reload(func(c *gateconfig.Config) { c.Clients[0].Certificates = gateconfig.Disabled })
	for name, test := range map[string]struct {
		client *http.Client
		reason string
	}{
		"on an open connection":  {open, "certificates-disabled"},
		"on a new connection":    {w.client(w.alice), "certificates-disabled"},
		"beside a key":           {w.keyed(w.aliceKey, w.alice), "certificates-disabled"},
		"the key alone":          {w.keyed(w.aliceKey), ""},
		"another's certificate":  {w.client(w.bob), "forbidden"},
		"another's with the key": {w.keyed(w.aliceKey, w.bob), "credentials-contradict"},
	} {
		status, _, body := do(t, test.client, w.post(legacyCall))
		reason := w.audit.last(t).Reason
		if test.reason == "forbidden" {
			if status == http.StatusUnauthorized {
				t.Errorf("%s: %d %s (%s)", name, status, body, reason)
			}
			continue
		}
		if reason != test.reason || (status == http.StatusOK) != (test.reason == "") {
			t.Errorf("%s: %d %s (%s); want %q", name, status, body, reason, test.reason)
		}
	}
}

// TestCredentialsEndOnOldConnections uses one connection throughout: what was accepted on it is not accepted for ever.
func TestCredentialsEndOnOldConnections(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	shortKey, short := gatetest.NewKey(t, time.Now().Add(12*time.Second))
	w := newWorld(t, upstream.address(), func(w *world) {
		w.config.Clients[0].Keys = append(w.config.Clients[0].Keys, short)
	})
	brief := w.agents.Client(t, uri("agents", "alice", "team-a"), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(15 * time.Second) })
	expiring := map[string]*http.Client{"key": w.keyed(shortKey), "certificate": w.client(brief)}
	for name, c := range expiring {
		if status, _, body := do(t, c, w.post(legacyCall)); status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, status, body)
		}
	}
	for name, c := range expiring {
		gatetest.Eventually(t, name+" has expired", func() bool {
			status, _, _ := do(t, c, w.post(legacyCall))
			return status == http.StatusUnauthorized
		})
	}
	withKey, withCertificate := w.keyed(w.aliceKey), w.client(w.alice)
	for _, c := range []*http.Client{withKey, withCertificate} {
		if status, _, body := do(t, c, w.post(legacyCall)); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	w.reload(func(c *gateconfig.Config) { c.Clients = c.Clients[1:] })
	for _, c := range []*http.Client{withKey, withCertificate} {
		if status, _, body := do(t, c, w.post(legacyCall)); status != http.StatusUnauthorized {
			t.Errorf("a revoked client: %d %s", status, body)
		}
	}
	seen := len(upstream.seen())
	w.reload(func(c *gateconfig.Config) { c.Authorities = map[string]string{} })
	if status, _, body := do(t, w.client(w.bob), w.post(legacyCall)); status != http.StatusUnauthorized || len(upstream.seen()) != seen {
		t.Errorf("without authorities: %d %s", status, body)
	}
}

// TestOperator: the operator is known as a caller and may do nothing, whatever is demanded of others and allowed to them.
func TestOperator(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	for _, keys := range []gateconfig.Mode{gateconfig.Enabled, gateconfig.Disabled} {
		for _, certificates := range []gateconfig.Mode{gateconfig.Required, gateconfig.Optional} {
			w := newWorld(t, upstream.address(), func(w *world) {
				w.config.Authentication.APIKeys, w.config.Authentication.ClientCertificates = keys, certificates
			})
			client := w.client(w.system.Client(t, clientid.Operator))
			for _, method := range []string{"initialize", "ping", "tools/list", "tools/call", "prompts/list", "resources/list", "notifications/initialized"} {
				body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"name":"list"}}`
				switch {
				case strings.HasPrefix(method, "notifications/"):
					body = `{"jsonrpc":"2.0","method":"` + method + `"}`
				case method == "initialize":
					body = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`
				}
				status, _, answer := do(t, client, w.post(body))
				if record := w.audit.last(t); status != http.StatusForbidden || record.Decision != audit.Denied || record.Client != "/bartizan-operator" {
					t.Errorf("keys %s, certificates %s, %s: %d %s, %+v", keys, certificates, method, status, answer, record)
				}
			}
		}
	}
	if seen := upstream.seen(); len(seen) > 0 {
		t.Errorf("%d requests reached the server", len(seen))
	}
}

// TestOperatorsKey: a key of the operator's own says who it is as its certificate does, gives it as little, and is of no use beside
// anybody else's credential. It announces a verification where no certificate can.
func TestOperatorsKey(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	text, key := gatetest.NewKey(t, time.Now().Add(time.Hour))
	w := newWorld(t, upstream.address(), func(w *world) {
		w.config.Verification.Keys, w.config.Authentication.ClientCertificates = []gateconfig.Key{key}, gateconfig.Required
	})
	operator := w.system.Client(t, clientid.Operator)
	for _, test := range []struct {
		name         string
		certificates gateconfig.Mode
		client       *http.Client
		reason       string // to refuse the credential; empty for one that is known
	}{
		{"key alone", gateconfig.Required, w.keyed(text), "certificate-required"},
		{"key and certificate", gateconfig.Required, w.keyed(text, operator), ""},
		{"key beside a client's certificate", gateconfig.Required, w.keyed(text, w.alice), "credentials-contradict"},
		{"client's key beside the certificate", gateconfig.Required, w.keyed(w.aliceKey, operator), "credentials-contradict"},
		{"key alone", gateconfig.Optional, w.keyed(text), ""},
		{"key and certificate", gateconfig.Optional, w.keyed(text, operator), ""},
		{"another key of that id", gateconfig.Optional, w.keyed(text[:len(text)-4] + "aaaa"), "key-wrong"},
		{"key alone", gateconfig.Disabled, w.keyed(text), ""},
	} {
		if test.certificates != w.config.Authentication.ClientCertificates {
			w.reload(func(c *gateconfig.Config) { c.Authentication.ClientCertificates = test.certificates })
		}
		for _, body := range []string{legacyCall, legacyList} {
			status, _, answer := do(t, test.client, w.post(body))
			record := w.audit.last(t)
			if test.reason == "" && (status != http.StatusForbidden || record.Decision != audit.Denied || record.Client != "/bartizan-operator" || record.KeyID != key.ID) ||
				test.reason != "" && (status != http.StatusUnauthorized || record.Reason != test.reason) {
				t.Errorf("certificates %s, %s: %d %s, %+v", test.certificates, test.name, status, answer, record)
			}
		}
	}
	const announced = "4bf92f3577b34da6a3ce929d0e0e4736"
	mark := set("Traceparent", "00-"+announced+"-0000000000000001-00")
	if status, _, body := do(t, w.keyed(text), w.post(legacyCall, mark)); status != http.StatusForbidden {
		t.Errorf("%d %s", status, body)
	}
	if status, _, body := do(t, w.client(), w.post(legacyCall, mark)); status != http.StatusUnauthorized {
		t.Errorf("%d %s", status, body)
	}
	if got := w.metric(t, `bartizan_gate_verification_refusals_total`); got != "1" {
		t.Errorf("%s attacks of the operator's are known", got)
	}
	// Retired as any key is: it is in the configuration no more.
	w.reload(func(c *gateconfig.Config) { c.Verification.Keys = nil })
	if status, _, body := do(t, w.keyed(text), w.post(legacyCall)); status != http.StatusUnauthorized || w.audit.last(t).Reason != "key-unknown" {
		t.Errorf("%d %s", status, body)
	}
	if seen := upstream.seen(); len(seen) > 0 {
		t.Errorf("%d requests reached the server", len(seen))
	}
}

package gate_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// ownSeries are what the operator signs tokens with for one server.
func ownSeries(server string) keys.Series {
	return keys.Series{Secret: []byte("of the operator's"), Name: server, Since: time.Now().Add(-2 * time.Hour)}
}

// accepted are the operator's own tokens as the gates of a server are told of them.
func accepted(t *testing.T, s keys.Series, at time.Time) *gateconfig.OwnTokens {
	t.Helper()
	signers, err := s.Signers(at)
	if err != nil {
		t.Fatal(err)
	}
	own, err := gateconfig.NewOwnTokens(s.Audience(), signers)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// ownToken is a token of the operator's own by the signer at a place from the present one, with its claims changed.
func ownToken(t *testing.T, s keys.Series, place int, change gatetest.Claims) string {
	t.Helper()
	present, _ := s.Present(time.Now())
	signer, err := s.Signer(present + place)
	if err != nil {
		t.Fatal(err)
	}
	claims := gatetest.Claims{"iss": gateconfig.OwnIssuerURN, "sub": "nobody", "aud": s.Audience(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	for name, value := range change {
		claims[name] = value
	}
	encode := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := encode(map[string]string{"alg": "EdDSA", "typ": "JWT", "kid": signer.ID}) + "." + encode(claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signer.Sign([]byte(signed)))
}

// TestOwnTokens: a token of the operator's own makes its bearer the operator, who may do nothing whatever policies say, and nobody
// else; one of another server, of a signer that is retired, or in a server that takes no tokens is worth nothing, and nobody is told
// where to get one.
func TestOwnTokens(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	here, elsewhere := ownSeries("pods"), ownSeries("other")
	everything := policy.Rule{Tools: []string{"**"}, Prompts: []string{"**"}, Resources: []string{"**"}}
	w, issuer := withTokens(t, upstream.address(), func(w *world) {
		w.config.Verification.Tokens = accepted(t, here, time.Now())
		for i, name := range []string{"corp", "operator", "verification"} {
			everything.ID = "everybody/" + string(rune('0'+i))
			everything.Tokens = nil
			for claim, value := range map[string]string{"iss": gateconfig.OwnIssuerURN, "sub": "nobody", "aud": here.Audience(), "groups": "admins"} {
				everything.Tokens = append(everything.Tokens, policy.TokenSubject{Issuer: name, Claims: []policy.Claim{{Path: []string{claim}, Values: []string{value}}}})
			}
			w.config.Policy.Rules = append(w.config.Policy.Rules, everything)
		}
	})
	good := ownToken(t, here, 0, gatetest.Claims{"groups": []string{"admins"}, "scope": "write"})
	operator := w.system.Client(t, clientid.Operator)
	for _, mode := range []gateconfig.Mode{gateconfig.Optional, gateconfig.Required, gateconfig.Disabled} {
		w.reload(func(c *gateconfig.Config) { c.Authentication.ClientCertificates = mode })
		for _, test := range []struct {
			name   string
			client *http.Client
			reason string // to refuse the credential; empty for one that is known
		}{
			{"alone", w.keyed(good), map[gateconfig.Mode]string{gateconfig.Required: "certificate-required"}[mode]},
			{"beside the certificate", w.keyed(good, operator), ""},
			{"beside a client's certificate", w.keyed(good, w.alice), map[gateconfig.Mode]string{gateconfig.Required: "credentials-contradict", gateconfig.Optional: "credentials-contradict"}[mode]},
			{"of the next signer", w.keyed(ownToken(t, here, 1, nil), operator), ""},
			{"of a retired signer", w.keyed(ownToken(t, here, -1, nil), operator), "token-key-unknown"},
			{"of another server", w.keyed(ownToken(t, elsewhere, 0, nil), operator), "token-key-unknown"},
			{"of another server's signer, for this one", w.keyed(ownToken(t, elsewhere, 0, gatetest.Claims{"aud": here.Audience()}), operator), "token-key-unknown"},
			{"for another server", w.keyed(ownToken(t, here, 0, gatetest.Claims{"aud": elsewhere.Audience()}), operator), "token-audience"},
			{"for the issuer's audience", w.keyed(ownToken(t, here, 0, gatetest.Claims{"aud": "mcp"}), operator), "token-audience"},
			{"in the issuer's name", w.keyed(ownToken(t, here, 0, gatetest.Claims{"iss": issuerURL, "aud": "mcp"}), operator), "token-key-unknown"},
			{"the issuer's in the operator's name", w.keyed(issuer.Token(t, gateconfig.EdDSA, gatetest.Claims{"iss": gateconfig.OwnIssuerURN, "aud": here.Audience()}), operator), "token-key-unknown"},
			{"expired", w.keyed(ownToken(t, here, 0, gatetest.Claims{"iat": 1, "exp": time.Now().Add(-time.Minute).Unix()}), operator), "token-expired"},
			{"not valid yet", w.keyed(ownToken(t, here, 0, gatetest.Claims{"nbf": time.Now().Add(time.Hour).Unix(), "exp": time.Now().Add(2 * time.Hour).Unix()}), operator), "token-not-yet"},
		} {
			for _, body := range []string{legacyCall, call("erase"), legacyList} {
				status, header, answer := do(t, test.client, w.post(body))
				record := w.audit.last(t)
				if test.reason == "" && (status != http.StatusForbidden || record.Decision != audit.Denied || record.Client != "/bartizan-operator" || record.Subject != "") ||
					test.reason != "" && (status != http.StatusUnauthorized || record.Reason != test.reason) {
					t.Errorf("certificates %s, %s: %d %s, %+v", mode, test.name, status, answer, record)
				}
				if strings.Contains(answer+strings.Join(header.Values("WWW-Authenticate"), ""), "urn:bartizan") {
					t.Errorf("%s: the answer tells of the operator: %s %v", test.name, answer, header)
				}
			}
		}
	}
	metadata := func(r *http.Request) {
		r.Method, r.URL.Path, r.Body, r.ContentLength = http.MethodGet, "/.well-known/oauth-protected-resource", nil, 0
	}
	if status, _, body := do(t, w.client(), w.post("", metadata)); status != http.StatusOK || strings.Contains(body, "urn:") || !strings.Contains(body, issuerURL) {
		t.Errorf("the metadata: %d %s", status, body)
	}
	// Whoever shows it is known by its mark, and no policy opened anything by it.
	mark := set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-00")
	_, _, _ = do(t, w.keyed(good), w.post(legacyCall, mark))
	failures := w.metric(t, `bartizan_gate_authentication_failures_total{reason="token-expired"}`)
	_, _, _ = do(t, w.keyed(ownToken(t, here, 0, gatetest.Claims{"iat": 1, "exp": 2})), w.post(legacyCall, mark))
	if known, after := w.metric(t, `bartizan_gate_verification_refusals_total`), w.metric(t, `bartizan_gate_authentication_failures_total{reason="token-expired"}`); known != "1" || after != failures {
		t.Errorf("%s attacks of the operator's are known, and of failed logins with expired tokens there are %s after %s", known, after, failures)
	}
	if s := w.status(t); len(s.UnknownKeys) != 1 || s.UnknownKeys[0].Issuer != "corp" {
		t.Errorf("keys of the operator's own are reported as unknown: %+v", s.UnknownKeys)
	}
	// What ends does so without anybody telling the gate, a token that it knows included.
	w.reload(func(c *gateconfig.Config) {
		for i := range c.Verification.Tokens.Keys {
			c.Verification.Tokens.Keys[i].NotAfter = time.Now().Add(3 * time.Second).UTC()
		}
	})
	_, _, _ = do(t, w.keyed(good), w.post(legacyCall))
	gatetest.Eventually(t, "the token ends with its key", func() bool {
		status, _, _ := do(t, w.keyed(good), w.post(legacyCall))
		return status == http.StatusUnauthorized
	})
	// Without an issuer nobody's tokens are taken.
	w.reload(func(c *gateconfig.Config) {
		c.Authentication.Tokens, c.Policy.Rules = nil, c.Policy.Rules[:1]
		c.Verification.Tokens = accepted(t, here, time.Now())
	})
	if status, _, body := do(t, w.keyed(ownToken(t, here, 0, nil)), w.post(legacyCall)); status != http.StatusUnauthorized || w.audit.last(t).Reason != "key-malformed" {
		t.Errorf("where no tokens are taken: %d %s", status, body)
	}
	if seen := upstream.seen(); len(seen) > 0 {
		t.Errorf("%d requests reached the server", len(seen))
	}
}

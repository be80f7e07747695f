package probe_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// ofIssuer are tokens that an issuer made of somebody who may do nothing.
func ofIssuer(t *testing.T, issuer *gatetest.Issuer) *probe.Token {
	t.Helper()
	token := func(change gatetest.Claims) string {
		claims := gatetest.Claims{"aud": "https://" + host + "/mcp", "sub": "nobody"}
		maps.Copy(claims, change)
		return issuer.Token(t, gateconfig.ES256, claims)
	}
	past := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	return &probe.Token{Issuer: "corp", Good: token(nil), Elsewhere: token(gatetest.Claims{"aud": "another"}),
		Expired: token(gatetest.Claims{"iat": past(time.Hour), "nbf": past(time.Hour), "exp": past(50 * time.Minute)})}
}

// TestTokensOfTheIssuer: a gate that takes one for another audience or an expired one is found out, whatever it demands beside it,
// and one that does not know the good one shows nothing.
func TestTokensOfTheIssuer(t *testing.T) {
	issuer, stranger := gatetest.NewIssuer(t, "https://issuer.test"), gatetest.NewIssuer(t, "https://issuer.test")
	for _, mode := range []gateconfig.Mode{gateconfig.Required, gateconfig.Optional, gateconfig.Disabled} {
		f := newFixture(t)
		target := f.target(t, f.start(t, newRecorder(t).Listener.Addr().String(), func(c *gateconfig.Config) {
			c.Authentication.ClientCertificates = mode
			c.Authentication.Tokens = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "https://"+host+"/mcp")}
		}))
		if mode == gateconfig.Disabled {
			target.Identity = nil
		}
		good, unknown := ofIssuer(t, issuer), ofIssuer(t, stranger)
		for name, test := range map[string]struct {
			token *probe.Token
			want  posture.Outcome
		}{
			"as they should be":         {good, posture.Held},
			"taken although they are":   {&probe.Token{Good: good.Good, Elsewhere: ofIssuer(t, issuer).Good, Expired: ofIssuer(t, issuer).Good}, posture.Broken},
			"the good one is not known": {unknown, posture.Inconclusive},
		} {
			target.Token = test.token
			tried := 0
			for _, r := range probe.Run(t.Context(), target) {
				want := posture.Held
				if strings.HasPrefix(r.Name, "token of the issuer") {
					want = test.want
					tried++
				}
				if r.Outcome != want {
					t.Errorf("certificates %s, %s: want %s: %+v", mode, name, want, r)
				}
			}
			if tried != 2 {
				t.Errorf("certificates %s, %s: %d tokens of the issuer were tried", mode, name, tried)
			}
		}
		for _, token := range []string{good.Good, good.Elsewhere, good.Expired} {
			if strings.Contains(f.audit.text(), token) || strings.Contains(fmt.Sprintf("%+v %#v", target, target.Token), token) {
				t.Error("a token is in the audit log, or in what is printed of a target")
			}
		}
	}
}

// TestRetiredKey: it is one that the same gate accepted, and does not any more once its configuration is without it. A gate that
// does not know the present key shows nothing by refusing another, and one that goes on with an old configuration is found out.
func TestRetiredKey(t *testing.T) {
	f := newFixture(t)
	upstream := newRecorder(t).Listener.Addr().String()
	at := func(when time.Time) func(*gateconfig.Config) {
		return func(c *gateconfig.Config) { c.Verification.Keys = f.accepted(t, when) }
	}
	unknown := f.start(t, upstream, at(f.now.Add(100*time.Hour)))
	before := f.start(t, upstream, at(f.now.Add(-61*time.Minute)))
	rotates := f.start(t, upstream, at(f.now.Add(-61*time.Minute)))
	retired := func(address string, own probe.Keys) (got posture.Probe) {
		t.Helper()
		target := f.target(t, address)
		target.Keys = &own
		for _, r := range probe.Run(t.Context(), target) {
			if r.Name == posture.RetiredKey {
				got = r
			} else if r.Outcome != posture.Held {
				t.Errorf("%+v", r)
			}
		}
		return got
	}
	for _, test := range []struct {
		name, address string
		keys          probe.Keys
		want          posture.Outcome
		detail        string
	}{
		{"a gate that goes on with an old configuration", before, probe.Keys{Present: f.own(t, 0), Retired: f.own(t, -1)}, posture.Broken, "HTTP status 403"},
		{"a gate that knows neither", unknown, probe.Keys{Present: f.own(t, 0), Retired: f.own(t, -1)}, posture.Inconclusive,
			"the gate does not accept the operator's present key: HTTP status 401"},
		{"none is retired yet", rotates, probe.Keys{Present: f.own(t, -1)}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := retired(test.address, test.keys)
			if got.Outcome != test.want || got.Detail != test.detail || got.Outcome != "" && got.Control != "AUTH-5" {
				t.Errorf("%+v", got)
			}
		})
	}
	f.write(at(f.now)) // as the operator retires a key
	gatetest.Eventually(t, "the retired key is refused", func() bool {
		return retired(rotates, probe.Keys{Present: f.own(t, 0), Retired: f.own(t, -1)}).Outcome == posture.Held
	})
	for place := -1; place <= 0; place++ {
		if key := f.own(t, place); strings.Contains(f.audit.text(), key.Text) || !strings.Contains(f.audit.text(), `"`+key.ID+`"`) {
			t.Errorf("the audit log does not name key %s, or tells it", key.ID)
		}
	}
}

// TestRetiredToken: as TestRetiredKey, of what the operator signs its tokens with.
func TestRetiredToken(t *testing.T) {
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
	f := newFixture(t)
	upstream := newRecorder(t).Listener.Addr().String()
	external := func(own *gateconfig.OwnTokens) func(*gateconfig.Config) {
		return func(c *gateconfig.Config) {
			c.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Disabled,
				Tokens: []gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}}
			c.Verification = gateconfig.Verification{Tokens: own}
		}
	}
	retired := func(own *gateconfig.OwnTokens, signers *probe.Signers) (got posture.Probe) {
		t.Helper()
		target := f.target(t, f.start(t, upstream, external(own)))
		target.Identity, target.Forged, target.Keys, target.Signers = nil, nil, nil, signers
		for _, r := range probe.Run(t.Context(), target) {
			if r.Name == posture.RetiredToken {
				got = r
			} else if r.Outcome != posture.Held {
				t.Errorf("%+v", r)
			}
		}
		return got
	}
	present := f.tokens(t, f.now)
	if got := retired(present, f.signers(t)); got.Outcome != posture.Held || got.Control != "AUTH-5" {
		t.Errorf("%+v", got)
	}
	if got := retired(f.tokens(t, f.now.Add(-61*time.Minute)), f.signers(t)); got.Outcome != posture.Broken {
		t.Errorf("a gate that goes on with an old configuration: %+v", got)
	}
	if got := retired(present, &probe.Signers{Audience: f.series.Audience(), Present: f.signer(t, 0)}); got.Name != "" {
		t.Errorf("none is retired yet: %+v", got)
	}
	// It ends by itself, for a gate that nobody tells.
	ended := f.tokens(t, f.now.Add(-61*time.Minute))
	ended.Keys[0].NotAfter = f.now.Add(-time.Minute).UTC()
	if got := retired(ended, f.signers(t)); got.Outcome != posture.Held {
		t.Errorf("one at its end: %+v", got)
	}
	for place := -1; place <= 0; place++ {
		if s := f.signer(t, place); fmt.Sprintf("%v %+v %#v", s, s, s) != strings.Repeat("signer "+s.ID+" ", 2)+"signer "+s.ID {
			t.Errorf("what is printed of a signer: %v %+v %#v", s, s, s)
		}
	}
}

// TestSharedAddress: somebody at the operator's address who fails to log in again and again keeps no token from being judged.
func TestSharedAddress(t *testing.T) {
	issuer := gatetest.NewIssuer(t, "https://issuer.test")
	f := newFixture(t)
	target := f.target(t, f.start(t, newRecorder(t).Listener.Addr().String(), func(c *gateconfig.Config) {
		c.Authentication = gateconfig.Authentication{APIKeys: gateconfig.Disabled, ClientCertificates: gateconfig.Disabled,
			Tokens: []gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}}
		c.Verification.Keys = nil
	}))
	target.Identity, target.Forged, target.Keys, target.Signers = nil, nil, nil, f.signers(t)
	stranger, throttled := target, false
	stranger.Signers, stranger.Quick = &probe.Signers{Audience: f.series.Audience(), Present: f.signer(t, 7)}, true
	for range 60 { // the gate does not know this one, nor its mark
		throttled = throttled || strings.HasSuffix(probe.Run(t.Context(), stranger)[0].Detail, "HTTP status 429")
	}
	if !throttled {
		t.Fatal("nobody failed too often")
	}
	for _, r := range probe.Run(t.Context(), target) {
		if r.Outcome != posture.Held {
			t.Errorf("%+v", r)
		}
	}
	if strings.Contains(f.audit.text(), "token-unchecked") {
		t.Error("a token was not judged")
	}
}

// TestCertificateNotDemanded: a gate that should demand a certificate and takes a key without one is found out.
func TestCertificateNotDemanded(t *testing.T) {
	f := newFixture(t)
	target := f.target(t, f.start(t, newRecorder(t).Listener.Addr().String(), nil))
	target.Demanded = true
	for _, r := range probe.Run(t.Context(), target) {
		want := posture.Held
		if r.Name == "good credential without the certificate that is demanded" {
			want = posture.Broken
		}
		if r.Outcome != want || want == posture.Broken && r.Control != "AUTH-7" {
			t.Errorf("want %s: %+v", want, r)
		}
	}
}

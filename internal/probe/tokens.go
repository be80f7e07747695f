package probe

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// Signers sign tokens of the operator's own at one server. They rotate as its keys do.
type Signers struct {
	// Audience is what the server's own tokens are for.
	Audience string
	// Present is the one whose tokens gates accept.
	Present keys.Signer
	// Retired is one whose tokens they accepted once; empty while none was retired.
	Retired keys.Signer
}

// Token are tokens that an issuer itself made, of somebody who may do nothing.
type Token struct {
	// Issuer names it in results.
	Issuer string
	// Good is one that gates accept, Elsewhere one for another audience, and Expired one that was good; each may be empty but the
	// first.
	Good, Elsewhere, Expired string
}

// String keeps the tokens out of logs.
func (t Token) String() string { return "tokens of " + t.Issuer }

// GoString keeps the tokens out of %#v.
func (t Token) GoString() string { return t.String() }

// claims are those of a token, or its header; nil takes one away.
type claims map[string]any

func (c claims) with(change claims) map[string]any {
	all := maps.Clone(c)
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// own is a token of the operator's own, with its header and its claims changed. It is another each time.
func (r *run) own(by keys.Signer, header, change claims) string {
	return token(claims{"alg": string(gateconfig.EdDSA), "typ": "JWT", "kid": by.ID}.with(header), r.claims(change), by.Sign)
}

func (r *run) claims(change claims) map[string]any {
	return claims{
		"iss": gateconfig.OwnIssuerURN, "sub": r.nonce, "aud": r.Signers.Audience, "jti": rand.Text(),
		"iat": at(-time.Minute), "nbf": at(-time.Minute), "exp": at(5 * time.Minute),
	}.with(change)
}

// at is a time from now, as tokens have it.
func at(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// tokens shows tokens that must be refused. Their refusals count beside good ones before and after them: a gate that is too busy to
// check signatures refuses all that it has not seen before.
func (r *run) tokens(ctx context.Context) {
	from := len(r.results)
	r.ownTokens(ctx)
	r.issuersTokens(ctx)
	r.forgedTokens(ctx)
	if r.Signers == nil {
		return
	}
	if why := r.takes(ctx, r.own(r.Signers.Present, nil, nil), "token"); why != "" {
		for i := range r.results[from:] {
			if p := &r.results[from+i]; p.Outcome == posture.Held {
				p.Outcome, p.Detail = posture.Inconclusive, why
			}
		}
	}
}

// ownTokens shows tokens of the operator's own, each with one thing wrong: whoever the server's issuers are, what judges theirs is what
// judges these.
func (r *run) ownTokens(ctx context.Context) {
	if r.Signers == nil {
		return
	}
	signer, why := r.Signers.Present, r.takes(ctx, r.good, "token")
	if retired := r.Signers.Retired; retired.ID != "" {
		r.beside(ctx, why, posture.RetiredToken, "AUTH-5", r.own(retired, nil, nil))
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	public, also := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || also != nil {
		r.add(posture.OwnToken, "AUTH-6", posture.Inconclusive, "no token can be forged")
		return
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	foreign := func(signed []byte) []byte { return ed25519.Sign(stranger, signed) }
	jwk := claims{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(stranger.Public().(ed25519.PublicKey))}
	header := claims{"alg": string(gateconfig.EdDSA), "typ": "JWT", "kid": signer.ID}
	elsewhere := r.own(signer, nil, claims{"aud": "urn:uuid:" + r.nonce})
	changed := r.good[:strings.LastIndexByte(r.good, '.')] + elsewhere[strings.LastIndexByte(elsewhere, '.'):]
	for _, try := range []struct{ what, text string }{
		{"that has expired", r.own(signer, nil, claims{"iat": at(-time.Hour), "nbf": at(-time.Hour), "exp": at(-50 * time.Minute)})},
		{"that is not valid yet", r.own(signer, nil, claims{"nbf": at(10 * time.Minute), "exp": at(15 * time.Minute)})},
		{"for another audience", elsewhere},
		{"for no audience", r.own(signer, nil, claims{"aud": nil})},
		{"without an end", r.own(signer, nil, claims{"exp": nil})},
		{"without a beginning", r.own(signer, nil, claims{"iat": nil, "nbf": nil})},
		{"in the name of an unknown issuer", r.own(signer, nil, claims{"iss": "https://" + r.nonce + ".invalid"})},
		{"by an unknown key", r.own(signer, claims{"kid": r.nonce}, nil)},
		{"by a key that it brings along", token(header.with(claims{"jwk": jwk}), r.claims(nil), foreign)},
		{"by another key", token(header, r.claims(nil), foreign)},
		{"that was changed", changed},
		{"without a signature", token(header.with(claims{"alg": "none"}), r.claims(nil), madeUp(0))},
		{"signed with the public key as a secret", token(header.with(claims{"alg": "HS256"}), r.claims(nil), withSecret(secret))},
		{"with a header that must be understood", r.own(signer, claims{"crit": []string{"x"}, "x": true}, nil)},
	} {
		r.beside(ctx, why, posture.OwnToken+" "+try.what, "AUTH-6", try.text)
	}
	r.attempt(ctx, posture.OwnToken+" in the query", "AUTH-6", nil, request{body: r.nothing(), query: "?access_token=" + r.good},
		want{[]int{http.StatusBadRequest, http.StatusUnauthorized}, []int{codeRefused, codeUnauthenticated}})
}

// beside shows a token that must be refused; why says why the gate does not take a good one.
func (r *run) beside(ctx context.Context, why, name, control, text string) {
	if why != "" {
		r.add(name, control, posture.Inconclusive, why)
		return
	}
	r.attempt(ctx, name, control, r.Identity, bearing(request{body: r.nothing()}, text), unauthenticated)
}

// issuersTokens shows tokens that their issuer made and that are not for this server, or not any more. They differ in that alone from
// one that the gate must know its holder by.
func (r *run) issuersTokens(ctx context.Context) {
	if r.Token == nil {
		return
	}
	why := ""
	a := r.send(ctx, r.Identity, bearing(request{body: r.nothing()}, r.Token.Good))
	// A policy may be for all of an issuer's subjects. Whatever somebody who is known is told of what does not exist is right.
	switch _, refused := refusal(a.body); {
	case a.err != nil:
		why = words(a.err)
	case a.busy() || a.status == http.StatusUnauthorized || !refused:
		why = "the gate does not accept a good token of issuer " + r.Token.Issuer + ": " + met(a.status)
	}
	if r.Token.Elsewhere != "" {
		r.beside(ctx, why, "token of the issuer for another audience", "AUTH-6", r.Token.Elsewhere)
	}
	if r.Token.Expired != "" {
		r.beside(ctx, why, "token of the issuer that has expired", "AUTH-6", r.Token.Expired)
	}
}

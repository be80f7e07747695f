package gatetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Issuer issues tokens.
type Issuer struct {
	URL  string
	keys map[gateconfig.Algorithm]crypto.Signer
}

// Claims are those of a token; a nil value takes one away.
type Claims map[string]any

// NewIssuer makes an issuer with a key for each algorithm, whose id is the algorithm's name.
func NewIssuer(t testing.TB, url string) *Issuer {
	t.Helper()
	i := &Issuer{URL: url, keys: map[gateconfig.Algorithm]crypto.Signer{}}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	i.keys[gateconfig.RS256], i.keys[gateconfig.PS256] = key, key
	i.keys[gateconfig.ES256] = newKey(t)
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	i.keys[gateconfig.ES384] = large
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	i.keys[gateconfig.EdDSA] = edwards
	return i
}

// Config is what a gate's configuration says of the issuer.
func (i *Issuer) Config(t testing.TB, name string, audiences ...string) gateconfig.TokenIssuer {
	t.Helper()
	c := gateconfig.TokenIssuer{Name: name, Type: gateconfig.OIDC, Issuer: i.URL, Audiences: audiences, Source: "test"}
	for _, algorithm := range []gateconfig.Algorithm{gateconfig.RS256, gateconfig.PS256, gateconfig.ES256, gateconfig.ES384, gateconfig.EdDSA} {
		c.Keys = append(c.Keys, i.Key(t, algorithm))
	}
	return c
}

// Key is the public key for an algorithm.
func (i *Issuer) Key(t testing.TB, algorithm gateconfig.Algorithm) gateconfig.TokenKey {
	t.Helper()
	return gateconfig.TokenKey{ID: string(algorithm), Algorithms: []gateconfig.Algorithm{algorithm}, PKIX: i.PKIX(t, algorithm)}
}

// PKIX is the public key for an algorithm as SubjectPublicKeyInfo.
func (i *Issuer) PKIX(t testing.TB, algorithm gateconfig.Algorithm) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.keys[algorithm].Public())
	must(t, err)
	return der
}

// Token returns a token of alice for the audience "mcp", good for ten minutes, with the claims changed.
func (i *Issuer) Token(t testing.TB, algorithm gateconfig.Algorithm, change Claims) string {
	t.Helper()
	payload, err := json.Marshal(i.Claims(change))
	must(t, err)
	return i.Sign(t, algorithm, `{"alg":"`+string(algorithm)+`","kid":"`+string(algorithm)+`","typ":"at+jwt"}`, string(payload))
}

// Claims returns the claims of a token, changed.
func (i *Issuer) Claims(change Claims) Claims {
	now := time.Now()
	claims := Claims{"iss": i.URL, "sub": "alice", "aud": "mcp", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// Sign signs a header and a payload as they are, by the key and in the way of an algorithm.
func (i *Issuer) Sign(t testing.TB, algorithm gateconfig.Algorithm, header, payload string) string {
	t.Helper()
	signed := encode64(header) + "." + encode64(payload)
	var signature []byte
	var err error
	switch key := i.keys[algorithm].(type) {
	case *rsa.PrivateKey:
		sum := sha256.Sum256([]byte(signed))
		if algorithm == gateconfig.PS256 {
			signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		}
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256([]byte(signed))
		digest := sum[:]
		if algorithm == gateconfig.ES384 {
			long := sha512.Sum384([]byte(signed))
			digest = long[:]
		}
		r, s, failure := ecdsa.Sign(rand.Reader, key, digest)
		must(t, failure)
		size := (key.Curve.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(signed))
	}
	must(t, err)
	return signed + "." + encode64(string(signature))
}

// SignHMAC signs with a secret, as somebody does who takes a public key for one.
func SignHMAC(header, payload string, secret []byte) string {
	signed := encode64(header) + "." + encode64(payload)
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(signed))
	return signed + "." + encode64(string(mac.Sum(nil)))
}

func encode64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

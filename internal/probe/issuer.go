package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// token encodes a token with a signature of what is signed.
func token(header, claims map[string]any, sign func(signed []byte) []byte) string {
	encode := func(v any) string {
		text, _ := json.Marshal(v) // no map of texts and numbers fails to marshal
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := encode(header) + "." + encode(claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(signed)))
}

// madeUp is a signature of nothing, of a length.
func madeUp(length int) func([]byte) []byte {
	return func([]byte) []byte {
		signature := make([]byte, length)
		_, _ = rand.Read(signature) // crypto/rand does not fail
		return signature
	}
}

// withSecret signs with a secret that both sides know (HS256).
func withSecret(secret []byte) func([]byte) []byte {
	return func(signed []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(signed)
		return mac.Sum(nil)
	}
}

// signatureLength is how long a signature by a public key's owner is, in bytes.
func signatureLength(key gateconfig.TokenKey) int {
	public, _ := x509.ParsePKIXPublicKey(key.PKIX)
	switch public := public.(type) {
	case *rsa.PublicKey:
		return public.Size()
	case *ecdsa.PublicKey:
		return 2 * ((public.Params().BitSize + 7) / 8)
	}
	return 64 // Ed25519
}

// forgedTokens shows tokens in the names of the issuers that are accepted, by their keys, which they did not sign. There is none by a
// key that the issuer does not have: gates report it, as the sign of new ones.
func (r *run) forgedTokens(ctx context.Context) {
	for _, issuer := range r.Issuers {
		if len(issuer.Keys) == 0 || len(issuer.Audiences) == 0 {
			continue // nothing of it is accepted
		}
		key := issuer.Keys[0]
		bySigner := madeUp(ed25519.SignatureSize)
		if r.Signers != nil {
			bySigner = r.Signers.Present.Sign
		}
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.PKIX})
		for _, try := range []struct {
			name, algorithm, issuer string
			sign                    func([]byte) []byte
		}{
			{"unsigned token in the name of issuer ", "none", issuer.Issuer, madeUp(0)},
			{"token signed with the public key as a secret, in the name of issuer ", "HS256", issuer.Issuer, withSecret(public)},
			{"token with a made up signature, in the name of issuer ", string(key.Algorithms[0]), issuer.Issuer, madeUp(signatureLength(key))},
			{"token that another issuer signed, in the name of issuer ", string(gateconfig.EdDSA), issuer.Issuer, bySigner},
			{"token of another issuer, by a key of issuer ", string(key.Algorithms[0]), "https://" + r.nonce + ".invalid", madeUp(signatureLength(key))},
		} {
			now := time.Now()
			text := token(map[string]any{"alg": try.algorithm, "typ": "JWT", "kid": key.ID}, map[string]any{
				"iss": try.issuer, "sub": r.nonce, "aud": issuer.Audiences[0], "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(),
			}, try.sign)
			r.attempt(ctx, try.name+issuer.Name, "AUTH-6", r.Identity, bearing(request{body: r.nothing()}, text), unauthenticated)
		}
	}
}

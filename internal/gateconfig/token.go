package gateconfig

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// TokenType is a kind of token issuer.
type TokenType string

// The kinds of token issuers.
const (
	// OIDC is an OpenID Connect provider or OAuth 2 authorization server.
	OIDC TokenType = "OIDC"
	// Kubernetes is this cluster's API server, for tokens of ServiceAccounts.
	Kubernetes TokenType = "Kubernetes"
)

// Algorithm is a signature algorithm by its name in RFC 7518 and RFC 8037.
type Algorithm string

// The algorithms that are accepted; there is no other.
const (
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	EdDSA Algorithm = "EdDSA"
)

// The bounds of token issuers and their keys.
const (
	MaxTokenIssuers = 8
	MaxTokenKeys    = 32
	MinRSABits      = 2048
	MaxRSABits      = 8192
)

// TokenIssuer is one issuer of bearer tokens, with what its tokens must say. The operator fetches the keys: a gate dials
// nobody but its server.
type TokenIssuer struct {
	// Name is the name that policies use.
	Name string    `json:"name"`
	Type TokenType `json:"type"`
	// Issuer is the exact "iss" of the tokens.
	Issuer string `json:"issuer"`
	// Audiences are those of which a token must name one.
	Audiences []string `json:"audiences"`
	// RequiredScopes are scopes that every token must have, RequiredClaims conditions that every token must meet.
	RequiredScopes []string       `json:"requiredScopes,omitempty"`
	RequiredClaims []policy.Claim `json:"requiredClaims,omitempty"`
	// MaxLifetimeSeconds bounds the time from a token's beginning to its end; zero does not.
	MaxLifetimeSeconds int64 `json:"maxLifetimeSeconds,omitempty"`
	// Source names where the keys came from: those of another source are never taken for them.
	Source string `json:"source"`
	// Keys are the issuer's public keys. Without any its tokens are refused.
	Keys []TokenKey `json:"keys,omitempty"`
}

// TokenKey is one public key of an issuer.
type TokenKey struct {
	// ID is the key's "kid", unique for its issuer.
	ID string `json:"id"`
	// Algorithms are those that the key is for: a token that says another is refused.
	Algorithms []Algorithm `json:"algorithms"`
	// PKIX is the public key in the form of RFC 5280's SubjectPublicKeyInfo.
	PKIX []byte `json:"pkix"`
	// NotAfter is its absolute end; zero for a key that ends when the configuration is without it.
	NotAfter time.Time `json:"notAfter,omitzero"`
}

// Public returns the key, if it is one that its algorithms can be used with.
func (k TokenKey) Public() (any, error) {
	public, err := x509.ParsePKIXPublicKey(k.PKIX)
	if err != nil {
		return nil, errors.New("pkix: not a public key")
	}
	possible := AlgorithmsOf(public)
	if len(possible) == 0 {
		return nil, fmt.Errorf("pkix: not an RSA key of %d to %d bits, an EC key on P-256 or P-384, or an Ed25519 key", MinRSABits, MaxRSABits)
	}
	if len(k.Algorithms) == 0 {
		return nil, errors.New("algorithms: empty")
	}
	for _, algorithm := range k.Algorithms {
		if !slices.Contains(possible, algorithm) {
			return nil, errors.New("algorithms: the key is of another kind")
		}
	}
	return public, nil
}

// AlgorithmsOf are the accepted algorithms that a public key can be used with; none for a weak or an unknown key.
func AlgorithmsOf(public any) []Algorithm {
	switch key := public.(type) {
	case *rsa.PublicKey:
		// A large exponent makes each check of a signature expensive, a small even one is none.
		if bits := key.N.BitLen(); bits >= MinRSABits && bits <= MaxRSABits && key.E >= 3 && key.E <= 1<<17 && key.E%2 == 1 {
			return []Algorithm{RS256, PS256}
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []Algorithm{ES256}
		case elliptic.P384():
			return []Algorithm{ES384}
		}
	case ed25519.PublicKey:
		return []Algorithm{EdDSA}
	}
	return nil
}

func validateTokens(issuers []TokenIssuer) error {
	if len(issuers) > MaxTokenIssuers {
		return fmt.Errorf("authentication.tokens: more than %d", MaxTokenIssuers)
	}
	names, urls := map[string]bool{}, map[string]bool{}
	for i, issuer := range issuers {
		field := fmt.Sprintf("authentication.tokens[%d]", i)
		if names[issuer.Name] || urls[issuer.Issuer] {
			return fmt.Errorf("%s: a name or an issuer is there twice", field)
		}
		names[issuer.Name], urls[issuer.Issuer] = true, true
		if err := issuer.Validate(); err != nil {
			return fmt.Errorf("%s.%w", field, err)
		}
	}
	return nil
}

// Validate checks an issuer of a server's. Its errors begin with the field.
func (i TokenIssuer) Validate() error {
	switch {
	case i.Type != OIDC && i.Type != Kubernetes:
		return errors.New("type: not OIDC or Kubernetes")
	case i.Issuer == OwnIssuerURN:
		return errors.New("issuer: it is the operator's own")
	}
	return i.check()
}

func (i TokenIssuer) check() error {
	switch {
	case !isLabel(i.Name):
		return errors.New("name: not a DNS label")
	case i.Issuer == "" || len(i.Issuer) > 512:
		return errors.New("issuer: not 1 to 512 bytes")
	case len(i.Audiences) == 0 || slices.Contains(i.Audiences, ""):
		return errors.New("audiences: none, or an empty one")
	case i.MaxLifetimeSeconds < 0:
		return errors.New("maxLifetimeSeconds: negative")
	case i.Source == "":
		return errors.New("source: empty")
	case len(i.Keys) > MaxTokenKeys:
		return fmt.Errorf("keys: more than %d", MaxTokenKeys)
	}
	if i.Type == OIDC {
		if u, err := url.Parse(i.Issuer); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("issuer: not an https URL without user, query and fragment")
		}
	}
	for j, scope := range i.RequiredScopes {
		if !policy.ValidScope(scope) {
			return fmt.Errorf("requiredScopes[%d]: not a scope that can be asked for", j)
		}
	}
	for j, claim := range i.RequiredClaims {
		if err := claim.Validate(); err != nil {
			return fmt.Errorf("requiredClaims[%d].%w", j, err)
		}
	}
	ids := map[string]bool{}
	for j, key := range i.Keys {
		if key.ID == "" || len(key.ID) > 256 || ids[key.ID] {
			return fmt.Errorf("keys[%d].id: empty, too long or there twice", j)
		}
		ids[key.ID] = true
		if _, err := key.Public(); err != nil {
			return fmt.Errorf("keys[%d].%w", j, err)
		}
	}
	return nil
}

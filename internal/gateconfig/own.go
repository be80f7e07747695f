package gateconfig

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

// OwnIssuer is the type of the operator as an issuer, for itself: whatever a policy says of its tokens, their holder is Operator. No
// configuration names it among its issuers; see Config.TokenIssuers.
const OwnIssuer TokenType = "Operator"

// OwnIssuerURN is the "iss" of the operator's own tokens. No OIDC issuer can have it: theirs are https URLs.
const OwnIssuerURN = "urn:bartizan:verification"

// OwnTokens are bearer tokens that the operator signs for itself: so it shows, whoever the server's issuers are, that those which
// expired, are not valid yet or are for somebody else are refused.
type OwnTokens struct {
	// Audience is the server's, and no other's.
	Audience string `json:"audience"`
	// Keys rotate as Verification.Keys do.
	Keys []TokenKey `json:"keys"`
}

// NewOwnTokens are the tokens of some signers for an audience.
func NewOwnTokens(audience string, signers []keys.Signer) (*OwnTokens, error) {
	own := &OwnTokens{Audience: audience}
	for _, s := range signers {
		public, err := x509.MarshalPKIXPublicKey(s.Public())
		if err != nil {
			return nil, err
		}
		own.Keys = append(own.Keys, TokenKey{ID: s.ID, Algorithms: []Algorithm{EdDSA}, PKIX: public, NotAfter: s.NotAfter.UTC()})
	}
	return own, nil
}

// TokenIssuers are all issuers whose tokens the gate accepts: those of the configuration and, where there are any, the operator.
func (c *Config) TokenIssuers() []TokenIssuer {
	if len(c.Authentication.Tokens) == 0 || c.Verification.Tokens == nil {
		return c.Authentication.Tokens
	}
	return append(slices.Clone(c.Authentication.Tokens), c.Verification.Tokens.issuer())
}

func (o *OwnTokens) issuer() TokenIssuer {
	return TokenIssuer{Name: "operator", Type: OwnIssuer, Issuer: OwnIssuerURN, Audiences: []string{o.Audience}, Source: "operator", Keys: o.Keys}
}

// validate checks the operator's own tokens. Its errors begin with the field.
func (o *OwnTokens) validate() error {
	if o == nil {
		return nil
	}
	if len(o.Keys) == 0 || slices.ContainsFunc(o.Keys, func(k TokenKey) bool { return k.NotAfter.IsZero() }) {
		return errors.New("verification.tokens.keys: none, or one without notAfter")
	}
	if err := o.issuer().check(); err != nil {
		return fmt.Errorf("verification.tokens.%w", err)
	}
	return nil
}

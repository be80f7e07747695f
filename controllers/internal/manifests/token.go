package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// IssuerKeys are the public keys of a token issuer, and the "iss" of its tokens.
type IssuerKeys struct {
	Issuer string
	Keys   []gateconfig.TokenKey
}

// KeySource is where the keys of a token issuer come from. Issuers of equal sources have equal keys.
type KeySource struct {
	Type v1alpha1.TokenIssuerType
	// Issuer, JWKSURI and CABundle are as in the spec; empty for Kubernetes.
	Issuer, JWKSURI, CABundle string
}

// KeySourceOf is where the keys of a token issuer come from.
func KeySourceOf(issuer v1alpha1.TokenIssuer) KeySource {
	if issuer.OIDC == nil {
		return KeySource{Type: issuer.Type}
	}
	return KeySource{Type: issuer.Type, Issuer: issuer.OIDC.Issuer, JWKSURI: issuer.OIDC.JWKSURI, CABundle: issuer.OIDC.CABundle}
}

// ID names the source in a gate's configuration.
func (s KeySource) ID() string {
	hash := sha256.New()
	for _, part := range []string{string(s.Type), s.Issuer, s.JWKSURI, s.CABundle} {
		sum := sha256.Sum256([]byte(part))
		_, _ = hash.Write(sum[:])
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// unknownIssuer stands for the "iss" of a cluster that has not been asked yet. No token has it: the gate must know that tokens
// are demanded before it knows which.
const unknownIssuer = "urn:bartizan:unknown:"

// tokenIssuers are the token issuers of a server. One whose keys are not known is there without: its tokens are refused.
func tokenIssuers(server *v1alpha1.MCPServer, keys map[string]IssuerKeys) []gateconfig.TokenIssuer {
	var issuers []gateconfig.TokenIssuer
	named := map[string]bool{gateconfig.OwnIssuerURN: true}
	for _, spec := range access.Tokens(server) {
		issuer := gateconfig.TokenIssuer{
			Name: spec.Name, Type: gateconfig.TokenType(spec.Type), Issuer: keys[spec.Name].Issuer, Source: KeySourceOf(spec).ID(),
			Keys: keys[spec.Name].Keys,
		}
		lifetime := ""
		if oidc := spec.OIDC; oidc != nil {
			lifetime = oidc.MaxLifetime
			issuer.Issuer, issuer.Audiences, issuer.RequiredScopes = oidc.Issuer, oidc.Audiences, oidc.RequiredScopes
			issuer.RequiredClaims = access.Conditions(oidc.RequiredClaims)
		} else if kubernetes := spec.Kubernetes; kubernetes != nil {
			lifetime = kubernetes.MaxLifetime
			issuer.Audiences = kubernetes.Audiences
		}
		if issuer.Issuer == "" || named[issuer.Issuer] {
			// The cluster's own issuer may be named as an OIDC one, too: the first is meant, and the other has no tokens.
			issuer.Issuer, issuer.Keys = unknownIssuer+spec.Name, nil
			if issuer.Type == gateconfig.OIDC {
				continue
			}
		}
		named[issuer.Issuer] = true
		if d, err := time.ParseDuration(lifetime); err == nil {
			issuer.MaxLifetimeSeconds = int64(d / time.Second)
		}
		issuers = append(issuers, issuer)
	}
	return issuers
}

func (f *finder) tokens() {
	for _, spec := range access.Tokens(f.server) {
		if oidc := spec.OIDC; oidc != nil && oidc.CABundle != "" {
			if _, err := gateconfig.Pool(oidc.CABundle); err != nil {
				f.add(ReasonTokensInvalid, fmt.Sprintf("spec.authentication.tokens[%s].oidc.caBundle", spec.Name),
					"%v; write the certificates of the authorities that vouch for the issuer's own certificate, in PEM", err)
			}
		}
	}
	for _, issuer := range tokenIssuers(f.server, nil) {
		if err := issuer.Validate(); err != nil {
			f.add(ReasonTokensInvalid, fmt.Sprintf("spec.authentication.tokens[%s]", issuer.Name), "%v", err)
		}
	}
}

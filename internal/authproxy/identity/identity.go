// Package identity says who makes a request: the client that its certificate or its API key names, the holder of its
// token. Nothing is kept between requests but a connection's verified certificate and verified tokens, which are checked
// again as soon as time or configuration moved.
package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// Principal is who makes a request, and how that is known: a client, the holder of a token, or a holder for whom a client
// acts that showed its certificate.
type Principal struct {
	// Client is the MCPClient; zero when there is none.
	Client gateconfig.Object
	// Token is the verified token; nil without one.
	Token *Token
	// KeyID is the id of the API key; empty without one.
	KeyID string
	// CertificateSerial is the serial number of the client's certificate in hex; empty without one.
	CertificateSerial string
	// NotAfter is when the first of the credentials ends.
	NotAfter time.Time
	// client and name are what ClientName and Name return, once they are known: each stage asks.
	client, name string
}

// Token is a verified token with the rules that are for its holder.
type Token = token.Verified[*decision.Match]

// ClientName is the client as policies name it, "<namespace>/<name>"; empty when there is none.
func (p Principal) ClientName() string {
	if p.client != "" || p.Client == (gateconfig.Object{}) {
		return p.client
	}
	return p.Client.Namespace + "/" + p.Client.Name
}

// Name tells principals apart: what is bound to one is bound to this. A client's is "<namespace>/<name>"; a token's adds the
// issuer and the subject. Neither a client's name nor an issuer has a space.
func (p Principal) Name() string {
	if p.Token == nil {
		return p.ClientName()
	}
	if p.name != "" {
		return p.name
	}
	return p.ClientName() + " " + p.Token.Issuer.Issuer + " " + p.Token.Subject
}

// Grants is what the principal may do by the policy of the generation that authenticated it.
func (p Principal) Grants(g *config.Generation) *decision.Grants {
	if p.Token == nil {
		return g.Table.For(p.ClientName())
	}
	return p.Token.Derived.For(p.ClientName())
}

// Failure is why a request has no Principal: one word of a closed list, for the audit log and metrics. The caller is
// told only its Text.
type Failure string

// The failures. No two of them for an API key can be told apart by the caller.
const (
	NoCredential               Failure = "no-credential"
	CertificateRequired        Failure = "certificate-required"
	CertificateInvalid         Failure = "certificate-invalid"
	CertificateNotInTime       Failure = "certificate-expired"
	CertificateOfOther         Failure = "certificate-other-servers"
	ClientUnknown              Failure = "client-unknown"
	CertificateNotAccepted     Failure = "certificates-disabled"
	KeyRequired                Failure = "key-required"
	KeyMalformed               Failure = "key-malformed"
	KeyRepeated                Failure = "key-repeated"
	KeyNotAccepted             Failure = "keys-disabled"
	KeyUnknown                 Failure = "key-unknown"
	KeyWrong                   Failure = "key-wrong"
	KeyExpired                 Failure = "key-expired"
	CredentialsContradict      Failure = "credentials-contradict"
	BearerMalformed            Failure = "bearer-malformed"
	TokenUnchecked             Failure = "token-unchecked"
	credentialTextKey                  = "The API key is not accepted: it must be one current key of this client, sent once, as \"Authorization: Bearer mcpk_...\" or as \"X-API-Key\"."
	credentialTextKeyMissing           = "An API key is required beside the client certificate: send it as \"Authorization: Bearer mcpk_...\" or as \"X-API-Key\"."
	credentialTextCert                 = "The client certificate is not accepted: it must be a current one that was issued to an MCPClient for this server's namespace."
	credentialTextRequired             = "A client certificate is required: present the one that was issued to your MCPClient for this server's namespace."
	credentialTextNone                 = "A credential is required: the API key of an MCPClient, as \"Authorization: Bearer mcpk_...\" or as \"X-API-Key\", or its client certificate."
	credentialTextBoth                 = "The API key and the client certificate must be of the same MCPClient."
	credentialTextToken                = "The token is not accepted: it must be a current one, issued for this server by an issuer that it trusts."
	credentialTextTokenMissing         = "A token is required beside the client certificate: send it as \"Authorization: Bearer\"."
	credentialTextTokenNone            = "A credential is required: a token of an issuer that this server trusts, as \"Authorization: Bearer\", or that of an MCPClient."
	credentialTextOne                  = "One credential must be sent once, in one header: as \"Authorization: Bearer\" with nothing after it, or an API key as \"X-API-Key\"."
)

// Failures are all of them, but for those of package token.
var Failures = []Failure{
	NoCredential, CertificateRequired, CertificateInvalid, CertificateNotInTime, CertificateOfOther, ClientUnknown, CertificateNotAccepted,
	KeyRequired, KeyMalformed, KeyRepeated, KeyNotAccepted, KeyUnknown, KeyWrong, KeyExpired, CredentialsContradict, BearerMalformed,
	TokenUnchecked,
}

// Text is what the caller is told by a server that accepts tokens, or does not.
func (f Failure) Text(tokens bool) string {
	switch f {
	case NoCredential:
		if tokens {
			return credentialTextTokenNone
		}
		return credentialTextNone
	case CertificateRequired:
		return credentialTextRequired
	case KeyRequired:
		if tokens {
			return credentialTextTokenMissing
		}
		return credentialTextKeyMissing
	case CertificateInvalid, CertificateNotInTime, CertificateOfOther, CertificateNotAccepted, ClientUnknown:
		return credentialTextCert
	case CredentialsContradict:
		return credentialTextBoth
	case BearerMalformed:
		return credentialTextOne
	case KeyRepeated:
		if tokens {
			return credentialTextOne
		}
	}
	if strings.HasPrefix(string(f), "token-") {
		return credentialTextToken
	}
	return credentialTextKey
}

// Authenticate returns who makes the request by a generation of the configuration at a time, or why nobody does. An
// invalid credential is never ignored in favour of a valid one.
//
// Budget, unless it is nil, says whether its source may have another signature checked. It is asked for a token that is
// not known yet, on a connection on which one was refused: one that only ever shows good tokens never depends on it, and
// the first token of another connection costs less than its handshake did.
func Authenticate(r *http.Request, g *config.Generation, now time.Time, budget func() bool) (Principal, Failure) {
	var p Principal
	mode := g.Authentication.ClientCertificates
	hasCertificate := mode != gateconfig.Disabled && r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	if hasCertificate {
		verified, failure := verifyCertificate(r, g, now)
		if failure != "" {
			return Principal{}, failure
		}
		p = Principal{Client: verified.client, client: verified.name, CertificateSerial: verified.serial, NotAfter: verified.notAfter}
		if _, key := r.Header["X-Api-Key"]; p.Client == gateconfig.Operator && !key && r.Header["Authorization"] == nil {
			return p, "" // it needs no key, and has no more rights with one
		}
	} else if mode == gateconfig.Required {
		return Principal{}, CertificateRequired
	}
	text, is, failure := sent(r.Header, len(g.Authentication.Tokens) > 0)
	if failure != "" {
		return Principal{}, failure
	}
	switch is {
	case aKey:
		return p.withKey(text, g, now)
	case aToken:
		return p.withToken(on(r), text, g, now, budget)
	}
	switch {
	case !hasCertificate:
		return Principal{}, NoCredential
	case mode == gateconfig.Required && (g.Authentication.APIKeys == gateconfig.Enabled || len(g.Authentication.Tokens) > 0):
		// A demanded certificate stands beside a key or a token, not in its place: only Optional offers the choice.
		return Principal{}, KeyRequired
	}
	return p, ""
}

// withKey adds a key to what the certificate says. Both must say the same.
func (p Principal) withKey(text string, g *config.Generation, now time.Time) (Principal, Failure) {
	if g.Authentication.APIKeys != gateconfig.Enabled {
		return Principal{}, KeyNotAccepted
	}
	id, key, failure := verifyKey(text, g, now)
	if failure != "" {
		return Principal{}, failure
	}
	if p.CertificateSerial != "" && key.Client != p.Client {
		return Principal{}, CredentialsContradict
	}
	p.Client, p.KeyID = key.Client, id
	p.client = key.Name
	return p.until(key.NotAfter), ""
}

// withToken adds a token to what the certificate says: who acts, and for whom.
func (p Principal) withToken(c *connection, text string, g *config.Generation, now time.Time, budget func() bool) (Principal, Failure) {
	verified, known := g.Tokens.Known(text, now)
	if !known {
		if budget != nil && c.failed.Load() && !budget() {
			return Principal{}, TokenUnchecked
		}
		var failure token.Failure
		if verified, failure = g.Tokens.Verify(text, now); failure != "" {
			c.failed.Store(true)
			return Principal{}, Failure(failure)
		}
	}
	if own := verified.Issuer.Type == gateconfig.OwnIssuer; own || p.Client == gateconfig.Operator {
		if p.Client != gateconfig.Operator && p.CertificateSerial != "" {
			return Principal{}, CredentialsContradict
		}
		p.Client = gateconfig.Operator // it acts for nobody, and has no more rights with a token
		return p.until(verified.NotAfter), ""
	}
	p.Token = verified
	p.name = p.Name()
	return p.until(verified.NotAfter), ""
}

func (p Principal) until(end time.Time) Principal {
	if p.NotAfter.IsZero() || end.Before(p.NotAfter) {
		p.NotAfter = end
	}
	return p
}

// kind is what a header carries.
type kind uint8

const (
	nothing kind = iota
	aKey
	aToken
)

// sent returns the API key or the token that the headers carry. Anything else in Authorization is refused, not ignored.
func sent(h http.Header, tokens bool) (text string, is kind, failure Failure) {
	authorization, direct := h["Authorization"], h["X-Api-Key"]
	switch {
	case len(authorization)+len(direct) == 0:
		return "", nothing, ""
	case len(authorization)+len(direct) > 1:
		return "", nothing, KeyRepeated
	case len(direct) == 1:
		return direct[0], aKey, ""
	}
	scheme, text, ok := strings.Cut(authorization[0], " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	switch {
	case tokens && bearer && strings.HasPrefix(text, keys.Prefix):
		return text, aKey, ""
	case tokens && bearer && !isCredentials(text):
		return "", nothing, BearerMalformed
	case tokens && bearer:
		return text, aToken, ""
	case tokens:
		return "", nothing, NoCredential
	case !ok || !bearer:
		return "", nothing, KeyMalformed
	}
	return text, aKey, ""
}

// isCredentials says whether the text is a b64token (RFC 6750, section 2.1).
func isCredentials(text string) bool {
	text = strings.TrimRight(text, "=")
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r)
	})
}

func verifyKey(text string, g *config.Generation, now time.Time) (string, config.Key, Failure) {
	id, err := keys.Identify(text)
	if err != nil {
		return "", config.Key{}, KeyMalformed
	}
	// An unknown id takes the same work: it is compared with a hash that no key has.
	key, known := g.Key(id)
	var buffer [keys.MaxForeign]byte
	sum := sha256.Sum256(buffer[:copy(buffer[:], text)])
	equal := subtle.ConstantTimeCompare(sum[:], key.SHA256[:]) == 1
	switch {
	case !known:
		return "", config.Key{}, KeyUnknown
	case !equal:
		return "", config.Key{}, KeyWrong
	case !now.Before(key.NotAfter):
		return "", config.Key{}, KeyExpired
	case !g.Has(key.Client):
		return "", config.Key{}, ClientUnknown
	}
	return id, key, ""
}

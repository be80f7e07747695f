// Package identity says who makes a request: the client that its certificate or its API key names. Nothing is kept
// between requests but a connection's verified certificate, which is checked again as soon as time or configuration moved.
package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// Principal is who makes a request, and how that is known.
type Principal struct {
	Client gateconfig.Object
	// KeyID is the id of the API key; empty without one.
	KeyID string
	// CertificateSerial is the serial number of the client's certificate in hex; empty without one.
	CertificateSerial string
	// NotAfter is when the first of the credentials ends.
	NotAfter time.Time
}

// Name is "<namespace>/<name>", as policies name clients.
func (p Principal) Name() string { return p.Client.Namespace + "/" + p.Client.Name }

// Failure is why a request has no Principal: one word of a closed list, for the audit log and metrics. The caller is
// told only its Text.
type Failure string

// The failures. No two of them for an API key can be told apart by the caller.
const (
	NoCredential             Failure = "no-credential"
	CertificateRequired      Failure = "certificate-required"
	CertificateInvalid       Failure = "certificate-invalid"
	CertificateNotInTime     Failure = "certificate-expired"
	CertificateOfOther       Failure = "certificate-other-servers"
	ClientUnknown            Failure = "client-unknown"
	CertificateNotAccepted   Failure = "certificates-disabled"
	KeyRequired              Failure = "key-required"
	KeyMalformed             Failure = "key-malformed"
	KeyRepeated              Failure = "key-repeated"
	KeyNotAccepted           Failure = "keys-disabled"
	KeyUnknown               Failure = "key-unknown"
	KeyWrong                 Failure = "key-wrong"
	KeyExpired               Failure = "key-expired"
	CredentialsContradict    Failure = "credentials-contradict"
	credentialTextKey                = "The API key is not accepted: it must be one current key of this client, sent once, as \"Authorization: Bearer mcpk_...\" or as \"X-API-Key\"."
	credentialTextKeyMissing         = "An API key is required beside the client certificate: send it as \"Authorization: Bearer mcpk_...\" or as \"X-API-Key\"."
	credentialTextCert               = "The client certificate is not accepted: it must be a current one that was issued to an MCPClient for this server's namespace."
	credentialTextRequired           = "A client certificate is required: present the one that was issued to your MCPClient for this server's namespace."
	credentialTextNone               = "A credential is required: the API key of an MCPClient, as \"Authorization: Bearer mcpk_...\" or as \"X-API-Key\", or its client certificate."
	credentialTextBoth               = "The API key and the client certificate must be of the same MCPClient."
)

// Text is what the caller is told.
func (f Failure) Text() string {
	switch f {
	case NoCredential:
		return credentialTextNone
	case CertificateRequired:
		return credentialTextRequired
	case KeyRequired:
		return credentialTextKeyMissing
	case CertificateInvalid, CertificateNotInTime, CertificateOfOther, CertificateNotAccepted, ClientUnknown:
		return credentialTextCert
	case CredentialsContradict:
		return credentialTextBoth
	default:
		return credentialTextKey
	}
}

// Authenticate returns who makes the request by a generation of the configuration at a time, or why nobody does. An
// invalid credential is never ignored in favour of a valid one.
func Authenticate(r *http.Request, g *config.Generation, now time.Time) (Principal, Failure) {
	var p Principal
	mode := g.Authentication.ClientCertificates
	hasCertificate := mode != gateconfig.Disabled && r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	if hasCertificate {
		verified, failure := verifyCertificate(r, g, now)
		if failure != "" {
			return Principal{}, failure
		}
		p = Principal{Client: verified.client, CertificateSerial: verified.serial, NotAfter: verified.notAfter}
		if _, key := r.Header["X-Api-Key"]; p.Client == Operator && !key && r.Header["Authorization"] == nil {
			return p, "" // it has no key, and with one it would have no more rights
		}
	} else if mode == gateconfig.Required {
		return Principal{}, CertificateRequired
	}
	text, found, failure := apiKey(r.Header)
	if failure != "" {
		return Principal{}, failure
	}
	if !found {
		switch {
		case !hasCertificate:
			return Principal{}, NoCredential
		case mode == gateconfig.Required && g.Authentication.APIKeys == gateconfig.Enabled:
			// A demanded certificate stands beside the key, not in its place: only Optional offers the choice.
			return Principal{}, KeyRequired
		}
		return p, ""
	}
	if g.Authentication.APIKeys != gateconfig.Enabled {
		return Principal{}, KeyNotAccepted
	}
	id, key, failure := verifyKey(text, g, now)
	if failure != "" {
		return Principal{}, failure
	}
	if hasCertificate && key.Client != p.Client {
		return Principal{}, CredentialsContradict
	}
	if p.NotAfter.IsZero() || key.NotAfter.Before(p.NotAfter) {
		p.NotAfter = key.NotAfter
	}
	p.Client, p.KeyID = key.Client, id
	return p, ""
}

// apiKey returns the API key that the headers carry. Anything else in Authorization is refused, not ignored.
func apiKey(h http.Header) (text string, found bool, failure Failure) {
	authorization, direct := h["Authorization"], h["X-Api-Key"]
	switch {
	case len(authorization)+len(direct) == 0:
		return "", false, ""
	case len(authorization)+len(direct) > 1:
		return "", false, KeyRepeated
	case len(direct) == 1:
		return direct[0], true, ""
	}
	scheme, text, ok := strings.Cut(authorization[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false, KeyMalformed
	}
	return text, true, ""
}

func verifyKey(text string, g *config.Generation, now time.Time) (string, config.Key, Failure) {
	id, err := keys.Parse(text)
	if err != nil {
		return "", config.Key{}, KeyMalformed
	}
	// An unknown id takes the same work: it is compared with a hash that no key has.
	key, known := g.Key(id)
	var buffer [keys.Length]byte
	copy(buffer[:], text)
	sum := sha256.Sum256(buffer[:])
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

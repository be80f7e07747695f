package token

import (
	"encoding/base64"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// maxDepth bounds the nesting of a token's JSON, maxHeader its header, in bytes.
const (
	maxDepth  = 16
	maxHeader = 2 << 10
)

// parts are those of a token in the compact form.
type parts struct {
	// signed is what the signature is over.
	signed                     []byte
	header, payload, signature []byte
}

func split(text string) (parts, Failure) {
	if len(text) > MaxLength {
		return parts{}, Malformed
	}
	header, rest, ok := strings.Cut(text, ".")
	payload, signature, also := strings.Cut(rest, ".")
	if !ok || !also || len(header) > maxHeader {
		return parts{}, Malformed
	}
	p := parts{signed: []byte(text[:len(header)+1+len(payload)])}
	for _, part := range []struct {
		text string
		to   *[]byte
	}{{header, &p.header}, {payload, &p.payload}, {signature, &p.signature}} {
		if *part.to, ok = decode(part.text); !ok {
			return parts{}, Malformed
		}
	}
	return p, ""
}

// decode reads base64url without padding, of which each text has one spelling only.
func decode(text string) ([]byte, bool) {
	// The decoder skips line breaks; there is none in a token.
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return decoded, err == nil
}

// header is what is used of a token's header.
type header struct {
	algorithm gateconfig.Algorithm
	key       string
}

// headerNames are the members that mean something: a variant of one of them is refused too.
var headerNames = strictjson.Open("alg", "kid", "typ", "cty", "jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip", "epk")

func readHeader(data []byte) (h header, failure Failure) {
	s := strictjson.New(data, maxDepth)
	defer s.Release()
	for s.Enter('{', headerNames); s.Member(); {
		switch string(s.Name()) {
		case "alg":
			h.algorithm = gateconfig.Algorithm(s.String())
		case "kid":
			h.key = string(s.String())
		case "typ":
			// A token of another kind, such as one for a logout, is not one for access.
			if !isType(string(s.String())) {
				failure = Header
			}
		case "jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip", "epk", "cty":
			// Keys come from the configuration and nowhere else; extensions and nested or encrypted tokens are not known.
			s.Skip()
			failure = Header
		default:
			s.Skip()
		}
	}
	switch {
	case s.End() != nil:
		return header{}, Malformed
	case failure != "":
		return header{}, failure
	case h.key == "":
		return header{}, UnknownKey
	}
	switch h.algorithm {
	case gateconfig.RS256, gateconfig.PS256, gateconfig.ES256, gateconfig.ES384, gateconfig.EdDSA:
		return h, ""
	}
	return header{}, Algorithm
}

func isType(typ string) bool {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "jwt", "at+jwt":
		return true
	}
	return false
}

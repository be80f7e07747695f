// Package jwks reads what an issuer publishes about its keys: the discovery document (OpenID Connect Discovery 1.0, RFC 8414)
// and the JSON Web Key Set (RFC 7517). What it returns is what a gate needs, and nothing else of it is kept.
package jwks

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// MaxDocument bounds a document, in bytes.
const MaxDocument = 256 << 10

const maxDepth = 16

// The reasons to refuse a document. None repeats what is in it.
var (
	ErrDocument = errors.New("the document is not JSON of the expected shape")
	ErrPrivate  = errors.New("the key set has a private or a symmetric key: all of its keys must be held to be known to others, so replace them")
	ErrRepeated = errors.New("two keys for signatures have one id")
	ErrTooMany  = fmt.Errorf("the key set has more than %d keys for signatures", gateconfig.MaxTokenKeys)
	ErrNoKey    = errors.New("the key set has no key that can be used: it needs an id, and must be an RSA key of at least 2048 bits, an EC key on P-256 or P-384, or an Ed25519 key, for RS256, PS256, ES256, ES384 or EdDSA")
)

// Discovery is the part of a discovery document that is used.
type Discovery struct{ Issuer, JWKSURI string }

// ParseDiscovery reads a discovery document.
func ParseDiscovery(document []byte) (Discovery, error) {
	var d Discovery
	if len(document) > MaxDocument {
		return d, ErrDocument
	}
	s := strictjson.New(document, maxDepth)
	defer s.Release()
	for s.Enter('{', strictjson.Open("issuer", "jwks_uri")); s.Member(); {
		switch string(s.Name()) {
		case "issuer":
			d.Issuer = string(s.String())
		case "jwks_uri":
			d.JWKSURI = string(s.String())
		default:
			s.Skip()
		}
	}
	if s.End() != nil || d.Issuer == "" || d.JWKSURI == "" {
		return Discovery{}, ErrDocument
	}
	return d, nil
}

// Parse reads a key set. Keys that a gate could not use are left out, since issuers may publish keys for other purposes; a
// set of which none is left is refused. The keys are sorted by id.
func Parse(document []byte) ([]gateconfig.TokenKey, error) {
	if len(document) > MaxDocument {
		return nil, ErrDocument
	}
	s := strictjson.New(document, maxDepth)
	defer s.Release()
	var keys []gateconfig.TokenKey
	found := false
	var problem error
	for s.Enter('{', strictjson.Open("keys")); s.Member(); {
		if string(s.Name()) != "keys" {
			s.Skip()
			continue
		}
		found = true
		for s.Enter('[', nil); s.Element(); {
			k := readKey(s)
			if k.private {
				problem = ErrPrivate
			}
			if key, ok := k.usable(); ok {
				keys = append(keys, key)
			}
		}
	}
	switch {
	case s.End() != nil || !found:
		return nil, ErrDocument
	case problem != nil:
		return nil, problem
	case len(keys) == 0:
		return nil, ErrNoKey
	case len(keys) > gateconfig.MaxTokenKeys:
		return nil, ErrTooMany
	}
	slices.SortFunc(keys, func(a, b gateconfig.TokenKey) int { return cmp.Compare(a.ID, b.ID) })
	for i := range keys {
		if i > 0 && keys[i].ID == keys[i-1].ID {
			return nil, ErrRepeated
		}
	}
	return keys, nil
}

// jwk is a JSON Web Key.
type jwk struct {
	kty, kid, use, alg, crv string
	operations              []string
	hasOperations           bool
	n, e, x, y              string
	private                 bool
}

var keyNames = strictjson.Open("kty", "kid", "use", "alg", "crv", "key_ops", "n", "e", "x", "y", "d", "p", "q", "dp", "dq", "qi", "oth", "k")

func readKey(s *strictjson.Scanner) (k jwk) {
	for s.Enter('{', keyNames); s.Member(); {
		switch string(s.Name()) {
		case "kty":
			k.kty = string(s.String())
		case "kid":
			k.kid = string(s.String())
		case "use":
			k.use = string(s.String())
		case "alg":
			k.alg = string(s.String())
		case "crv":
			k.crv = string(s.String())
		case "key_ops":
			k.hasOperations = true
			for s.Enter('[', nil); s.Element(); {
				k.operations = append(k.operations, string(s.String()))
			}
		case "n":
			k.n = string(s.String())
		case "e":
			k.e = string(s.String())
		case "x":
			k.x = string(s.String())
		case "y":
			k.y = string(s.String())
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
			k.private = true
			s.Skip()
		default:
			s.Skip()
		}
	}
	return k
}

// usable is the key as a gate uses it, if it can.
func (k jwk) usable() (gateconfig.TokenKey, bool) {
	none := gateconfig.TokenKey{}
	if k.private || k.kid == "" || len(k.kid) > 256 || (k.use != "" && k.use != "sig") || (k.hasOperations && !slices.Contains(k.operations, "verify")) {
		return none, false
	}
	public := k.public()
	algorithms := gateconfig.AlgorithmsOf(public)
	if k.alg != "" {
		algorithms = slices.DeleteFunc(algorithms, func(a gateconfig.Algorithm) bool { return string(a) != k.alg })
	}
	if len(algorithms) == 0 {
		return none, false
	}
	pkix, err := x509.MarshalPKIXPublicKey(public)
	key := gateconfig.TokenKey{ID: k.kid, Algorithms: algorithms, PKIX: pkix}
	if err == nil {
		_, err = key.Public()
	}
	return key, err == nil
}

// public is the public key; nil when the parameters are not one's.
func (k jwk) public() any {
	switch k.kty {
	case "RSA":
		n, e := number(k.n), number(k.e)
		if n == nil || e == nil || !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		curve, size := elliptic.P256(), 32
		switch k.crv {
		case "P-256":
		case "P-384":
			curve, size = elliptic.P384(), 48
		default:
			return nil
		}
		x, y := decode(k.x), decode(k.y)
		if len(x) != size || len(y) != size {
			return nil
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil
		}
		return public
	case "OKP":
		if x := decode(k.x); k.crv == "Ed25519" && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

// maxNumber bounds a number of a key, in bytes.
const maxNumber = 2 << 10

func number(text string) *big.Int {
	b := decode(text)
	if len(b) == 0 || len(b) > maxNumber {
		return nil
	}
	return new(big.Int).SetBytes(b)
}

func decode(text string) []byte {
	if strings.ContainsAny(text, "\r\n") {
		return nil
	}
	// Some issuers pad what RFC 7515 says has no padding.
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil
	}
	return b
}

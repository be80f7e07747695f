package jwks_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/jwks"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// material is a key of each kind, as members of a JWK.
type material struct {
	rsa, small, p256, p384, p521, ed string
	public                           map[string]any
}

func newMaterial(t testing.TB) material {
	t.Helper()
	m := material{public: map[string]any{}}
	rsaKey := func(bits int) (*rsa.PublicKey, string) {
		n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
		key := &rsa.PublicKey{N: n, E: 65537}
		return key, fmt.Sprintf(`"kty":"RSA","n":"%s","e":"AQAB"`, encode(n.Bytes()))
	}
	ec := func(curve elliptic.Curve, name string) (*ecdsa.PublicKey, string) {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := (len(point) - 1) / 2
		return &key.PublicKey, fmt.Sprintf(`"kty":"EC","crv":"%s","x":"%s","y":"%s"`, name, encode(point[1:1+half]), encode(point[1+half:]))
	}
	var rsaPublic *rsa.PublicKey
	var p256, p384 *ecdsa.PublicKey
	rsaPublic, m.rsa = rsaKey(2048)
	_, m.small = rsaKey(1024)
	p256, m.p256 = ec(elliptic.P256(), "P-256")
	p384, m.p384 = ec(elliptic.P384(), "P-384")
	_, m.p521 = ec(elliptic.P521(), "P-521")
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.ed = fmt.Sprintf(`"kty":"OKP","crv":"Ed25519","x":"%s"`, encode(edwards))
	m.public = map[string]any{"rsa": rsaPublic, "p256": p256, "p384": p384, "ed": edwards}
	return m
}

func set(keys ...string) string { return `{"keys":[{` + strings.Join(keys, "},{") + `}]}` }

func TestParse(t *testing.T) {
	m := newMaterial(t)
	id := func(id, key string) string { return `"kid":"` + id + `",` + key }
	document := set(
		id("rsa", m.rsa+`,"use":"sig"`), id("p256", m.p256+`,"alg":"ES256","key_ops":["verify"]`), id("p384", m.p384), id("ed", m.ed+`,"alg":"EdDSA","x5c":["AAAA"],"x5t#S256":"x"`),
		// Not for us: left out.
		m.rsa, id("", m.rsa), id("a", m.rsa+`,"use":"enc"`), id("b", m.rsa+`,"alg":"RSA-OAEP"`), id("c", m.rsa+`,"alg":"RS512"`), id("d", m.rsa+`,"key_ops":["encrypt"]`), id("e2", m.small),
		id("f", m.p521), id("g", `"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"`), id("h", m.p256+`,"alg":"ES384"`), id("i", `"kty":"OKP","crv":"X25519","x":"`+encode(make([]byte, 32))+`"`),
		id("j", `"kty":"EC","crv":"P-256","x":"`+encode(make([]byte, 32))+`","y":"`+encode(make([]byte, 32))+`"`), id("l", `"kty":"RSA","n":"!","e":"AQAB"`), id("m", `"kty":"new"`), id("n2", strings.Replace(m.rsa, "AQAB", "Ag", 1)),
		id("o", strings.Replace(m.rsa, "AQAB", encode([]byte{1, 0, 0, 0, 1}), 1)),
	)
	keys, err := jwks.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]gateconfig.Algorithm{
		"ed": {gateconfig.EdDSA}, "p256": {gateconfig.ES256}, "p384": {gateconfig.ES384}, "rsa": {gateconfig.RS256, gateconfig.PS256},
	}
	if len(keys) != len(want) {
		t.Errorf("%d keys: %+v", len(keys), keys)
	}
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(m.public[key.ID])
		if err != nil || !slices.Equal(der, key.PKIX) || !slices.Equal(want[key.ID], key.Algorithms) {
			t.Errorf("%s: %v %v", key.ID, key.Algorithms, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	m := newMaterial(t)
	good := `"kid":"a",` + m.p256
	var many []string
	for i := range gateconfig.MaxTokenKeys + 1 {
		many = append(many, fmt.Sprintf(`"kid":"%d",%s`, i, m.ed))
	}
	for name, test := range map[string]struct {
		document string
		want     error
	}{
		"nothing":                {"", jwks.ErrDocument},
		"HTML":                   {"<html>", jwks.ErrDocument},
		"a list":                 {`[{` + good + `}]`, jwks.ErrDocument},
		"no keys":                {`{}`, jwks.ErrDocument},
		"keys null":              {`{"keys":null}`, jwks.ErrDocument},
		"keys an object":         {`{"keys":{}}`, jwks.ErrDocument},
		"keys twice":             {`{"keys":[{` + good + `}],"keys":[]}`, jwks.ErrDocument},
		"more after it":          {set(good) + "{}", jwks.ErrDocument},
		"a member twice":         {set(good + `,"kid":"b"`), jwks.ErrDocument},
		"a variant of a member":  {set(good + `,"Kid":"b"`), jwks.ErrDocument},
		"a number for an id":     {set(`"kid":1,` + m.p256), jwks.ErrDocument},
		"larger than allowed":    {set(good) + strings.Repeat(" ", jwks.MaxDocument), jwks.ErrDocument},
		"nested":                 {set(good + `,"z":` + strings.Repeat("[", 50) + strings.Repeat("]", 50)), jwks.ErrDocument},
		"an empty set":           {`{"keys":[]}`, jwks.ErrNoKey},
		"none that is of use":    {set(m.p256, `"kid":"b",`+m.small), jwks.ErrNoKey},
		"a private key":          {set(good, `"kid":"b",`+m.p384+`,"d":"AAAA"`), jwks.ErrPrivate},
		"a private key's prime":  {set(good, `"kid":"b",`+m.rsa+`,"p":"AAAA"`), jwks.ErrPrivate},
		"a symmetric key":        {set(good, `"kid":"b","kty":"oct","k":"AAAA"`), jwks.ErrPrivate},
		"two keys of one id":     {set(good, `"kid":"a",`+m.rsa), jwks.ErrRepeated},
		"more than can be taken": {set(many...), jwks.ErrTooMany},
	} {
		if keys, err := jwks.Parse([]byte(test.document)); !errors.Is(err, test.want) || keys != nil {
			t.Errorf("%s: %v, %v; want %v", name, keys, err, test.want)
		}
	}
}

func TestParseDiscovery(t *testing.T) {
	got, err := jwks.ParseDiscovery([]byte(`{"issuer":"https://a.example","jwks_uri":"https://a.example/keys","scopes_supported":["openid"]}`))
	if err != nil || got != (jwks.Discovery{Issuer: "https://a.example", JWKSURI: "https://a.example/keys"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, document := range []string{"", "{}", "[]", `{"issuer":"a"}`, `{"jwks_uri":"a"}`, `{"issuer":"a","issuer":"b","jwks_uri":"c"}`,
		`{"issuer":["a"],"jwks_uri":"c"}`, `{"issuer":"a","jwks_uri":"b","JWKS_URI":"c"}`, `{"issuer":"a","jwks_uri":"b"}x`} {
		if got, err := jwks.ParseDiscovery([]byte(document)); err == nil {
			t.Errorf("%s: %+v", document, got)
		}
	}
}

// FuzzParse: what is read is what a gate accepts, whatever was published.
func FuzzParse(f *testing.F) {
	m := newMaterial(f)
	f.Add([]byte(set(`"kid":"a",`+m.p256, `"kid":"b",`+m.rsa)))
	f.Add([]byte(set(`"kid":"a",` + m.ed + `,"alg":"EdDSA"`)))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := jwks.Parse(document)
		if err != nil {
			return
		}
		issuer := gateconfig.TokenIssuer{Name: "a", Type: gateconfig.OIDC, Issuer: "https://a.example", Audiences: []string{"a"}, Source: "a", Keys: keys}
		if err := issuer.Validate(); err != nil || len(keys) == 0 {
			t.Errorf("%q: %v", document, err)
		}
	})
}

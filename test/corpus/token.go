package corpus

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Token is a token of alice's, or one that somebody made who would be her. The zero Token is good.
type Token struct {
	// Algorithm is the algorithm, and the id of the key, that sign: RS256 without it. By is who signs: the issuer without it,
	// "stranger" with keys of the same ids, "public" and "nothing" as an HMAC with the issuer's public key and with no secret.
	Algorithm gateconfig.Algorithm `json:"algorithm,omitempty"`
	By        string               `json:"by,omitempty"`
	// Header and Payload are what is signed in the place of a good header and payload. CLAIMS stands for the members of a good payload.
	Header  string `json:"header,omitempty"`
	Payload string `json:"payload,omitempty"`
	// Claims change a good payload, null takes one away; Times are claims in seconds from now.
	Claims gatetest.Claims  `json:"claims,omitempty"`
	Times  map[string]int64 `json:"times,omitempty"`
	// Form is how HEADER, PAYLOAD and SIGNATURE are put together, where that is not usual. OTHER is a payload of root's.
	Form string `json:"form,omitempty"`
}

// text is the token.
func (k *Token) text(t testing.TB, issuer, stranger *gatetest.Issuer) string {
	t.Helper()
	algorithm := k.Algorithm
	if algorithm == "" {
		algorithm = gateconfig.RS256
	}
	change := gatetest.Claims{}
	for name, value := range k.Claims {
		change[name] = value
	}
	for name, seconds := range k.Times {
		change[name] = time.Now().Unix() + seconds
	}
	claims := func(change gatetest.Claims) string {
		text, err := json.Marshal(issuer.Claims(change))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	header, payload := k.Header, claims(change)
	if header == "" {
		header = `{"alg":"` + string(algorithm) + `","kid":"` + string(algorithm) + `","typ":"at+jwt"}`
	}
	if k.Payload != "" {
		payload = strings.ReplaceAll(k.Payload, "CLAIMS", strings.Trim(payload, "{}"))
	}
	signed := ""
	switch k.By {
	case "":
		signed = issuer.Sign(t, algorithm, header, payload)
	case "stranger":
		signed = stranger.Sign(t, algorithm, header, payload)
	case "public":
		signed = gatetest.SignHMAC(header, payload, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: issuer.PKIX(t, algorithm)}))
	case "nothing":
		signed = gatetest.SignHMAC(header, payload, nil)
	default:
		t.Fatal("nobody signs as " + k.By)
	}
	if k.Form == "" {
		return signed
	}
	parts := strings.Split(signed, ".")
	other := base64.RawURLEncoding.EncodeToString([]byte(claims(gatetest.Claims{"sub": "root"})))
	return strings.NewReplacer("HEADER", parts[0], "PAYLOAD", parts[1], "SIGNATURE", parts[2], "OTHER", other).Replace(k.Form)
}

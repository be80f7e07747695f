package token_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const url = "https://issuer.example/realm"

var algorithms = []gateconfig.Algorithm{gateconfig.RS256, gateconfig.PS256, gateconfig.ES256, gateconfig.ES384, gateconfig.EdDSA}

func newVerifier(t testing.TB, issuers ...gateconfig.TokenIssuer) *token.Verifier[int] {
	t.Helper()
	v, err := token.New(issuers, func(*token.Token, policy.Token) int { return 7 })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTokensOfEachAlgorithm(t *testing.T) {
	i := gatetest.NewIssuer(t, url)
	v := newVerifier(t, i.Config(t, "corp", "mcp"))
	for _, algorithm := range algorithms {
		text := i.Token(t, algorithm, gatetest.Claims{"scope": "read write", "scp": []string{"admin"}})
		if _, known := v.Known(text, time.Now()); known {
			t.Errorf("%s: known before it was verified", algorithm)
		}
		got, failure := v.Verify(text, time.Now())
		if failure != "" {
			t.Errorf("%s: %s", algorithm, failure)
			continue
		}
		if got.Subject != "alice" || got.Issuer.Name != "corp" || len(got.Scopes) != 3 || got.Derived != 7 {
			t.Errorf("%s: %+v", algorithm, got)
		}
		if again, known := v.Known(text, time.Now()); !known || again != got {
			t.Errorf("%s: not remembered", algorithm)
		}
		// Each bit of the signature counts, for what is remembered too.
		at := strings.LastIndexByte(text, '.') + 1
		for _, position := range []int{at, at + 20, len(text) - 3} {
			changed := []byte(text)
			if changed[position] = 'A'; text[position] == 'A' {
				changed[position] = 'B'
			}
			if _, known := v.Known(string(changed), time.Now()); known {
				t.Errorf("%s: known with another signature", algorithm)
			}
			if _, failure := v.Verify(string(changed), time.Now()); failure != token.Signature {
				t.Errorf("%s: %q with another signature", algorithm, failure)
			}
		}
	}
}

func header(alg string, more string) string {
	return `{"alg":"` + alg + `","kid":"` + alg + `"` + more + `}`
}

// TestForgeries is a table of tokens that somebody made who wants in. Each has a signature that is good as far as it goes.
func TestForgeries(t *testing.T) {
	i, other := gatetest.NewIssuer(t, url), gatetest.NewIssuer(t, url)
	config := i.Config(t, "corp", "mcp", "https://mcp.example/tools")
	config.RequiredScopes = []string{"mcp"}
	config.RequiredClaims = []policy.Claim{{Path: []string{"realm_access", "roles"}, Values: []string{"agents", "people"}}}
	config.MaxLifetimeSeconds = 3600
	v := newVerifier(t, config)
	good := gatetest.Claims{"scope": "mcp", "realm_access": map[string]any{"roles": []string{"guests", "people"}}}
	payload := func(change gatetest.Claims) string {
		all := maps.Clone(good)
		maps.Copy(all, change)
		text, err := json.Marshal(i.Claims(all))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	plain := payload(nil)
	sign := func(h, p string) string { return i.Sign(t, gateconfig.RS256, h, p) }
	claims := func(change gatetest.Claims) string { return sign(header("RS256", ""), payload(change)) }
	raw := func(old, new string) string {
		if !strings.Contains(plain, old) {
			t.Fatalf("no %s in %s", old, plain)
		}
		return sign(header("RS256", ""), strings.Replace(plain, old, new, 1))
	}
	text := sign(header("RS256", ""), plain)
	parts := strings.Split(text, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	der := i.PKIX(t, gateconfig.RS256)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	if _, failure := v.Verify(text, now); failure != "" {
		t.Fatalf("the good one: %s", failure)
	}
	for name, test := range map[string]struct {
		text string
		want token.Failure
	}{
		// The algorithm and the key.
		"alg none":                        {encode(`{"alg":"none"}`) + "." + parts[1] + ".", token.Malformed},
		"alg none with a key":             {sign(`{"alg":"none","kid":"RS256"}`, plain), token.Algorithm},
		"alg nOnE":                        {sign(`{"alg":"nOnE","kid":"RS256"}`, plain), token.Algorithm},
		"alg empty":                       {sign(`{"alg":"","kid":"RS256"}`, plain), token.Algorithm},
		"no alg":                          {sign(`{"kid":"RS256"}`, plain), token.Algorithm},
		"alg a list":                      {sign(`{"alg":["RS256"],"kid":"RS256"}`, plain), token.Malformed},
		"alg in lower case":               {sign(`{"alg":"rs256","kid":"RS256"}`, plain), token.Algorithm},
		"HS256 with the public key, PEM":  {gatetest.SignHMAC(`{"alg":"HS256","kid":"RS256"}`, plain, public), token.Algorithm},
		"HS256 with the public key, DER":  {gatetest.SignHMAC(`{"alg":"HS256","kid":"RS256"}`, plain, der), token.Algorithm},
		"HMAC said to be RS256":           {gatetest.SignHMAC(header("RS256", ""), plain, public), token.Signature},
		"HS256 with an empty secret":      {gatetest.SignHMAC(`{"alg":"HS256","kid":"RS256"}`, plain, nil), token.Algorithm},
		"RS512":                           {sign(`{"alg":"RS512","kid":"RS256"}`, plain), token.Algorithm},
		"ES256K":                          {sign(`{"alg":"ES256K","kid":"ES256"}`, plain), token.Algorithm},
		"RS256 by the key for PS256":      {sign(`{"alg":"RS256","kid":"PS256"}`, plain), token.Algorithm},
		"PS256 by the key for RS256":      {i.Sign(t, gateconfig.PS256, `{"alg":"PS256","kid":"RS256"}`, plain), token.Algorithm},
		"PS256 said to be RS256":          {i.Sign(t, gateconfig.PS256, header("RS256", ""), plain), token.Signature},
		"ES256 by the key for RS256":      {i.Sign(t, gateconfig.ES256, `{"alg":"ES256","kid":"RS256"}`, plain), token.Algorithm},
		"ES256 by the key for ES384":      {i.Sign(t, gateconfig.ES256, `{"alg":"ES256","kid":"ES384"}`, plain), token.Algorithm},
		"another issuer's key of that id": {other.Sign(t, gateconfig.RS256, header("RS256", ""), plain), token.Signature},
		"another's ES256":                 {other.Sign(t, gateconfig.ES256, header("ES256", ""), plain), token.Signature},
		"another's EdDSA":                 {other.Sign(t, gateconfig.EdDSA, header("EdDSA", ""), plain), token.Signature},
		"ES256 of zeros":                  {encode(header("ES256", "")) + "." + parts[1] + "." + encode(strings.Repeat("\x00", 64)), token.Signature},
		"ES256 that is too short":         {encode(header("ES256", "")) + "." + parts[1] + "." + encode(strings.Repeat("\x01", 63)), token.Signature},
		"ES256 that is too long":          {encode(header("ES256", "")) + "." + parts[1] + "." + encode(strings.Repeat("\x01", 65)), token.Signature},
		"no kid":                          {sign(`{"alg":"RS256"}`, plain), token.UnknownKey},
		"an empty kid":                    {sign(`{"alg":"RS256","kid":""}`, plain), token.UnknownKey},
		"an unknown kid":                  {sign(`{"alg":"RS256","kid":"next"}`, plain), token.UnknownKey},
		"a kid that is a path":            {sign(`{"alg":"RS256","kid":"../../dev/null"}`, plain), token.UnknownKey},
		"a kid that is a query":           {sign(`{"alg":"RS256","kid":"x' UNION SELECT 'a"}`, plain), token.UnknownKey},
		"a kid that is a number":          {sign(`{"alg":"RS256","kid":1}`, plain), token.Malformed},
		"a kid in another case":           {sign(`{"alg":"RS256","kid":"rs256"}`, plain), token.UnknownKey},
		// The header.
		"jku":                   {sign(header("RS256", `,"jku":"https://evil.example/jwks"`), plain), token.Header},
		"jwk":                   {sign(header("RS256", `,"jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}`), plain), token.Header},
		"x5u":                   {sign(header("RS256", `,"x5u":"https://evil.example/x"`), plain), token.Header},
		"x5c":                   {sign(header("RS256", `,"x5c":["AAAA"]`), plain), token.Header},
		"crit":                  {sign(header("RS256", `,"crit":["exp"]`), plain), token.Header},
		"an empty crit":         {sign(header("RS256", `,"crit":[]`), plain), token.Header},
		"b64":                   {sign(header("RS256", `,"b64":false`), plain), token.Header},
		"zip":                   {sign(header("RS256", `,"zip":"DEF"`), plain), token.Header},
		"encrypted":             {sign(header("RS256", `,"enc":"A256GCM"`), plain), token.Header},
		"nested":                {sign(header("RS256", `,"cty":"JWT"`), plain), token.Header},
		"typ of a logout":       {sign(header("RS256", `,"typ":"logout+jwt"`), plain), token.Header},
		"typ of a proof":        {sign(header("RS256", `,"typ":"dpop+jwt"`), plain), token.Header},
		"typ of an event":       {sign(header("RS256", `,"typ":"secevent+jwt"`), plain), token.Header},
		"alg twice":             {sign(`{"alg":"none","kid":"RS256","alg":"RS256"}`, plain), token.Malformed},
		"alg twice, escaped":    {sign(`{"alg":"RS256","kid":"RS256","\u0061lg":"none"}`, plain), token.Malformed},
		"Alg beside alg":        {sign(`{"alg":"RS256","kid":"RS256","Alg":"none"}`, plain), token.Malformed},
		"kid twice":             {sign(`{"alg":"RS256","kid":"RS256","kid":"ES256"}`, plain), token.Malformed},
		"JWK in capitals":       {sign(header("RS256", `,"JWK":{}`), plain), token.Malformed},
		"header is a list":      {sign(`["RS256"]`, plain), token.Malformed},
		"header is null":        {sign(`null`, plain), token.Malformed},
		"header with more":      {sign(header("RS256", "")+"{}", plain), token.Malformed},
		"header with a BOM":     {sign("\ufeff"+header("RS256", ""), plain), token.Malformed},
		"header that is large":  {sign(header("RS256", `,"x":"`+strings.Repeat("a", 4096)+`"`), plain), token.Malformed},
		"header that is nested": {sign(header("RS256", `,"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)), plain), token.Malformed},
		// The form.
		"empty":                  {"", token.Malformed},
		"two parts":              {parts[0] + "." + parts[1], token.Malformed},
		"four parts":             {text + ".x", token.Malformed},
		"five parts":             {text + ".x.y", token.Malformed},
		"no signature":           {parts[0] + "." + parts[1] + ".", token.Malformed},
		"no payload":             {parts[0] + ".." + parts[2], token.Malformed},
		"padded":                 {text + "==", token.Malformed},
		"line break":             {text[:len(text)-4] + "\n" + text[len(text)-4:], token.Malformed},
		"leading space":          {" " + text, token.Malformed},
		"standard base64":        {strings.ReplaceAll(strings.ReplaceAll(text, "-", "+"), "_", "/"), token.Malformed},
		"another spelling":       {respell(text), token.Malformed},
		"too long":               {claims(gatetest.Claims{"x": strings.Repeat("a", token.MaxLength)}), token.Malformed},
		"a signature of another": {parts[0] + "." + encode(payload(gatetest.Claims{"sub": "root"})) + "." + parts[2], token.Signature},
		"JSON serialisation":     {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, token.Malformed},
		// The claims.
		"another issuer":             {claims(gatetest.Claims{"iss": "https://evil.example"}), token.Issuer},
		"the issuer with a slash":    {claims(gatetest.Claims{"iss": url + "/"}), token.Issuer},
		"the issuer in capitals":     {claims(gatetest.Claims{"iss": strings.ToUpper(url)}), token.Issuer},
		"no issuer":                  {claims(gatetest.Claims{"iss": nil}), token.Issuer},
		"issuers":                    {claims(gatetest.Claims{"iss": []string{url}}), token.Malformed},
		"iss twice":                  {raw(`"iss":"`, `"iss":"https://evil.example","iss":"`), token.Malformed},
		"Iss beside iss":             {raw(`{`, `{"Iss":"https://evil.example",`), token.Malformed},
		"sub twice":                  {raw(`"sub":"alice"`, `"sub":"root","sub":"alice"`), token.Malformed},
		"any member twice":           {raw(`{`, `{"x":1,"x":2,`), token.Malformed},
		"a nested member twice":      {raw(`{`, `{"x":{"y":1,"y":2},`), token.Malformed},
		"no audience":                {claims(gatetest.Claims{"aud": nil}), token.Audience},
		"no audiences":               {claims(gatetest.Claims{"aud": []string{}}), token.Audience},
		"another audience":           {claims(gatetest.Claims{"aud": "other"}), token.Audience},
		"part of the audience":       {claims(gatetest.Claims{"aud": "mc"}), token.Audience},
		"more than the audience":     {claims(gatetest.Claims{"aud": "mcp "}), token.Audience},
		"another path":               {claims(gatetest.Claims{"aud": "https://mcp.example/Tools"}), token.Audience},
		"another host":               {claims(gatetest.Claims{"aud": "https://mcp.example.evil/tools"}), token.Audience},
		"audience null":              {claims(gatetest.Claims{"aud": []any{nil}}), token.Malformed},
		"audience a number":          {claims(gatetest.Claims{"aud": 1}), token.Malformed},
		"no end":                     {claims(gatetest.Claims{"exp": nil}), token.Time},
		"no beginning":               {claims(gatetest.Claims{"nbf": nil, "iat": nil}), token.Time},
		"ended":                      {claims(gatetest.Claims{"nbf": at(-time.Hour), "iat": at(-time.Hour), "exp": at(-31 * time.Second)}), token.Expired},
		"not begun":                  {claims(gatetest.Claims{"nbf": at(40 * time.Second)}), token.NotYet},
		"issued in the future":       {claims(gatetest.Claims{"iat": at(40 * time.Second)}), token.NotYet},
		"end before beginning":       {claims(gatetest.Claims{"nbf": at(10 * time.Second), "exp": at(5 * time.Second)}), token.Time},
		"end as text":                {claims(gatetest.Claims{"exp": fmt.Sprint(at(time.Minute))}), token.Malformed},
		"end with an exponent":       {raw(`"exp":`, `"exp":9e99,"old":`), token.Malformed},
		"end that overflows":         {raw(`"exp":`, `"exp":99999999999999999999,"old":`), token.Malformed},
		"end in milliseconds":        {claims(gatetest.Claims{"exp": at(time.Minute) * 1000}), token.Malformed},
		"negative end":               {claims(gatetest.Claims{"exp": -1}), token.Malformed},
		"beginning with an exponent": {claims(gatetest.Claims{"nbf": json.Number("1.9e9")}), token.Malformed},
		"beginning of zero":          {claims(gatetest.Claims{"nbf": 0}), token.Malformed},
		"lives too long":             {claims(gatetest.Claims{"exp": at(2 * time.Hour)}), token.Lifetime},
		"lives too long by iat":      {claims(gatetest.Claims{"nbf": nil, "iat": at(-30 * time.Minute), "exp": at(40 * time.Minute)}), token.Lifetime},
		"no subject":                 {claims(gatetest.Claims{"sub": nil}), token.Subject},
		"empty subject":              {claims(gatetest.Claims{"sub": ""}), token.Subject},
		"subject with a line break":  {claims(gatetest.Claims{"sub": "alice\nroot"}), token.Subject},
		"subject with NUL":           {raw(`"alice"`, `"alice\u0000"`), token.Malformed},
		"subject that is large":      {claims(gatetest.Claims{"sub": strings.Repeat("a", 256)}), token.Subject},
		"subject a number":           {claims(gatetest.Claims{"sub": 1}), token.Malformed},
		"no scope":                   {claims(gatetest.Claims{"scope": nil}), token.Scopes},
		"another scope":              {claims(gatetest.Claims{"scope": "mcp:read other"}), token.Scopes},
		"no role":                    {claims(gatetest.Claims{"realm_access": nil}), token.Claims},
		"another role":               {claims(gatetest.Claims{"realm_access": map[string]any{"roles": []string{"peopl"}}}), token.Claims},
		"a role within a role":       {claims(gatetest.Claims{"realm_access": map[string]any{"roles": []any{[]string{"people"}}}}), token.Claims},
		"a role as a name":           {claims(gatetest.Claims{"realm_access": map[string]any{"roles": map[string]any{"people": true}}}), token.Claims},
		"a role elsewhere":           {claims(gatetest.Claims{"realm_access": nil, "roles": []string{"people"}}), token.Claims},
		"payload is a list":          {sign(header("RS256", ""), `[]`), token.Malformed},
		"payload is no JSON":         {sign(header("RS256", ""), `alice`), token.Malformed},
		"payload is no UTF-8":        {raw(`alice`, "ali\xff"), token.Malformed},
		"payload with more after it": {sign(header("RS256", ""), plain+plain), token.Malformed},
	} {
		for range 2 { // nothing of it is remembered
			if _, known := v.Known(test.text, now); known {
				t.Errorf("%s: known", name)
			}
			if got, failure := v.Verify(test.text, now); got != nil || failure != test.want {
				t.Errorf("%s: %q, want %q", name, failure, test.want)
			}
		}
	}
	for name, change := range map[string]gatetest.Claims{
		"one of several audiences":     {"aud": []string{"x", "mcp"}},
		"the resource in other case":   {"aud": "HTTPS://MCP.Example/tools"},
		"ended a moment ago":           {"exp": at(-25 * time.Second), "nbf": at(-time.Minute), "iat": at(-time.Minute)},
		"begins in a moment":           {"nbf": at(25 * time.Second)},
		"fractions":                    {"nbf": float64(at(0)) - 0.5, "exp": float64(at(time.Minute)) + 0.5},
		"iat alone":                    {"nbf": nil},
		"nbf alone":                    {"iat": nil},
		"no typ, foreign claims, list": {"scp": []string{"a", "b"}, "https://x.example/y": map[string]any{"z": []int{1}}},
		"the role alone":               {"realm_access": map[string]any{"roles": "agents"}},
		"a subject of another script":  {"sub": "Алиса|1"},
	} {
		if _, failure := v.Verify(claims(change), now); failure != "" {
			t.Errorf("%s: %s", name, failure)
		}
	}
}

// respell changes the unused bits of the last character: a lenient decoder reads the same bytes.
func respell(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last|1])
}

func TestServiceAccounts(t *testing.T) {
	i := gatetest.NewIssuer(t, "https://kubernetes.default.svc")
	config := i.Config(t, "cluster", "mcp")
	config.Type = gateconfig.Kubernetes
	v := newVerifier(t, config)
	bound := map[string]any{"namespace": "team-a", "serviceaccount": map[string]any{"name": "agent", "uid": "1"}, "pod": map[string]any{"name": "p", "uid": "2"}}
	const subject = "system:serviceaccount:team-a:agent"
	for name, test := range map[string]struct {
		change gatetest.Claims
		want   token.Failure
	}{
		"bound":                       {gatetest.Claims{"sub": subject, "kubernetes.io": bound}, ""},
		"not bound":                   {gatetest.Claims{"sub": subject}, token.Subject},
		"a user":                      {gatetest.Claims{"sub": "admin", "kubernetes.io": bound}, token.Subject},
		"a node":                      {gatetest.Claims{"sub": "system:node:one", "kubernetes.io": bound}, token.Subject},
		"another namespace's subject": {gatetest.Claims{"sub": "system:serviceaccount:team-b:agent", "kubernetes.io": bound}, token.Subject},
		"another account's subject":   {gatetest.Claims{"sub": "system:serviceaccount:team-a:root", "kubernetes.io": bound}, token.Subject},
		"more parts":                  {gatetest.Claims{"sub": subject + ":x", "kubernetes.io": bound}, token.Subject},
		"the claims as text":          {gatetest.Claims{"sub": subject, "kubernetes.io": `{"namespace":"team-a"}`}, token.Subject},
		"of the API server":           {gatetest.Claims{"sub": subject, "kubernetes.io": bound, "aud": "https://kubernetes.default.svc"}, token.Audience},
	} {
		if _, failure := v.Verify(i.Token(t, gateconfig.RS256, test.change), time.Now()); failure != test.want {
			t.Errorf("%s: %q, want %q", name, failure, test.want)
		}
	}
}

// TestIssuersDoNotVouchForEachOther: a key of one issuer signs nothing for another.
func TestIssuersDoNotVouchForEachOther(t *testing.T) {
	one, two := gatetest.NewIssuer(t, "https://one.example"), gatetest.NewIssuer(t, "https://two.example")
	v := newVerifier(t, one.Config(t, "one", "mcp"), two.Config(t, "two", "two-mcp"))
	if _, failure := v.Verify(one.Token(t, gateconfig.ES256, gatetest.Claims{"iss": two.URL, "aud": "two-mcp"}), time.Now()); failure != token.Signature {
		t.Errorf("one's key for two: %q", failure)
	}
	if _, failure := v.Verify(two.Token(t, gateconfig.ES256, nil), time.Now()); failure != token.Audience {
		t.Errorf("two's token for one's audience: %q", failure)
	}
	if _, failure := v.Verify(two.Token(t, gateconfig.ES256, gatetest.Claims{"aud": "two-mcp"}), time.Now()); failure != "" {
		t.Errorf("two's token: %q", failure)
	}
}

func TestMemoryEndsWithTheToken(t *testing.T) {
	i := gatetest.NewIssuer(t, url)
	v := newVerifier(t, i.Config(t, "corp", "mcp"))
	text := i.Token(t, gateconfig.ES256, gatetest.Claims{"exp": time.Now().Add(time.Minute).Unix()})
	verified, failure := v.Verify(text, time.Now())
	if failure != "" {
		t.Fatal(failure)
	}
	for _, test := range []struct {
		at    time.Time
		known bool
	}{{verified.NotAfter.Add(-time.Nanosecond), true}, {verified.NotAfter, false}, {verified.NotBefore, true}, {verified.NotBefore.Add(-time.Nanosecond), false}} {
		if _, known := v.Known(text, test.at); known != test.known {
			t.Errorf("at %s: known %t", test.at, known)
		}
		if _, failure := v.Verify(text, test.at); (failure == "") != test.known {
			t.Errorf("at %s: %q", test.at, failure)
		}
	}
}

// TestMemoryIsBounded verifies more tokens than are remembered: what is used stays, and nobody is mixed up.
func TestMemoryIsBounded(t *testing.T) {
	i := gatetest.NewIssuer(t, url)
	v, err := token.New([]gateconfig.TokenIssuer{i.Config(t, "corp", "mcp")}, func(got *token.Token, _ policy.Token) string { return got.Subject })
	if err != nil {
		t.Fatal(err)
	}
	const count = 5000
	texts := make([]string, count)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for n := worker; n < count; n += 4 {
				subject := fmt.Sprintf("user-%d", n)
				texts[n] = i.Token(t, gateconfig.EdDSA, gatetest.Claims{"sub": subject})
				if got, failure := v.Verify(texts[n], time.Now()); failure != "" || got.Derived != subject {
					t.Errorf("%s: %+v, %s", subject, got, failure)
				}
				_, _ = v.Known(texts[worker], time.Now()) // stays in use
			}
		})
	}
	group.Wait()
	known := 0
	for n, text := range texts {
		if got, ok := v.Known(text, time.Now()); ok {
			known++
			if got.Derived != fmt.Sprintf("user-%d", n) {
				t.Errorf("token %d is remembered as %s", n, got.Derived)
			}
		} else if n < 4 {
			t.Errorf("token %d was used all the time, and is forgotten", n)
		}
	}
	if known == 0 || known > 4100 {
		t.Errorf("%d of %d tokens are remembered", known, count)
	}
}

func TestUnknownKeysAreCounted(t *testing.T) {
	i := gatetest.NewIssuer(t, url)
	config := i.Config(t, "corp", "mcp")
	config.Keys = nil
	v := newVerifier(t, config)
	now := time.Now().Truncate(time.Second)
	for range 3 {
		if _, failure := v.Verify(i.Token(t, gateconfig.ES256, nil), now); failure != token.UnknownKey {
			t.Fatal(failure)
		}
	}
	_, _ = v.Verify(i.Token(t, gateconfig.ES256, gatetest.Claims{"iss": "https://evil.example"}), now)
	if all := v.Unknown(); len(all) != 1 || all[0].Issuer != "corp" || all[0].Count != 3 || !all[0].Last.Equal(now) {
		t.Errorf("%+v", all)
	}
}

// FuzzToken: whatever the text is, only a token that somebody with the key has signed is let in.
func FuzzToken(f *testing.F) {
	i := gatetest.NewIssuer(f, url)
	v := newVerifier(f, i.Config(f, "corp", "mcp"))
	good := i.Token(f, gateconfig.ES256, nil)
	f.Add("GOOD")
	f.Add("GOOD.")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(i.Sign(f, gateconfig.ES256, header("ES256", ""), `{"exp":1e9}`))
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(text, "GOOD", good)
		if _, failure := v.Verify(text, time.Now()); (failure == "") != (text == good) {
			t.Errorf("%q: %q", text, failure)
		}
	})
}

// FuzzSigned: whatever an issuer signs, nothing panics, and what passes says all that is demanded.
func FuzzSigned(f *testing.F) {
	i := gatetest.NewIssuer(f, url)
	config := i.Config(f, "corp", "mcp")
	config.RequiredClaims = []policy.Claim{{Path: []string{"a", "b"}, Values: []string{"c"}}}
	v := newVerifier(f, config)
	good, err := json.Marshal(i.Claims(gatetest.Claims{"exp": 4102444800, "a": map[string]string{"b": "c"}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"alg":"EdDSA","kid":"EdDSA"}`, string(good))
	f.Add(`{"kid":"EdDSA","alg":"EdDSA","typ":"JWT"}`, strings.Replace(string(good), `"c"`, `["d","c"]`, 1))
	f.Fuzz(func(t *testing.T, header, payload string) {
		got, failure := v.Verify(i.Sign(t, gateconfig.EdDSA, header, payload), time.Now())
		if failure != "" {
			return
		}
		var lenient struct {
			Iss, Sub string
			Exp      float64
			A        struct{ B any }
		}
		if json.Unmarshal([]byte(payload), &lenient) != nil || lenient.Iss != url || lenient.Sub != got.Subject || lenient.Sub == "" || lenient.A.B == nil {
			t.Errorf("%q %q: passed as %+v", header, payload, got)
		}
	})
}

func BenchmarkKnown(b *testing.B) {
	i := gatetest.NewIssuer(b, url)
	v := newVerifier(b, i.Config(b, "corp", "mcp"))
	text := i.Token(b, gateconfig.RS256, gatetest.Claims{"scope": "read write", "email": "alice@example.com"})
	now := time.Now()
	if _, failure := v.Verify(text, now); failure != "" {
		b.Fatal(failure)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, known := v.Known(text, now); !known {
			b.Fatal("not known")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	i := gatetest.NewIssuer(b, url)
	v := newVerifier(b, i.Config(b, "corp", "mcp"))
	now := time.Now()
	for _, algorithm := range algorithms {
		text := i.Token(b, algorithm, gatetest.Claims{"scope": "read write", "email": "alice@example.com"})
		b.Run(string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, failure := v.Verify(text, now); failure != "" {
					b.Fatal(failure)
				}
			}
		})
	}
}

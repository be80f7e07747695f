package probe

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// attempt sends a request that must meet one refusal.
func (r *run) attempt(ctx context.Context, name, control string, certificate *tls.Certificate, q request, w want) {
	a := r.send(ctx, certificate, q)
	switch {
	case a.err != nil:
		r.add(name, control, posture.Inconclusive, words(a.err))
	case w.met(a) == "":
		r.add(name, control, posture.Held, "")
	case a.busy():
		r.add(name, control, posture.Inconclusive, "the gate is busy")
	default:
		r.add(name, control, posture.Broken, w.met(a))
	}
}

// authentication tries to get in without a credential and with ones that nobody issued.
func (r *run) authentication(ctx context.Context) {
	key, err := keys.New(rand.Reader)
	unknown := key.Text
	if err != nil {
		unknown = "mcpk_" + r.nonce
	}
	forge := func(algorithm string) string {
		sign := map[string]func([]byte) []byte{"none": madeUp(0), "HS256": withSecret([]byte(r.nonce)), "ES256": madeUp(64)}[algorithm]
		return token(map[string]any{"alg": algorithm, "typ": "JWT", "kid": r.nonce}, map[string]any{
			"iss": "https://" + r.nonce + ".invalid", "sub": r.nonce, "aud": "https://" + r.Host + r.Path, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		}, sign)
	}
	authorization := func(value string) map[string][]string { return map[string][]string{"Authorization": {value}} }
	for _, try := range []struct {
		name, control string
		header        map[string][]string
		query         string
		want          want
	}{
		{"no credential", "AUTH-1", nil, "", unauthenticated},
		// Where tokens are taken, RFC 6750 has a malformed request refused with 400.
		{"empty bearer", "AUTH-1", authorization("Bearer "), "", want{append([]int{http.StatusBadRequest}, unauthenticated.status...), append([]int{codeRefused}, unauthenticated.code...)}},
		{"empty API key", "AUTH-1", map[string][]string{"X-Api-Key": {""}}, "", unauthenticated},
		{"malformed API key", "AUTH-1", authorization("Bearer mcpk_" + r.nonce), "", unauthenticated},
		{"another scheme", "AUTH-1", authorization("Basic " + base64.StdEncoding.EncodeToString([]byte(r.nonce+":"+r.nonce))), "", unauthenticated},
		{"key that is not in use", "AUTH-5", authorization("Bearer " + unknown), "", unauthenticated},
		{"token without signature", "AUTH-6", authorization("Bearer " + forge("none")), "", unauthenticated},
		{"token signed with a shared secret", "AUTH-6", authorization("Bearer " + forge("HS256")), "", unauthenticated},
		{"token of an unknown issuer and key", "AUTH-6", authorization("Bearer " + forge("ES256")), "", unauthenticated},
		{"token in the query", "AUTH-6", nil, "?access_token=" + forge("ES256"), want{[]int{http.StatusBadRequest, http.StatusUnauthorized}, []int{codeRefused, codeUnauthenticated}}},
	} {
		q := request{body: r.nothing(), header: try.header, query: try.query}
		r.attempt(ctx, try.name, try.control, nil, q, try.want)
		if try.header != nil && r.Identity != nil {
			// Where a certificate is demanded, too, only this gets as far as the key.
			r.attempt(ctx, try.name+" beside a certificate", try.control, r.Identity, q, try.want)
		}
	}
}

// certificates tries certificates that nobody should accept.
func (r *run) certificates(ctx context.Context) {
	for _, f := range r.Forged {
		r.attempt(ctx, f.Name, "AUTH-7", f.Certificate, request{body: r.nothing()}, unauthenticated)
	}
	if text := r.shown(); r.Demanded && text != "" {
		r.attempt(ctx, "good credential without the certificate that is demanded", "AUTH-7", nil, bearing(request{body: r.nothing()}, text), unauthenticated)
	}
}

// permissions asks, as somebody who may do nothing, for things that do not exist, and for the lists.
func (r *run) permissions(ctx context.Context) {
	for _, try := range []struct{ control, method, parameter string }{
		{"PERM-1", "tools/call", "name"},
		{"PERM-1", "prompts/get", "name"},
		{"PERM-1", "resources/read", "uri"},
		{"PERM-2", "tools/list", ""},
		{"PERM-2", "prompts/list", ""},
		{"PERM-2", "resources/list", ""},
	} {
		r.identified(ctx, try.method+" without a grant", try.control, request{body: r.message(try.method, try.parameter)}, denied)
	}
}

// identified is attempt by somebody who is known.
func (r *run) identified(ctx context.Context, name, control string, q request, w want) {
	r.attempt(ctx, name, control, r.Identity, r.known(q), w)
}

// retired shows a key that the gate accepted once. Its refusal counts only beside that of the present one, which the gate knows.
func (r *run) retired(ctx context.Context) {
	if r.Keys == nil || r.Keys.Retired.Text == "" {
		return
	}
	r.beside(ctx, r.takes(ctx, r.Keys.Present.Text, "present key"), posture.RetiredKey, "AUTH-5", r.Keys.Retired.Text)
}

// reading sends messages that two readers would read in two ways.
func (r *run) reading(ctx context.Context) {
	message := r.nothing()
	method := fmt.Sprintf("%q", methodOf(message))
	inner := strings.TrimSuffix(message, "}")
	bad := func(code int) want { return want{[]int{http.StatusBadRequest}, []int{code}} }
	for _, try := range []struct {
		name string
		q    request
		want want
	}{
		{"repeated member", request{body: inner + `,"method":` + method + `}`}, bad(codeParse)},
		{"repeated member, escaped", request{body: inner + `,"m\u0065thod":` + method + `}`}, bad(codeParse)},
		{"member in another case", request{body: inner + `,"Method":` + method + `}`}, bad(codeInvalidRequest)},
		{"data after the message", request{body: message + message}, bad(codeParse)},
		{"batch", request{body: "[" + message + "," + message + "]"}, bad(codeInvalidRequest)},
		{"other charset", request{body: message, header: map[string][]string{"Content-Type": {"application/json; charset=utf-16"}}},
			want{[]int{http.StatusUnsupportedMediaType}, []int{codeRefused}}},
		{"header that contradicts the body", request{body: message, header: map[string][]string{"Mcp-Method": {"ping"}}}, bad(codeHeader)},
		{"repeated header", request{body: message, header: map[string][]string{"Mcp-Method": {methodOf(message), "ping"}}},
			want{[]int{http.StatusBadRequest}, []int{codeRefused, codeHeader}}},
		{"foreign host", request{body: message, host: r.nonce + ".invalid"}, want{[]int{http.StatusForbidden}, []int{codeRefused}}},
		{"foreign origin", request{body: message, header: map[string][]string{"Origin": {"https://" + r.nonce + ".invalid"}}}, want{[]int{http.StatusForbidden}, []int{codeRefused}}},
	} {
		r.identified(ctx, try.name, "PERM-7", try.q, try.want)
	}
}

// malformed sends what is no message at all.
func (r *run) malformed(ctx context.Context) {
	bad := want{[]int{http.StatusBadRequest}, []int{codeParse, codeInvalidRequest}}
	for _, try := range []struct{ name, body string }{
		{"half a message", `{"jsonrpc":"2.0","id":1,"method":"` + r.nonce},
		{"bytes that are no text", "{\"jsonrpc\":\"\xff\xfe\"}"},
		{"deep nesting", strings.Repeat("[", 2000) + strings.Repeat("]", 2000)},
		{"empty body", ""},
	} {
		r.identified(ctx, try.name, "TEST-3", request{body: try.body}, bad)
	}
}

// traces are what an answer has in it that tells of the inside.
var traces = []string{"goroutine ", ".go:", "panic", "stack", "127.0.0.1", "localhost", "/etc/", "x509:", "tls:", "dial tcp", "runtime error"}

// leaks judges all refusals: none repeats what was sent, and none tells of the inside. What is no refusal was let through, which
// another control answers for: it is the server that speaks.
func (r *run) leaks(context.Context) {
	repeated, inside := 0, ""
	for _, a := range r.answers {
		if a.status < http.StatusMultipleChoices {
			continue
		}
		text := string(a.body)
		for name, values := range a.header {
			text += "\n" + name + ": " + strings.Join(values, ",")
		}
		if strings.Contains(text, r.nonce) || r.Keys != nil && strings.Contains(text, r.Keys.Present.Text) ||
			r.good != "" && strings.Contains(text, r.good) || r.Token != nil && strings.Contains(text, r.Token.Good) {
			repeated++
		}
		for _, trace := range traces {
			if strings.Contains(strings.ToLower(text), trace) {
				inside = fmt.Sprintf("an answer contains %q", trace)
			}
		}
		for _, header := range []string{"Server", "X-Powered-By", "Set-Cookie", "Location"} {
			if a.header.Get(header) != "" {
				inside = "an answer has the header " + header
			}
		}
	}
	if repeated > 0 {
		r.add("canary credentials and arguments", "LOG-3", posture.Broken, fmt.Sprintf("%d answers repeat what was sent", repeated))
	} else {
		r.add("canary credentials and arguments", "LOG-3", posture.Held, "")
	}
	if inside != "" {
		r.add("all answers", "TEST-3", posture.Broken, inside)
	} else {
		r.add("all answers", "TEST-3", posture.Held, "")
	}
}

package gate

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// keyChallenge is sent with a 401, as RFC 9110, section 15.5.2 demands, where API keys or certificates are accepted.
const keyChallenge = `ApiKey realm="bartizan"`

// unauthenticated is the refusal of a request that nobody makes.
func (x *exchange) unauthenticated(failure identity.Failure) *message.Error {
	e := &message.Error{Status: http.StatusUnauthorized, Code: codeUnauthenticated,
		Message: failure.Text(len(x.config.Authentication.Tokens) > 0), Reason: string(failure)}
	if x.config.OAuth != nil && (failure == identity.BearerMalformed || failure == identity.KeyRepeated) {
		// RFC 6750, section 3.1: such a request is not one that a better token would mend.
		e.Status, e.Code = http.StatusBadRequest, codeRefused
		x.w.Header().Set("WWW-Authenticate", x.config.OAuth.Challenge("invalid_request", ""))
	}
	return e
}

// challenge says with a 401 how to authenticate.
func (x *exchange) challenge(e *message.Error) {
	h := x.w.Header()
	if oauth := x.config.OAuth; oauth != nil {
		problem := ""
		if strings.HasPrefix(e.Reason, "token-") || e == errRevoked {
			problem = "invalid_token"
		}
		h.Add("WWW-Authenticate", oauth.Challenge(problem, ""))
	}
	if x.config.OAuth == nil || x.config.Authentication.APIKeys == gateconfig.Enabled {
		h.Add("WWW-Authenticate", keyChallenge)
	}
}

// challengeScopes asks for a token with more scopes: those of the operation, and those that every token of the issuer
// needs, so that the next token is enough.
func (x *exchange) challengeScopes(scopes string) {
	if x.config.OAuth == nil || x.principal.Token == nil {
		return
	}
	all := slices.Concat(x.principal.Token.Issuer.RequiredScopes, strings.Fields(scopes))
	slices.Sort(all)
	x.w.Header().Set("WWW-Authenticate", x.config.OAuth.Challenge("insufficient_scope", strings.Join(slices.Compact(all), " ")))
}

// metadata answers a request for the metadata of the protected resource (RFC 9728), which needs no credential. It says
// whether the request is one.
func (x *exchange) metadata() bool {
	if !x.config.OAuth.Serves(x.r.URL.EscapedPath()) {
		return false
	}
	if refusal := listener.CheckWellKnown(x.r, x.config); refusal != nil {
		if refusal.Status == http.StatusMethodNotAllowed {
			x.w.Header().Set("Allow", "GET, HEAD")
		}
		x.refuse(audit.Refused, &message.Error{Status: refusal.Status, Code: codeRefused, Message: refusal.Text, Reason: refusal.Reason})
		return true
	}
	body := x.config.OAuth.Metadata
	x.record.Method = "metadata"
	if x.r.Method == http.MethodHead {
		x.w.Header().Set("Content-Type", "application/json")
		x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		x.send(audit.Allowed, http.StatusOK, "", nil)
		return true
	}
	x.send(audit.Allowed, http.StatusOK, "application/json", body)
	return true
}

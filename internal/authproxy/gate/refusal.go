package gate

import (
	"encoding/json"
	"net/http"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/filter"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// The JSON-RPC codes of the gate's own refusals: outside what JSON-RPC reserves, -31000 less the HTTP status.
const (
	codeRefused         = -31400
	codeUnauthenticated = -31401
	codeDenied          = -31403
	codeSession         = -31404
	codeRate            = -31429
	codeServer          = -31502
	codeUnavailable     = -31503
	codeLate            = -31504
	codeUnknownMethod   = -32601
)

// The refusals of this package.
var (
	errNotReady = &message.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Reason: "no-configuration",
		Message: "The gate has no valid configuration. Try again soon."}
	errTooLarge = &message.Error{Status: http.StatusRequestEntityTooLarge, Code: codeRefused, Reason: "size",
		Message: "The request is larger than this server's limit. Send a smaller one."}
	errUnread = &message.Error{Status: http.StatusRequestTimeout, Code: codeRefused, Reason: "body",
		Message: "The body did not come in, in time and in full."}
	errSession = &message.Error{Status: http.StatusNotFound, Code: codeSession, Reason: "session",
		Message: "This session is not known. Send an initialize request without a session to begin another."}
	errNoSession = &message.Error{Status: http.StatusBadRequest, Code: codeRefused, Reason: "session-missing",
		Message: "A response needs the session that its request came from."}
	errNotAsked = &message.Error{Status: http.StatusBadRequest, Code: codeRefused, Reason: "not-asked",
		Message: "No request of the server with this id is under way in this session. Answer each one once."}
	errState = &message.Error{Status: http.StatusBadRequest, Code: message.CodeInvalidParams, Reason: "request-state",
		Message: "This requestState is not one that was given for this request. Send the request anew, without it."}
	errTask = &message.Error{Status: http.StatusBadRequest, Code: message.CodeInvalidParams, Reason: "task",
		Message: "This task is not known."}
	errServerRequest = &message.Error{Status: http.StatusForbidden, Code: codeDenied, Reason: decision.ReasonServerRequest,
		Message: "The server asks this client for something that no MCPAccessPolicy allows. Ask the server's owner for a rule with serverRequests."}
	errVerb = &message.Error{Status: http.StatusMethodNotAllowed, Code: codeRefused, Reason: "verb",
		Message: "Only POST is served in this revision of the protocol."}
	errRevoked = &message.Error{Status: http.StatusUnauthorized, Code: codeUnauthenticated, Reason: "revoked",
		Message: "The credential or the right to this request ended while it was answered."}
	errSessionRevision = &message.Error{Status: http.StatusBadRequest, Code: codeRefused, Reason: "session-revision",
		Message: "MCP-Protocol-Version is not the revision that this session was begun with. Send that one, or initialize again."}
	errBusy = &message.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Reason: "busy",
		Message: "The gate has as much to do as it can take. Try again soon, with fewer or smaller requests at once."}
	errRate = &message.Error{Status: http.StatusTooManyRequests, Code: codeRate, Reason: "client-rate",
		Message: "This client asks more often than this server allows. Try again after the time that Retry-After says."}
	errToolRate = &message.Error{Status: http.StatusTooManyRequests, Code: codeRate, Reason: "tool-rate",
		Message: "This client calls this tool more often than this server allows. Try again after the time that Retry-After says."}
	errLate = &message.Error{Status: http.StatusGatewayTimeout, Code: codeLate, Reason: "upstream-timeout",
		Message: "The server took longer for its answer than it may, and was told to stop. Ask for less at once, or ask its owner for more time."}
	errGone = &message.Error{Status: statusClientGone, Code: codeRefused, Reason: "client-gone",
		Message: "The client went away."}
	errDraining = &message.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Reason: "draining",
		Message: "This gate is ending. Connect again."}
	errRevision = &message.Error{Status: http.StatusBadGateway, Code: codeServer, Reason: "upstream-revision",
		Message: "The server chose a revision of the protocol that is not accepted here."}
)

// statusClientGone is in the audit log for a client that went away before there was an answer; nobody is told it.
const statusClientGone = 499

// denied is the refusal for a decision.
func denied(d decision.Decision) *message.Error {
	if d.Reason == decision.ReasonUnknownMethod {
		return &message.Error{Status: http.StatusNotFound, Code: codeUnknownMethod, Reason: d.Reason,
			Message: "This method is not served here."}
	}
	e := &message.Error{Status: http.StatusForbidden, Code: codeDenied, Reason: d.Reason}
	switch d.Reason {
	case decision.ReasonNoRule, decision.ReasonExpired:
		e.Message = "No MCPAccessPolicy in force allows this client to use this server. Ask the server's owner for a rule that names the MCPClient."
	case decision.ReasonTool:
		e.Message = "No MCPAccessPolicy allows this client this tool. Ask the server's owner for a rule that allows it."
	case decision.ReasonPrompt:
		e.Message = "No MCPAccessPolicy allows this client this prompt. Ask the server's owner for a rule that allows it."
	case decision.ReasonResource:
		e.Message = "No MCPAccessPolicy allows this client this resource. Ask the server's owner for a rule that allows it."
	case decision.ReasonForbidden:
		e.Message = "This tool may not be called by anybody here: the server's owner forbids it."
	case decision.ReasonExpression:
		e.Message = "No MCPAccessPolicy allows this client this call with these arguments. Ask the server's owner for a rule that allows it."
	case decision.ReasonArguments:
		e.Message = "The arguments cannot be judged: numbers must be within 2^53, no member may be called __proto__, constructor or prototype, and no two names may differ only in case or punctuation."
	case decision.ReasonRate:
		e.Status, e.Code = http.StatusTooManyRequests, codeRate
		e.Message = "The rule that allows this client this call allows it less often. Try again after the time that Retry-After says."
	case decision.ReasonScope:
		e.Message = "The token lacks a scope that this needs. Ask its issuer for one with the scopes that the WWW-Authenticate header names."
	case decision.ReasonServerRequest:
		e.Message = "No MCPAccessPolicy lets the server ask this client anything, so it takes no inputResponses. Ask the server's owner for a rule with serverRequests."
	case decision.ReasonURI:
		e.Message = "This URI is not accepted: it must have no dot segments, encoded separators or user information."
	default:
		e.Message = "No MCPAccessPolicy allows this client this method. Ask the server's owner for a rule that allows it."
	}
	return e
}

// failed is the refusal for a failure of the server to answer.
func failed(f upstream.Failure) *message.Error {
	if f == upstream.Unreachable {
		return &message.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Reason: string(f),
			Message: "The server does not accept connections. Try again soon."}
	}
	return &message.Error{Status: http.StatusBadGateway, Code: codeServer, Reason: string(f),
		Message: "The server gave no answer that can be passed on. Its owner finds the reason in the gate's audit log."}
}

// refusedByServer is the server's own refusal, in our words.
func refusedByServer(m *message.Message, answer *upstream.Answer, min gateconfig.Revision) *message.Error {
	code, data := filter.Refusal(m, min, answer.Text)
	e := &message.Error{Status: answer.Status, Code: code, Message: filter.ErrorText(code), Reason: "server-refused"}
	if code == 0 {
		e.Code = codeServer
	}
	if data != nil {
		e.Data = json.RawMessage(data)
	}
	return e
}

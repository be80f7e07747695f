package gate

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/asked"
	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/filter"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

const (
	// maxReplies bounds the messages of the gate's own that are on their way to the server, replyTime the time that one takes.
	maxReplies = 64
	replyTime  = 10 * time.Second
	// reasonNoAnswer is for a request that the client could not answer: there is no session, or too many are under way.
	reasonNoAnswer = "no-answer"
)

// notDone is what the server is told when its client may not be asked: the client does not do it (JSON-RPC 2.0, section 5.1).
const notDone = `,"error":{"code":-32601,"message":"this client is not asked this"}}`

// asked is the exchange's session in the table of what the server asked.
func (x *exchange) asked() asked.Session {
	return asked.Session{Principal: x.principal.Name(), ID: x.session.ID}
}

// Ask makes an exchange the filter's Client. A request that may not pass is answered in the client's place, so that the server
// does not wait for an answer that nobody gives.
func (x *exchange) Ask(r filter.ServerRequest) bool {
	now := time.Now()
	allowed, reason := r.Decision.Allowed, r.Decision.Reason
	if allowed && r.ID != nil && (x.session.ID == "" || !x.gate.asked.Add(x.asked(), message.IDKey(r.ID), now)) {
		allowed, reason = false, reasonNoAnswer
	}
	record := audit.Record{
		Kind: audit.KindServerRequest, Time: now, Generation: x.granted.Generation, Source: x.record.Source, Client: x.record.Client,
		Issuer: x.record.Issuer, Subject: x.record.Subject, KeyID: x.record.KeyID, CertificateSerial: x.record.CertificateSerial,
		Method: r.Method, Decision: audit.Allowed, Rule: r.Decision.Rule, TraceID: x.record.TraceID,
	}
	if r.Asks.Host != "" {
		record.Targets = []audit.Target{{Kind: "host", Name: r.Asks.Host}}
	}
	if !allowed {
		record.Decision, record.Rule, record.Reason = audit.Denied, "", reason
	}
	if x.gate.log.Write(&record) != nil {
		allowed = false
	}
	kind := string(r.Asks.Kind)
	if kind == "" {
		kind = "other"
		if r.Method == "ping" {
			kind = "ping"
		}
	}
	x.gate.metrics.ServerRequest(kind, string(record.Decision))
	if allowed {
		return true
	}
	if reason != reasonNoAnswer {
		x.gate.denied.Add(kind, now)
	}
	if r.ID != nil && !x.gate.reply(x, r.ID) {
		x.stuck = true
	}
	return false
}

// Resumes makes an exchange a client that may go on with an earlier stream.
func (x *exchange) Resumes() bool { return x.lastEvent != "" }

// Withdraw implements filter.Client.
func (x *exchange) Withdraw(id []byte) bool {
	return len(id) > 0 && x.gate.asked.Take(x.asked(), message.IDKey(id), time.Now())
}

// reply tells the server that its request will not be answered by the client; false when that is not possible now.
func (g *Gate) reply(x *exchange, id []byte) bool {
	return g.tell(x, g.client, append(append([]byte(`{"jsonrpc":"2.0","id":`), id...), notDone...))
}

// takeBack tells the server of a session that nobody waits for the answer any more, where the call was ended before it had one: in
// the revisions with sessions, that the connection ends says nothing (MCP 2025-11-25, "Cancellation").
func (x *exchange) takeBack(ctx context.Context) {
	cause, m := context.Cause(ctx), x.message
	if cause == nil || m == nil || m.Kind != message.Request || m.Modern() || m.Method == "initialize" ||
		x.session.ID == "" || x.answered {
		return
	}
	var ended *message.Error
	if !errors.As(cause, &ended) {
		return // the gate itself ends
	}
	client := x.gate.client
	if x.listed != nil {
		client = x.listed.Client
	}
	x.gate.tell(x, client, append(append([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), x.id...), "}}"...))
}

// tell sends the server a message of the gate's own in the exchange's session; false when that is not possible now.
func (g *Gate) tell(x *exchange, client *upstream.Client, body []byte) bool {
	if g.replies.Add(1) > maxReplies {
		g.replies.Add(-1)
		return false
	}
	request := upstream.Request{
		Verb: http.MethodPost, Address: g.address(x.config), Path: x.gate.path(x.config), Principal: x.principal.Name(), SessionID: x.session.ID,
		Headers: http.Header{}, Body: body,
	}
	if x.session.Revision != "" {
		request.Headers[message.HeaderRevision] = []string{string(x.session.Revision)}
	}
	go func() {
		defer g.replies.Add(-1)
		ctx, cancel := context.WithTimeout(g.life, replyTime)
		defer cancel()
		answer, err := client.Do(ctx, request)
		if err == nil && answer.Body != nil {
			_ = answer.Body.Close()
		}
	}()
	return true
}

// takeAnswer says whether a legacy client's response is to a request that the server sent in this session.
func (x *exchange) takeAnswer() *message.Error {
	if !x.gate.asked.Take(x.asked(), message.IDKey(x.message.ID), time.Now()) {
		return errNotAsked
	}
	return nil
}

// untakeAnswer lets the client answer again, since the server has not had its response.
func (x *exchange) untakeAnswer() {
	if x.message != nil && x.message.Kind == message.Response {
		x.gate.asked.Add(x.asked(), message.IDKey(x.message.ID), time.Now())
	}
}

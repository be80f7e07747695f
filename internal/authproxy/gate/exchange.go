package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listing"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/session"
	"github.com/bartizan-dev/bartizan/internal/authproxy/trace"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// exchange is one request and its answer.
type exchange struct {
	gate *Gate
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController

	config *config.Generation
	record audit.Record
	// caller is the caller's trace context, inHeader says that the request's headers have one, and carrier is that one where the
	// message has another of its own. span is the gate's; nil where none is wanted.
	caller, carrier trace.Context
	inHeader        bool
	span            *trace.Span
	// refusal is the gate's answer where that is an error.
	refusal *message.Error
	// ctx is the call's; ends ends it with the credential, and when the server's answer is late, which is zero where it is never that.
	ctx  callContext
	ends *time.Timer
	late time.Time
	// metered is the use of a rule that was counted for the request.
	metered meteredUse

	principal identity.Principal
	// grants are the caller's by the generation granted, which is the one in force when something was judged last.
	grants  *decision.Grants
	granted *config.Generation
	// message is nil for GET and DELETE, and until it is judged to be one.
	message *message.Message
	// resumes stands for the call whose stream a GET goes on with; nil where there is none.
	resumes *message.Message
	// judged is the message as far as another verdict needs it, for as long as it is answered; kept is where it is.
	judged *message.Message
	kept   message.Message
	// id is the raw token of the request's id, known even of some messages that are refused; nil without one.
	id []byte
	// session is the server's own session; the zero Session without one.
	session session.Session
	// lastEvent is the server's own id of the event after which a stream is resumed.
	lastEvent string
	forward   http.Header
	// listed is the listing that the request was judged by; nil where pins are not enforced.
	listed *listing.Listed
	// brought are the handles of tasks in the message, by the server's own ids; digested is the message's Digest, once it is known.
	brought  map[string]string
	digested *[sha256.Size]byte
	// stuck says that the server waits for an answer which it cannot be given.
	stuck bool
	// body is the part of the memory that the request's body takes, served gives back its connection; nil without a slot.
	body   *limit.Hold
	served func()
	// attack says that the request has no accepted credential and is part of a verification that the operator announced.
	attack bool
	// answered says that the final answer was passed on.
	answered bool
}

func newExchange(g *Gate, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{gate: g, w: w, r: r, rc: http.NewResponseController(w), ctx: callContext{Context: context.Background()}, body: g.held.Hold("", 1)}
	x.config, _ = g.store.Current()
	x.caller, x.inHeader = trace.FromHeader(r.Header)
	x.record = audit.Record{
		Time: time.Now(), Source: r.RemoteAddr, Verb: r.Method, TraceID: x.caller.TraceID,
	}
	if x.config != nil {
		x.record.Generation = x.config.Generation
	}
	return x
}

// serve takes the request through the stages up to the server's answer.
func (x *exchange) serve() {
	if x.config == nil {
		x.refuse(audit.Refused, errNotReady)
		return
	}
	// It also bounds what net/http reads of a body that nobody reads.
	_ = x.rc.SetReadDeadline(time.Now().Add(x.gate.options.Timeouts.Body))
	if x.metadata() {
		return
	}
	if refusal := listener.Check(x.r, x.config); refusal != nil {
		x.refuse(audit.Refused, &message.Error{Status: refusal.Status, Code: codeRefused, Message: refusal.Text, Reason: refusal.Reason})
		return
	}
	if !x.authenticate() {
		return
	}
	if !x.withinRate() {
		return
	}
	if !x.gate.requests.Take(x.principal.Name()) {
		x.refuse(audit.Refused, errBusy)
		return
	}
	x.served = x.gate.connections.Serves(x.r.Context())
	var refusal *message.Error
	if x.r.Method == http.MethodPost {
		refusal = x.readMessage()
	} else {
		refusal = x.readVerb()
	}
	x.joinTrace()
	if refusal == nil {
		refusal = x.openSession()
	}
	if refusal == nil {
		refusal = x.openHandles()
	}
	if refusal != nil {
		x.refuse(audit.Refused, refusal)
		return
	}
	if refusal := x.approve(); refusal != nil {
		x.refuse(refusedAs(refusal), refusal)
		return
	}
	verdict := x.decide(x.config, time.Now())
	x.record.Rule = verdict.Rule
	if !verdict.Allowed {
		switch verdict.Reason {
		case decision.ReasonScope:
			x.challengeScopes(verdict.Scopes)
		case decision.ReasonRate:
			x.gate.metrics.Throttled("rule")
			x.retryAfter(verdict.Wait)
		}
		x.refuse(audit.Denied, denied(verdict))
		return
	}
	if !x.withinToolRate() {
		return
	}
	_ = x.rc.SetReadDeadline(time.Time{})
	x.pass()
}

// recover makes a defect of ours the end of one request, not of the gate. What was panicked with may be the caller's, so
// only its type is told.
func (x *exchange) recover() {
	v := recover()
	if v == nil {
		return
	}
	if x.record.Decision == "" {
		x.record.Decision, x.record.Reason = audit.Failed, "aborted"
		_ = x.gate.log.Write(&x.record) // there is no answer to keep back
	}
	if v != http.ErrAbortHandler {
		x.gate.say("a request was aborted by a defect of the gate; please report it", "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}

// release gives back what the request took.
func (x *exchange) release() {
	x.body.Release()
	if x.served != nil {
		x.served()
		x.gate.requests.Give(x.principal.Name())
	}
}

// forget lets go of the request's body once the server has it; an answer may be a stream that lasts.
func (x *exchange) forget() {
	if x.message == nil {
		return
	}
	x.id = bytes.Clone(x.id)
	x.message.ID = x.id
	x.message.Body, x.message.Arguments, x.message.Cancels = nil, x.keepForDigest(), nil
	x.message.TraceParent, x.message.TraceState = nil, nil
	if x.body.Grow(int64(len(x.judged.Arguments))) != nil {
		x.body.Release()
	}
}

// unknown stands for arguments that were not kept: no condition holds for them.
var unknown = []byte("?")

// remember keeps what a verdict about the message needs, should the policy change while it is answered. Others judge by it while
// the message is changed.
func (x *exchange) remember() {
	if x.message == nil {
		x.judged = x.resumes
		return
	}
	x.kept = *x.message
	x.judged = &x.kept
	x.kept.ID, x.kept.Body, x.kept.Cancels, x.kept.TraceParent, x.kept.TraceState = nil, nil, nil, nil, nil
	switch {
	case len(x.kept.Arguments) == 0:
	case x.grants.Conditional():
		x.kept.Arguments = bytes.Clone(x.kept.Arguments)
	default:
		x.kept.Arguments = unknown
	}
}

func (x *exchange) authenticate() bool {
	principal, failure := identity.Authenticate(x.r, x.config, time.Now(), x.mayFail)
	if failure == identity.TokenUnchecked || identity.ConnectionSpent(x.r, failure, time.Now()) {
		x.w.Header().Set("Connection", "close")
	}
	if failure != "" {
		x.attack = x.gate.announced.has(x.record.TraceID, x.record.Time)
		refusal := x.failedLogin(failure)
		if refusal == nil {
			refusal = x.unauthenticated(failure)
		}
		x.refuse(audit.Unauthenticated, refusal)
		return false
	}
	x.principal = principal
	if principal.Client == gateconfig.Operator {
		x.gate.announced.add(x.record.TraceID, x.record.Time)
	}
	x.body = x.gate.held.Hold(principal.Name(), 1)
	x.record.Client, x.record.KeyID, x.record.CertificateSerial = principal.ClientName(), principal.KeyID, principal.CertificateSerial
	if principal.Token != nil {
		x.record.Issuer, x.record.Subject = principal.Token.Issuer.Name, principal.Token.Subject
	}
	if principal.KeyID != "" {
		x.gate.usage.Used(principal.KeyID, x.record.Time)
	}
	return true
}

// readMessage reads a POST.
func (x *exchange) readMessage() *message.Error {
	bound := x.config.Limits.RequestBytes
	if x.r.ContentLength > bound {
		return errTooLarge
	}
	body, err := x.body.Read(x.r.Body, x.r.ContentLength, bound)
	x.record.RequestBytes = int64(len(body))
	switch {
	case errors.Is(err, limit.ErrBusy):
		return errBusy
	case errors.Is(err, limit.ErrSize):
		return errTooLarge
	case err != nil:
		return errUnread
	}
	if refusal := listener.CheckRead(x.r); refusal != nil {
		return &message.Error{Status: refusal.Status, Code: codeRefused, Message: refusal.Text, Reason: refusal.Reason}
	}
	read, refusal := message.Read(body, x.config.Limits)
	x.id = read.ID
	if refusal != nil {
		return refusal
	}
	x.message = &read
	x.record.Method = read.Method
	for _, target := range read.Targets {
		x.record.Targets = append(x.record.Targets, audit.Target{Kind: targetKinds[target.Kind], Name: target.Name})
	}
	x.recordArguments()
	x.forward, refusal = read.CheckHeaders(x.r.Header, x.config.Upstream.MinRevision)
	return refusal
}

// revision is the one that the message is in, as far as it is known.
func (x *exchange) revision() gateconfig.Revision {
	if x.message != nil && x.message.Modern() {
		return x.message.Revision
	}
	if x.session.Revision != "" {
		return x.session.Revision
	}
	return gateconfig.Revision(x.r.Header.Get(message.HeaderRevision))
}

// recordArguments puts into the audit record what the server's owner wants there of the arguments.
func (x *exchange) recordArguments() {
	if len(x.message.Arguments) == 0 {
		return
	}
	switch x.config.Audit.Arguments {
	case gateconfig.ArgumentsHash:
		x.record.ArgumentsHash = x.gate.hasher.Hash(x.message.Arguments)
	case gateconfig.ArgumentsFull:
		x.record.Arguments = audit.Redact(x.message.Arguments, x.config.Limits.Depth, x.config.Audit.Redact)
	}
}

var targetKinds = map[message.TargetKind]string{
	message.NoTarget: "none", message.Tool: "tool", message.Prompt: "prompt", message.Resource: "resource", message.Template: "template",
}

// readVerb reads a GET or DELETE, which only sessions have.
func (x *exchange) readVerb() *message.Error {
	if x.config.Upstream.MinRevision >= gateconfig.Revision20260728 ||
		gateconfig.Revision(x.r.Header.Get(message.HeaderRevision)) >= gateconfig.Revision20260728 {
		x.w.Header().Set("Allow", http.MethodPost)
		return errVerb
	}
	// Their headers are those of a legacy message that has a session.
	stand := message.Message{Kind: message.Request, Method: "ping"}
	var refusal *message.Error
	x.forward, refusal = stand.CheckHeaders(x.r.Header, x.config.Upstream.MinRevision)
	return refusal
}

// openSession opens the handles of a legacy session. The stateless revisions have none, so theirs are left behind.
func (x *exchange) openSession() *message.Error {
	if x.message != nil && x.message.Modern() {
		return nil
	}
	sealed := x.r.Header.Get("Mcp-Session-Id")
	if _, ok := x.r.Header["Mcp-Session-Id"]; !ok {
		if x.message != nil && x.message.Kind == message.Response {
			return errNoSession
		}
	} else {
		opened, err := x.gate.sessions.OpenSession(x.principal.Name(), sealed)
		if err != nil {
			return errSession
		}
		if refusal := x.resume(opened); refusal != nil {
			return refusal
		}
	}
	if event := x.r.Header.Get("Last-Event-Id"); event != "" && x.r.Method == http.MethodGet {
		id, about, err := x.gate.sessions.OpenEvent(x.principal.Name(), x.session.ID, event)
		if err != nil || !x.goesOn(about) {
			return errSession
		}
		x.lastEvent = id
	}
	return nil
}

// resume takes the session for the request's, which is in the session's revision and no other.
func (x *exchange) resume(opened session.Session) *message.Error {
	if !message.Accepted(opened.Revision, x.config.Upstream.MinRevision) {
		return message.RefuseRevision(opened.Revision, x.config.Upstream.MinRevision)
	}
	if header, ok := x.r.Header[message.HeaderRevision]; ok && header[0] != string(opened.Revision) {
		return errSessionRevision
	}
	if !x.gate.stillServes(opened.Process, x.config) {
		return errSession
	}
	x.session = opened
	x.forward[message.HeaderRevision] = []string{string(opened.Revision)}
	return nil
}

// decide judges the request by a generation of the configuration.
func (x *exchange) decide(g *config.Generation, now time.Time) decision.Decision {
	x.grants, x.granted = x.principal.Grants(g), g
	return x.grants.Decide(judged(x.subject()), now, x)
}

// subject is what a verdict is about; nil for what is about the session alone.
func (x *exchange) subject() *message.Message {
	if x.message != nil {
		return x.message
	}
	return x.resumes
}

// pass sends the request to the server and passes its answer on.
func (x *exchange) pass() {
	// The call is not tied to the caller's connection: in the legacy revisions a disconnect is not a cancel.
	ctx := &x.ctx
	defer ctx.end(context.Canceled)
	defer x.takeBack(ctx)
	defer x.gate.follow(x)()
	x.remember()
	defer x.gate.watch(x)()
	if x.principal.KeyID != "" && !x.standing() {
		defer x.gate.usage.Open(x.principal.KeyID)()
	}

	request := upstream.Request{
		Verb: x.r.Method, Address: x.gate.address(x.config), Path: x.gate.path(x.config),
		Principal: x.principal.Name(), Headers: x.forward, SessionID: x.session.ID, LastEventID: x.lastEvent,
	}
	request.TraceParent, request.TraceState = x.traceContext()
	if x.message != nil {
		request.Body = x.message.Body
	}
	answer, err := x.call(ctx, request)
	x.forget()
	if err != nil {
		x.fail(ctx, err)
		return
	}
	if answer.Body != nil {
		defer answer.Body.Close()
	}
	x.answer(ctx, answer)
}

// fail answers when the server did not.
func (x *exchange) fail(ctx context.Context, err error) {
	x.untakeAnswer()
	var ended *message.Error
	if errors.As(context.Cause(ctx), &ended) || errors.As(err, &ended) {
		x.refuse(audit.Failed, ended)
		return
	}
	var failure upstream.Failure
	if !errors.As(err, &failure) {
		failure = upstream.Broken
	}
	x.refuse(audit.Failed, failed(failure))
}

// refuse answers with an error of ours.
func (x *exchange) refuse(d audit.Decision, e *message.Error) {
	x.record.Reason, x.refusal = e.Reason, e
	switch {
	case e.Status == http.StatusUnauthorized:
		x.challenge(e)
	case e == errBusy:
		x.w.Header().Set("Retry-After", "1")
	}
	x.send(d, e.Status, "application/json", e.JSON(x.id))
}

// send answers with a whole body; the audit log has it first.
func (x *exchange) send(d audit.Decision, status int, contentType string, body []byte) {
	length := int64(len(body))
	x.record.AnswerBytes = &length
	h := x.w.Header()
	if contentType != "" {
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	x.begin(d, status)
	if len(body) == 0 {
		return
	}
	if _, err := x.w.Write(body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// The values of headers that all answers have; nobody changes them.
var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// begin writes the audit line, and then the head of the answer. Without the one there is not the other.
func (x *exchange) begin(d audit.Decision, status int) {
	x.record.Decision, x.record.Status = d, status
	x.record.DurationMicroseconds = time.Since(x.record.Time).Microseconds()
	if err := x.gate.log.Write(&x.record); err != nil {
		panic(http.ErrAbortHandler)
	}
	x.record.Arguments = nil
	h := x.w.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
	_ = x.rc.SetWriteDeadline(time.Now().Add(x.gate.options.Timeouts.Write))
	x.w.WriteHeader(status)
}

func (x *exchange) write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	_ = x.rc.SetWriteDeadline(time.Now().Add(x.gate.options.Timeouts.Write))
	return x.w.Write(p)
}

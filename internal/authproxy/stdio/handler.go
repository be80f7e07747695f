package stdio

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

const (
	// maxBody bounds a message of a caller, in bytes: the largest that a gate can be told to take.
	maxBody = 64 << 20
	// codeLegacy is what servers without the stateless revisions answer to them; clients then fall back to a handshake.
	codeLegacy = -32000
	// codeParse and codeInvalid are JSON-RPC's.
	codeParse   = -32700
	codeInvalid = -32600
)

const (
	headerSession  = "Mcp-Session-Id"
	headerRevision = "Mcp-Protocol-Version"
)

// ServeHTTP answers one request of the gate, which says who calls.
func (b *Bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange{b: b, w: w, r: r}
	named := r.Header[upstream.HeaderPrincipal]
	if len(named) != 1 {
		x.refuse(http.StatusBadRequest, codeInvalid, "it is not said who calls")
		return
	}
	var err error
	if x.principal, err = upstream.DecodePrincipal(named[0]); err != nil {
		x.refuse(http.StatusBadRequest, codeInvalid, "it is not said who calls")
		return
	}
	switch {
	case r.Method == http.MethodPost:
		x.post()
	case b.options.Stateful && r.Method == http.MethodGet:
		x.listen()
	case b.options.Stateful && r.Method == http.MethodDelete:
		x.delete()
	default:
		w.Header().Set("Allow", http.MethodPost)
		x.refuse(http.StatusMethodNotAllowed, codeInvalid, "there is no such stream")
	}
}

// exchange is one request of the gate.
type exchange struct {
	b         *Bridge
	w         http.ResponseWriter
	r         *http.Request
	principal string
	m         message
	begun     bool
}

func (x *exchange) post() {
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	if err != nil {
		x.refuse(http.StatusRequestEntityTooLarge, codeInvalid, "the message cannot be read")
		return
	}
	// The gate has judged it, so this only ever fails for what no gate sent.
	s := strictjson.New(body, depth)
	s.AnyText()
	s.Skip()
	err = s.End()
	s.Release()
	if err == nil {
		x.m, err = parse(compact(body))
	}
	if err != nil {
		x.refuse(http.StatusBadRequest, codeParse, "the message cannot be read")
		return
	}
	modern := x.m.modern >= firstModern || !x.m.request() && x.r.Header.Get(headerRevision) >= firstModern
	switch {
	case modern && x.m.request():
		x.modern()
	case modern:
		// A caller cancels by hanging up, and there is nothing else that it could tell.
		x.w.WriteHeader(http.StatusAccepted)
	case x.m.method == "initialize" && x.m.request():
		x.initialize()
	case x.b.options.Stateful:
		x.inSession()
	default:
		x.stateless()
	}
}

// modern passes a request of a stateless revision on.
func (x *exchange) modern() {
	if !x.b.modern {
		x.refuse(http.StatusBadRequest, codeLegacy, "the server speaks no stateless revision; begin with initialize")
		return
	}
	c, release := x.child("modern", mode{shared: x.b.options.Shared, modern: true})
	if c == nil {
		return
	}
	defer release()
	x.call(c, nil)
}

// initialize answers a handshake: that of the child, made once.
func (x *exchange) initialize() {
	o := x.b.options
	own := o.Shared || !o.Stateful
	hello := &x.m
	handshake := "legacy " + x.m.version
	if !own {
		// Who opens alike can share a child; who can be asked something else cannot.
		handshake += " " + string(x.m.capabilities.of(x.m.line))
	}
	c, release := x.child(handshake, mode{shared: o.Shared, asks: o.Stateful && !o.Shared})
	if c == nil {
		return
	}
	defer release()
	if own {
		hello = x.b.hello(x.m.version)
	}
	answer, err := c.greet(x.r.Context(), hello, own)
	if err != nil {
		x.unavailable(err)
		return
	}
	if o.Stateful && answer.result.there() {
		s, err := x.b.sessions.begin(x.principal, c)
		if err != nil {
			x.unavailable(err)
			return
		}
		x.w.Header().Set(headerSession, s.id)
	}
	x.json(http.StatusOK, oneLine(answer.spliced(change{answer.id, x.m.id.of(x.m.line)})))
}

// inSession handles a message in a legacy session.
func (x *exchange) inSession() {
	s := x.session()
	if s == nil {
		return
	}
	release, ok := s.child.use()
	if !ok {
		x.refuse(http.StatusNotFound, codeInvalid, "there is no such session")
		return
	}
	defer release()
	c := s.child
	switch {
	case x.m.request():
		x.call(c, s)
		return
	case x.m.response():
		c.answered(s, &x.m)
	case x.m.method == "notifications/initialized":
		c.confirm()
	case x.m.method == "notifications/cancelled":
		if k := c.find(s, x.m.cancels.of(x.m.line)); k != nil {
			c.cancel(k)
		}
	case c.shared:
		// It is about one of several callers, and the child could not tell which.
	default:
		x.tell(c)
	}
	x.w.WriteHeader(http.StatusAccepted)
}

// tell passes a notification on. A progress token in it is the child's own, of a request of the child.
func (x *exchange) tell(c *child) {
	if c.send(x.m.line) != nil {
		c.broken("it does not read its input")
	}
}

// stateless handles a legacy message of a server without sessions, any of whose children answers any request.
func (x *exchange) stateless() {
	if !x.m.request() {
		x.w.WriteHeader(http.StatusAccepted)
		return
	}
	revision := x.r.Header.Get(headerRevision)
	if revision == "" {
		x.refuse(http.StatusBadRequest, codeInvalid, "the revision of the protocol is not said")
		return
	}
	c, release := x.child("legacy "+revision, mode{shared: x.b.options.Shared})
	if c == nil {
		return
	}
	defer release()
	answer, err := c.greet(x.r.Context(), x.b.hello(revision), true)
	switch {
	case err != nil:
		x.unavailable(err)
	case !answer.result.there():
		x.refuse(http.StatusBadRequest, codeInvalid, "the server does not speak this revision")
	default:
		x.call(c, nil)
	}
}

// listen is the stream of what the child tells and asks outside of calls.
func (x *exchange) listen() {
	s := x.session()
	if s == nil {
		return
	}
	release, ok := s.child.use()
	if !ok {
		x.refuse(http.StatusNotFound, codeInvalid, "there is no such session")
		return
	}
	defer release()
	s.child.mu.Lock()
	twice := s.listening
	s.listening = true
	s.child.mu.Unlock()
	if twice {
		x.refuse(http.StatusConflict, codeInvalid, "the session has this stream already")
		return
	}
	defer func() {
		s.child.mu.Lock()
		s.listening, s.used = false, time.Now()
		s.child.mu.Unlock()
	}()
	x.begin()
	x.events(s.stream, nil)
}

func (x *exchange) delete() {
	if s := x.session(); s != nil {
		x.b.sessions.end(s)
		x.w.WriteHeader(http.StatusNoContent)
	}
}

// session is the caller's session; nil after a refusal.
func (x *exchange) session() *session {
	id := x.r.Header.Get(headerSession)
	if id == "" {
		x.refuse(http.StatusBadRequest, codeInvalid, "a session is needed: begin with initialize")
		return nil
	}
	s := x.b.sessions.find(x.principal, id)
	if s == nil {
		x.refuse(http.StatusNotFound, codeInvalid, "there is no such session")
	}
	return s
}

// child is the caller's child for a kind of handshake, in use; nil after a refusal.
func (x *exchange) child(kind string, m mode) (*child, func()) {
	who := key{x.principal, kind}
	if x.b.options.Shared {
		who.principal = ""
	}
	c, release, err := x.b.pool.get(x.r.Context(), who, m)
	if err != nil {
		x.unavailable(err)
		return nil, nil
	}
	return c, release
}

// unavailable answers when there is no child to answer.
func (x *exchange) unavailable(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	x.w.Header().Set("Retry-After", "1")
	text := "the server's process cannot be started"
	for _, known := range []error{errFull, errPause, errEnd, errGone, errSessions} {
		if errors.Is(err, known) {
			text = known.Error()
		}
	}
	x.refuse(http.StatusServiceUnavailable, codeInternal, text)
}

// refuse answers with an error of ours.
func (x *exchange) refuse(status, code int, text string) {
	var id []byte
	if x.m.request() {
		id = x.m.id.of(x.m.line)
	}
	x.json(status, failed(id, code, text))
}

// perCaller are the methods that set something for one caller, which a child that answers others too cannot keep apart.
func perCaller(method string) bool {
	return method == "logging/setLevel" || strings.HasPrefix(method, "resources/") && strings.HasSuffix(method, "subscribe")
}

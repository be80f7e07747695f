package gate

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/filter"
	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/session"
	"github.com/bartizan-dev/bartizan/internal/authproxy/sse"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

const (
	// maxAnswer bounds an answer that is one JSON document, and the data of an event, in bytes; copies is how many there are
	// of it while it is filtered.
	maxAnswer = 16 << 20
	copies    = 2
	// maxBefore bounds what comes before the answer to an initialize, in bytes.
	maxBefore = 16 << 10
	// maxOrphaned bounds what is still read of an answer whose client went away, in bytes.
	maxOrphaned = 64 << 20
)

// errStream is the cause of an answer that is ended because the server's stream cannot be passed on.
var errStream = failed(upstream.BadAnswer)

// answer passes the server's answer on.
func (x *exchange) answer(ctx context.Context, answer *upstream.Answer) {
	asks := x.message != nil && x.message.Kind == message.Request
	switch {
	case answer.Kind == upstream.Refusal:
		if answer.Status == http.StatusMethodNotAllowed {
			x.w.Header().Set("Allow", http.MethodPost)
		}
		x.refuse(audit.Allowed, refusedByServer(x.message, answer, x.config.Upstream.MinRevision))
	case x.message != nil && !asks:
		// A notification or response is taken or not; there is nothing to say about it.
		x.send(audit.Allowed, http.StatusAccepted, "", nil)
	case answer.Kind == upstream.Empty && asks, answer.Kind == upstream.Empty && x.r.Method == http.MethodGet:
		x.refuse(audit.Failed, errStream)
	case answer.Kind == upstream.Empty:
		if x.r.Method == http.MethodDelete {
			x.gate.asked.End(x.asked())
		}
		x.send(audit.Allowed, answer.Status, "", nil)
	case answer.Kind == upstream.Stream:
		x.stream(ctx, answer)
	default:
		x.json(ctx, answer)
	}
}

// beginSession judges the server's answer to a legacy initialize and hands out the session that it began. No other answer
// gives one out.
func (x *exchange) beginSession(answer []byte, id string) *message.Error {
	chosen, err := filter.Revision(answer)
	switch {
	case err != nil:
		return errStream
	case chosen == "":
		// The server refused.
		return nil
	case !message.Accepted(chosen, x.config.Upstream.MinRevision) || chosen >= gateconfig.Revision20260728:
		return errRevision
	case id == "":
		return nil
	}
	x.session = session.Session{ID: id, Revision: chosen, Process: x.gate.serves(x.config)}
	sealed, err := x.gate.sessions.SealSession(x.principal.Name(), x.session)
	if err != nil {
		return errStream
	}
	x.w.Header().Set("Mcp-Session-Id", sealed)
	return nil
}

// initializes says whether the answer may begin a session.
func (x *exchange) initializes() bool {
	return x.message != nil && x.message.Method == "initialize" && !x.message.Modern()
}

// json passes an answer on that is one JSON document, read as a whole.
func (x *exchange) json(ctx context.Context, answer *upstream.Answer) {
	hold := x.gate.held.Hold(x.principal.Name(), copies)
	defer hold.Release()
	body, err := hold.Read(answer.Body, answer.Length, maxAnswer)
	switch {
	case errors.Is(err, limit.ErrBusy):
		x.refuse(audit.Failed, errBusy)
		return
	case errors.Is(err, limit.ErrSize):
		x.fail(ctx, upstream.BadLength)
		return
	case err != nil:
		x.fail(ctx, upstream.Broken)
		return
	}
	now := time.Now()
	g, ok := x.renew(now)
	if !ok {
		x.refuse(audit.Failed, errRevoked)
		return
	}
	stream := filter.NewStream(x.message, x.grants, g.Upstream.MinRevision)
	stream.Client = x
	filtered, err := stream.Event(now, body)
	if err == nil {
		filtered, err = x.define(x.message, g, filtered)
	}
	if errors.Is(err, filter.ErrDenied) {
		x.refuse(audit.Denied, errServerRequest)
		return
	}
	if err != nil || !stream.Final() {
		x.refuse(audit.Failed, errStream)
		return
	}
	if x.initializes() {
		if refusal := x.beginSession(filtered, answer.SessionID); refusal != nil {
			x.refuse(audit.Failed, refusal)
			return
		}
	}
	x.send(audit.Allowed, http.StatusOK, "application/json", filtered)
}

// beginStream begins an answer that is a stream.
func (x *exchange) beginStream() {
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	x.begin(audit.Allowed, http.StatusOK)
}

// stream passes a stream on, event by event. The one in answer to an initialize begins with the final answer: until then it
// is not known which session there is.
func (x *exchange) stream(ctx context.Context, answer *upstream.Answer) {
	out := &output{x: x, waits: x.initializes()}
	if out.waits && answer.SessionID != "" {
		// Ids of events may come before the answer that begins the session.
		x.session.ID = answer.SessionID
	}
	if !out.waits {
		x.beginStream()
		if err := out.Flush(); err != nil {
			x.cut(ctx, err)
		}
	}
	hold := x.gate.held.Hold(x.principal.Name(), copies)
	defer hold.Release()
	resumable := false
	rewrite := sse.Rewrite{MaxEvent: maxAnswer, Data: x.events(out, answer.SessionID), Reserve: func(n int64) error {
		if hold.Grow(n) != nil {
			return errBusy
		}
		return nil
	}}
	if x.message == nil || !x.message.Modern() {
		rewrite.ID = func(id string) (string, error) {
			resumable = true
			return x.gate.sessions.SealEvent(x.principal.Name(), x.session.ID, id, x.about())
		}
	}
	err := sse.Copy(out, answer.Body, rewrite)
	if err == nil && !out.gone && !x.ended(resumable) {
		err = errStream
	}
	late := err != nil && context.Cause(ctx) == error(errLate)
	if late {
		err = errLate
	}
	var refusal *message.Error
	switch {
	case err == nil && !out.gone:
	case late && x.answered && !out.gone:
		// The caller has its answer, and the server went on with something that is none.
		x.gate.metrics.Cut(errLate.Reason)
	case out.waits && errors.As(err, &refusal):
		x.refuse(audit.Failed, refusal)
	case out.waits:
		x.fail(ctx, upstream.Broken)
	case errors.Is(context.Cause(ctx), errDraining):
		// The end of a stream that belongs to no call; its client opens another, elsewhere.
	case errors.As(err, &refusal) && (late || context.Cause(ctx) == nil) && x.message != nil && !x.answered && !out.gone:
		// The caller waits for an answer to its id, so it gets ours: no data of the server's event has been written.
		x.gate.metrics.Cut(refusal.Reason)
		x.record.Reason = refusal.Reason
		_, _ = out.Write(append(append([]byte("data: "), refusal.JSON(x.id)...), "\n\n"...))
		_ = out.Flush()
	default:
		x.cut(ctx, err)
	}
}

// ended says whether a stream that the server ended well may end there: a call's has the final answer, except that one
// with event ids is resumed for it, and the stream of a subscription may end.
func (x *exchange) ended(resumable bool) bool {
	switch {
	case x.message == nil || x.answered || x.message.Method == "subscriptions/listen":
		return true
	case x.message.Modern() || x.initializes():
		return false
	}
	return resumable
}

// events returns the filter for the events of the answer. A stream outlives generations of the configuration: each event is
// filtered by the one in force.
func (x *exchange) events(out *output, sessionID string) func([]byte) ([]byte, error) {
	if x.message == nil {
		return func(data []byte) ([]byte, error) {
			now := time.Now()
			g, ok := x.renew(now)
			if !ok {
				return nil, errRevoked
			}
			filtered, err := filter.AnswerTo(x, nil, x.grants, g.Upstream.MinRevision, now, data)
			if err != nil || x.stuck {
				return nil, errStream
			}
			if filtered, err = x.define(nil, g, filtered); err != nil {
				return nil, errStream
			}
			return filtered, nil
		}
	}
	stream := filter.NewStream(x.message, x.grants, x.config.Upstream.MinRevision)
	stream.Client = x
	return func(data []byte) ([]byte, error) {
		now := time.Now()
		g, ok := x.renew(now)
		if !ok {
			return nil, errRevoked
		}
		stream.Renew(x.grants, g.Upstream.MinRevision)
		filtered, err := stream.Event(now, data)
		if err == nil {
			filtered, err = x.define(x.message, g, filtered)
		}
		switch {
		case errors.Is(err, filter.ErrDenied):
			return nil, errServerRequest
		case err != nil || x.stuck:
			return nil, errStream
		}
		x.answered = stream.Final()
		if x.answered && out.waits {
			if refusal := x.beginSession(filtered, sessionID); refusal != nil {
				return nil, refusal
			}
			x.beginStream()
			if err := out.proceed(); err != nil {
				return nil, err
			}
		}
		return filtered, nil
	}
}

// cut ends an answer that has begun so that the caller sees that it is not whole.
func (x *exchange) cut(ctx context.Context, err error) {
	reason := "upstream-broken"
	var cause *message.Error
	switch {
	case errors.As(context.Cause(ctx), &cause), errors.As(err, &cause):
		reason = cause.Reason
	case x.r.Context().Err() != nil:
		reason = errGone.Reason
	}
	x.gate.metrics.Cut(reason)
	x.record.Reason = reason
	panic(http.ErrAbortHandler)
}

// output writes to the caller. Where a call goes on without its caller, what comes is counted and dropped.
type output struct {
	x       *exchange
	gone    bool
	dropped int
	// waits says that the answer has not begun; before is what it will begin with.
	waits  bool
	before []byte
}

var errDropped = errors.New("too much for a caller that went away")

func (o *output) Write(p []byte) (int, error) {
	if o.waits {
		if len(o.before)+len(p) > maxBefore {
			return 0, errStream
		}
		o.before = append(o.before, p...)
		return len(p), nil
	}
	if !o.gone {
		n, err := o.x.write(p)
		if err == nil {
			return n, nil
		}
		if !o.x.outlives() {
			return n, err
		}
		o.gone = true
	}
	if o.dropped += len(p); o.dropped > maxOrphaned {
		return 0, errDropped
	}
	return len(p), nil
}

// proceed writes what waited.
func (o *output) proceed() error {
	o.waits = false
	_, err := o.Write(o.before)
	o.before = nil
	return err
}

func (o *output) Flush() error {
	if o.gone || o.waits {
		return nil
	}
	if err := o.x.rc.Flush(); err != nil {
		if !o.x.outlives() {
			return err
		}
		o.gone = true
	}
	// The bound is on writing. In HTTP/2 it would end a stream on which nothing is written, too.
	_ = o.x.rc.SetWriteDeadline(time.Time{})
	return nil
}

// outlives says whether the call goes on when its caller goes away: in the legacy revisions a disconnect is no cancel.
func (x *exchange) outlives() bool {
	return x.message != nil && !x.message.Modern()
}

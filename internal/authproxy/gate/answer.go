package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/filter"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/sse"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

const (
	// maxFiltered bounds an answer, or an event, that is read as a whole, in bytes.
	maxFiltered = 16 << 20
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
		x.refuse(audit.Allowed, refusedByServer(answer))
	case x.message != nil && !asks:
		// A notification or response is taken or not; there is nothing to say about it.
		x.send(audit.Allowed, http.StatusAccepted, "", nil)
	case answer.Kind == upstream.Empty && asks, answer.Kind == upstream.Empty && x.r.Method == http.MethodGet:
		x.refuse(audit.Failed, errStream)
	case answer.Kind == upstream.Empty:
		x.send(audit.Allowed, answer.Status, "", nil)
	default:
		if refusal := x.giveSession(answer); refusal != nil {
			x.refuse(audit.Failed, refusal)
			return
		}
		if answer.Kind == upstream.Stream {
			x.stream(ctx, answer)
			return
		}
		x.json(ctx, answer)
	}
}

// giveSession hands out the session that the server began. No other answer gives one out.
func (x *exchange) giveSession(answer *upstream.Answer) *message.Error {
	if x.message == nil || x.message.Modern() || x.message.Method != "initialize" || answer.SessionID == "" {
		return nil
	}
	sealed, err := x.gate.sessions.SealSession(x.principal.Name(), answer.SessionID)
	if err != nil {
		return errStream
	}
	x.session = answer.SessionID
	x.w.Header().Set("Mcp-Session-Id", sealed)
	return nil
}

func (x *exchange) json(ctx context.Context, answer *upstream.Answer) {
	if filter.Needed(x.message) {
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxFiltered+1))
		switch {
		case err != nil:
			x.fail(ctx, upstream.Broken)
			return
		case len(body) > maxFiltered:
			x.fail(ctx, upstream.BadLength)
			return
		}
		filtered, refusal := x.filter(time.Now(), body)
		if refusal == nil && filtered == nil {
			refusal = errStream
		}
		if refusal != nil {
			x.w.Header().Del("Mcp-Session-Id")
			x.refuse(audit.Failed, refusal)
			return
		}
		x.send(audit.Allowed, http.StatusOK, "application/json", filtered)
		return
	}
	x.w.Header().Set("Content-Type", "application/json")
	if answer.Length >= 0 {
		x.record.AnswerBytes = &answer.Length
		x.w.Header().Set("Content-Length", strconv.FormatInt(answer.Length, 10))
	}
	x.begin(audit.Allowed, http.StatusOK)
	out := &output{x: x}
	if _, err := io.Copy(out, answer.Body); err != nil || out.gone {
		x.cut(ctx, err)
	}
}

// filter filters an answer that is read as a whole.
func (x *exchange) filter(now time.Time, body []byte) ([]byte, *message.Error) {
	filtered, err := filter.Answer(x.message, x.grants, now, body)
	if err != nil {
		return nil, errStream
	}
	if refusal := x.checkRevision(filtered); refusal != nil {
		return nil, refusal
	}
	return filtered, nil
}

// checkRevision judges the revision that the server chose in answer to a legacy initialize.
func (x *exchange) checkRevision(answer []byte) *message.Error {
	if x.message == nil || x.message.Method != "initialize" {
		return nil
	}
	chosen, err := filter.Revision(answer)
	if err != nil {
		return errStream
	}
	if chosen != "" && chosen < x.config.Upstream.MinRevision {
		return errRevision
	}
	return nil
}

func (x *exchange) stream(ctx context.Context, answer *upstream.Answer) {
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	x.begin(audit.Allowed, http.StatusOK)
	out := &output{x: x}
	if err := out.Flush(); err != nil {
		x.cut(ctx, err)
	}
	rewrite := sse.Rewrite{MaxEvent: maxFiltered}
	if x.message == nil || !x.message.Modern() {
		rewrite.ID = func(id string) (string, error) {
			return x.gate.sessions.SealEvent(x.principal.Name(), x.session, id)
		}
	}
	if filter.Needed(x.message) {
		rewrite.Data = x.events()
	}
	err := sse.Copy(out, answer.Body, rewrite)
	var refusal *message.Error
	switch {
	case err == nil && !out.gone:
	case errors.Is(context.Cause(ctx), errDraining):
		// The end of a stream that belongs to no call; its client opens another, elsewhere.
	case errors.As(err, &refusal) && x.message != nil && rewrite.Data != nil && !out.gone:
		// The caller waits for an answer to its id, so it gets ours: no event of the server has begun.
		x.gate.metrics.Cut(refusal.Reason)
		_, _ = out.Write(append(append([]byte("data: "), refusal.JSON(x.message.ID)...), "\n\n"...))
		_ = out.Flush()
	default:
		x.cut(ctx, err)
	}
}

// events returns the filter for the events of the answer.
func (x *exchange) events() func([]byte) ([]byte, error) {
	if x.message == nil {
		// The stream outlives generations of the configuration: each event is filtered by the one in force.
		return func(data []byte) ([]byte, error) {
			g, _ := x.gate.store.Current()
			now := time.Now()
			grants := g.Table.For(x.principal.Name())
			if !grants.Live(now) {
				return nil, errRevoked
			}
			filtered, err := filter.Answer(nil, grants, now, data)
			if err != nil {
				return nil, errStream
			}
			return filtered, nil
		}
	}
	stream := filter.NewStream(x.message, x.grants)
	return func(data []byte) ([]byte, error) {
		filtered, err := stream.Event(time.Now(), data)
		if err != nil {
			return nil, errStream
		}
		if stream.Final() {
			if refusal := x.checkRevision(filtered); refusal != nil {
				return nil, refusal
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
	panic(http.ErrAbortHandler)
}

// output writes to the caller. Where a call goes on without its caller, what comes is counted and dropped.
type output struct {
	x       *exchange
	gone    bool
	dropped int
}

var errDropped = errors.New("too much for a caller that went away")

func (o *output) Write(p []byte) (int, error) {
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

func (o *output) Flush() error {
	if o.gone {
		return nil
	}
	if err := o.x.rc.Flush(); err != nil {
		if !o.x.outlives() {
			return err
		}
		o.gone = true
	}
	return nil
}

// outlives says whether the call goes on when its caller goes away: in the legacy revisions a disconnect is no cancel.
func (x *exchange) outlives() bool {
	return x.message != nil && !x.message.Modern()
}

package stdio

import (
	"context"
	"net/http"
	"strconv"
)

// call has a child answer a request: as one JSON document, or as a stream when the child has something to say before.
func (x *exchange) call(c *child, s *session) {
	if (c.shared || !c.asks && !c.modern) && perCaller(x.m.method) {
		x.refuse(http.StatusOK, codeNoMethod, "the server does not offer this")
		return
	}
	k, err := c.call(&x.m, s)
	if err != nil {
		x.unavailable(err)
		return
	}
	stop := context.AfterFunc(x.r.Context(), func() { c.cancel(k) })
	defer stop()
	x.events(k.mailbox, k)
}

// events writes what comes into a mailbox, until its end or the caller's. k is the call that it answers; nil for a stream
// outside of calls.
func (x *exchange) events(box *mailbox, k *call) {
	for {
		select {
		case <-box.news:
		case <-x.r.Context().Done():
			return
		}
		waiting, final, code, ended := box.take()
		if !x.begun && k != nil && ended && len(waiting) == 0 && final != nil {
			x.json(x.status(code), final)
			return
		}
		for _, line := range waiting {
			if !x.event(line) {
				return
			}
		}
		if ended && final != nil && !x.event(final) {
			return
		}
		if x.begun && http.NewResponseController(x.w).Flush() != nil {
			return
		}
		if ended {
			if !x.begun {
				x.begin()
			}
			return
		}
	}
}

// status is the one that the stateless revisions have for an error; the others have none.
func (x *exchange) status(code int64) int {
	if x.m.modern < firstModern {
		return http.StatusOK
	}
	switch code {
	case -32601:
		return http.StatusNotFound
	case -32020, -32021, -32022:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// begin begins a stream of events.
func (x *exchange) begin() {
	x.begun = true
	x.w.Header().Set("Content-Type", "text/event-stream")
	x.w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(x.w).Flush()
}

func (x *exchange) event(line []byte) bool {
	if !x.begun {
		x.begin()
	}
	for _, part := range [][]byte{[]byte("data: "), line, []byte("\n\n")} {
		if _, err := x.w.Write(part); err != nil {
			return false
		}
	}
	return true
}

func (x *exchange) json(status int, body []byte) {
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body)
}

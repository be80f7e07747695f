package listing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/filter"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/sse"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Client sends requests to the server: an upstream.Client.
type Client interface {
	Do(ctx context.Context, request upstream.Request) (*upstream.Answer, error)
}

// Problem is why there is no listing: one word of a closed list, for the status and metrics.
type Problem string

// The problems, beside those of package upstream.
const (
	// TooLarge: more pages, definitions or bytes than are read.
	TooLarge Problem = "listing-too-large"
	// Refused: the server answered a request with an error.
	Refused Problem = "listing-refused"
	// BadAnswer: an answer is not what the specification says, or has more than one reading.
	BadAnswer Problem = "listing-answer"
	// Late: the listing took too long.
	Late Problem = "listing-late"
	// NotListening: nothing listens at the server's address.
	NotListening Problem = "server-not-listening"
	// Unsettled: another process came to listen meanwhile.
	Unsettled Problem = "server-restarted"
)

// Error makes a Problem an error.
func (p Problem) Error() string { return string(p) }

const (
	// requestTime bounds one request of a listing, totalTime all of it.
	requestTime = 10 * time.Second
	totalTime   = 60 * time.Second
	// maxBytes bounds the answers of a listing, in bytes, maxItems its definitions, maxPages the pages of one list.
	maxBytes = 8 << 20
	maxItems = 4096
	maxPages = 128
)

// caller makes requests in one era, as one client of the server.
type caller struct {
	client        Client
	address, path string
	revision      gateconfig.Revision
	session       string
	// left is how much may still be read.
	left *int64
	id   int
}

func (c *caller) modern() bool { return c.revision >= gateconfig.Revision20260728 }

// reply is the server's answer to a request: a result, or the code of an error.
type reply struct {
	result []byte
	failed bool
}

const clientName = "bartizan-gate"

func (c *caller) request(method string, params map[string]any, notify bool) (upstream.Request, error) {
	if params == nil {
		params = map[string]any{}
	}
	if c.modern() {
		params["_meta"] = map[string]any{
			"io.modelcontextprotocol/protocolVersion":    c.revision,
			"io.modelcontextprotocol/clientInfo":         map[string]any{"name": clientName, "version": "1"},
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		}
	}
	text := map[string]any{"jsonrpc": "2.0", "method": method, "params": params}
	if !notify {
		c.id++
		text["id"] = c.id
	}
	body, err := json.Marshal(text)
	headers := http.Header{}
	if method != "initialize" {
		headers[message.HeaderRevision] = []string{string(c.revision)}
	}
	if c.modern() {
		headers["Mcp-Method"] = []string{method}
	}
	return upstream.Request{
		Verb: http.MethodPost, Address: c.address, Path: c.path, Headers: headers, SessionID: c.session, Body: body,
	}, err
}

// call makes a request and reads its answer. An initialize begins the session.
func (c *caller) call(ctx context.Context, method string, params map[string]any) (reply, error) {
	request, err := c.request(method, params, false)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	answer, err := c.client.Do(ctx, request)
	if err != nil {
		return reply{}, late(ctx, err)
	}
	if answer.Body != nil {
		defer func() { _ = answer.Body.Close() }()
	}
	if method == "initialize" {
		c.session = answer.SessionID
	}
	switch answer.Kind {
	case upstream.Refusal:
		return reply{failed: true}, nil
	case upstream.JSON:
		body, err := io.ReadAll(io.LimitReader(answer.Body, *c.left+1))
		if err != nil {
			return reply{}, late(ctx, upstream.Broken)
		}
		return c.read(body)
	case upstream.Stream:
		return c.stream(ctx, answer.Body)
	}
	return reply{}, BadAnswer
}

// late is Late where the time is over, or else the error.
func late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Late
	}
	return err
}

// read reads a JSON answer to the last request.
func (c *caller) read(body []byte) (reply, error) {
	if *c.left -= int64(len(body)); *c.left < 0 {
		return reply{}, TooLarge
	}
	m, err := parse(body)
	if err != nil || m.method != "" || m.id != c.id {
		return reply{}, BadAnswer
	}
	return reply{result: bytes.Clone(m.result), failed: m.failed}, nil
}

var errFound = errors.New("the answer is found")

// nowhere is where the events of a stream that is only read go.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Flush() error                { return nil }

// stream reads events up to the answer to the last request. What else the server sends there is left alone.
func (c *caller) stream(ctx context.Context, body io.Reader) (found reply, err error) {
	err = sse.Copy(nowhere{}, body, sse.Rewrite{MaxEvent: int(*c.left), Data: func(data []byte) ([]byte, error) {
		if *c.left -= int64(len(data)); *c.left < 0 {
			return nil, TooLarge
		}
		m, err := parse(data)
		switch {
		case err != nil:
			return nil, BadAnswer
		case m.method != "":
			return nil, nil
		case m.id != c.id:
			return nil, BadAnswer
		}
		found = reply{result: bytes.Clone(m.result), failed: m.failed}
		return nil, errFound
	}})
	var problem Problem
	switch {
	case errors.Is(err, errFound):
		return found, nil
	case errors.Is(err, sse.ErrEvent):
		return reply{}, TooLarge
	case errors.As(err, &problem):
		return reply{}, problem
	}
	return reply{}, late(ctx, BadAnswer)
}

// notify sends a notification.
func (c *caller) notify(ctx context.Context, method string) error {
	request, err := c.request(method, nil, true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	answer, err := c.client.Do(ctx, request)
	if err != nil {
		return late(ctx, err)
	}
	if answer.Body != nil {
		_ = answer.Body.Close()
	}
	return nil
}

// end gives the session back.
func (c *caller) end(ctx context.Context) {
	if c.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	answer, err := c.client.Do(ctx, upstream.Request{
		Verb: http.MethodDelete, Address: c.address, Path: c.path, SessionID: c.session,
		Headers: http.Header{message.HeaderRevision: []string{string(c.revision)}},
	})
	if err == nil && answer.Body != nil {
		_ = answer.Body.Close()
	}
}

// listen holds a stream of notifications open until it ends, and calls changed for each that says that a list has changed.
func (c *caller) listen(ctx context.Context, changed func()) {
	request := upstream.Request{
		Verb: http.MethodGet, Address: c.address, Path: c.path, SessionID: c.session,
		Headers: http.Header{message.HeaderRevision: []string{string(c.revision)}},
	}
	if c.modern() {
		var err error
		if request, err = c.request("subscriptions/listen", map[string]any{"notifications": map[string]any{
			"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
		}}, false); err != nil {
			return
		}
	}
	answer, err := c.client.Do(ctx, request)
	if err != nil || answer.Body == nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.Kind != upstream.Stream {
		return
	}
	_ = sse.Copy(nowhere{}, answer.Body, sse.Rewrite{MaxEvent: 1 << 20, Data: func(data []byte) ([]byte, error) {
		if m, err := parse(data); err == nil && filter.ListChanged(m.method) {
			changed()
		}
		return nil, nil
	}})
}

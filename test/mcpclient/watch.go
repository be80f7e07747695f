package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// The requests of the streams, as they are on the wire: the SDK opens a stream again that has ended, and says nothing.
const (
	legacyRevision = "2025-11-25"
	modernRevision = "2026-07-28"
	modernMeta     = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"mcpclient","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	initialize     = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcpclient","version":"1"}}}`
	initialized    = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	listen         = `{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + modernMeta + `}}`
	longCall       = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"sleep","arguments":{"milliseconds":3600000},` + modernMeta + `}}`
)

// watcher prints what changes.
type watcher struct {
	mu   sync.Mutex
	out  *json.Encoder
	last map[string]result.Outcome
}

func (w *watcher) say(what string, now result.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last[what] == now.Outcome {
		return
	}
	w.last[what] = now.Outcome
	_ = w.out.Encode(result.Change{What: what, Result: now})
}

// watch calls a tool on one connection and on new ones, and holds the streams of its revision open, with the credentials that it had at first. It
// prints each time that something begins or ceases to work.
func watch(ctx context.Context, s settings, out io.Writer) result.Result {
	ctx, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	w := &watcher{out: json.NewEncoder(out), last: map[string]result.Outcome{}}
	var running sync.WaitGroup
	all := map[string]func(context.Context, *connection, func(result.Result)){result.Kept: calls, result.Fresh: calls}
	if s.revision == legacyRevision {
		all[result.Session] = session
	} else {
		all[result.Subscription], all[result.Call] = subscription, unanswered
	}
	for what, do := range all {
		mine := s
		mine.fresh = what == result.Fresh
		connection, err := newConnection(mine)
		if err != nil {
			return result.Result{Outcome: result.Usage, Message: err.Error()}
		}
		running.Go(func() { do(ctx, connection, func(now result.Result) { w.say(what, now) }) })
	}
	running.Wait()
	return result.Result{Outcome: result.OK}
}

// calls makes one call after another. A session that was refused is kept: it is the connection that is watched.
func calls(ctx context.Context, c *connection, say func(result.Result)) {
	var session *mcp.ClientSession
	for ; ctx.Err() == nil; pause(ctx, c.settings.pause) {
		done := func() result.Result {
			ctx, cancel := context.WithTimeout(ctx, c.settings.timeout)
			defer cancel()
			if session == nil {
				var err error
				if session, err = c.open(ctx); err != nil {
					return c.failure(err)
				}
			}
			done, err := call(ctx, c.settings, session)
			if err != nil {
				return c.failure(err)
			}
			return done
		}()
		if ctx.Err() != nil {
			break
		}
		say(done)
		if session != nil && c.settings.fresh {
			c.drop(session)
			session = nil
		}
	}
	if session != nil {
		c.drop(session)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// session holds the stream of a legacy session open.
func session(ctx context.Context, c *connection, say func(result.Result)) {
	begun, err := c.post(ctx, initialize, nil)
	if err != nil {
		say(c.failure(err))
		return
	}
	_, _ = io.Copy(io.Discard, begun.Body)
	begun.Body.Close()
	headers := map[string]string{"Mcp-Protocol-Version": legacyRevision, "Mcp-Session-Id": begun.Header.Get("Mcp-Session-Id")}
	acknowledged, err := c.post(ctx, initialized, headers)
	if err != nil {
		say(c.failure(err))
		return
	}
	acknowledged.Body.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.settings.url, nil)
	if err != nil {
		say(c.failure(err))
		return
	}
	request.Header.Set("Accept", "text/event-stream")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := c.RoundTrip(request)
	c.hold(ctx, answer, err, say)
}

// subscription holds the stream of a subscription open.
func subscription(ctx context.Context, c *connection, say func(result.Result)) {
	answer, err := c.post(ctx, listen, map[string]string{"Mcp-Protocol-Version": modernRevision, "Mcp-Method": "subscriptions/listen"})
	c.hold(ctx, answer, err, say)
}

// unanswered waits for a call that the server does not answer.
func unanswered(ctx context.Context, c *connection, say func(result.Result)) {
	say(result.Result{Outcome: result.OK})
	answer, err := c.post(ctx, longCall, map[string]string{"Mcp-Protocol-Version": modernRevision, "Mcp-Method": "tools/call", "Mcp-Name": "sleep"})
	c.hold(ctx, answer, err, say)
}

func (c *connection) post(ctx context.Context, body string, headers map[string]string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.settings.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := c.RoundTrip(request)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("HTTP status %d", answer.StatusCode)
	}
	return answer, err
}

// hold reads a stream to its end, and says when it has begun and when it has ended.
func (c *connection) hold(ctx context.Context, answer *http.Response, err error, say func(result.Result)) {
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("HTTP status %d", answer.StatusCode)
	}
	if err != nil {
		if ctx.Err() == nil {
			say(c.failure(err))
		}
		return
	}
	defer answer.Body.Close()
	say(result.Result{Outcome: result.OK})
	_, err = io.Copy(io.Discard, answer.Body)
	if ctx.Err() == nil {
		say(result.Result{Outcome: result.Failed, Message: fmt.Sprintf("the stream has ended: %v", err)})
	}
}

// Package upstream talks to the server behind the gate. Every request is built anew from what was judged; nothing of the
// caller's own request line, headers or credentials is in it. Every answer is checked before anything of it is used.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// idleTimeout is shorter than the keep-alive time of common servers (5 s), so that a request hardly ever meets a
	// connection that the server is closing.
	idleTimeout       = 3 * time.Second
	maxIdle           = 256
	maxResponseHeader = 64 << 10
	// maxError bounds the body of an answer that is an error, in bytes.
	maxError = 64 << 10
	// drainTimeout bounds the reading of what nobody needs.
	drainTimeout = time.Second
)

// Failure is why there is no answer to pass on: one word of a closed list, for the audit log and metrics.
type Failure string

// The failures.
const (
	Unreachable Failure = "upstream-unreachable"
	Broken      Failure = "upstream-broken"
	BadStatus   Failure = "upstream-status"
	BadType     Failure = "upstream-content-type"
	BadEncoding Failure = "upstream-content-encoding"
	BadLength   Failure = "upstream-too-large"
	BadAnswer   Failure = "upstream-answer"
	// Unlisted: another process listens than the one that the client is for.
	Unlisted Failure = "upstream-unlisted"
)

// Error makes a Failure an error.
func (f Failure) Error() string { return string(f) }

// Request is what is sent to the server.
type Request struct {
	// Verb is POST, GET or DELETE.
	Verb string
	// Address is where the server listens, Path its endpoint.
	Address, Path string
	// Principal is who calls, told to a server at a Unix socket and to no other; empty for the gate itself.
	Principal string
	// Headers are those that the message's check returned, with canonical names.
	Headers http.Header
	// SessionID and LastEventID are the server's own handles; empty without.
	SessionID, LastEventID string
	// TraceParent and TraceState are the caller's trace context (W3C Trace Context); empty without.
	TraceParent, TraceState string
	// Body is the message, exactly as it was judged.
	Body []byte
}

// Kind is the form of an answer.
type Kind uint8

// The forms of an answer.
const (
	// Empty has no body.
	Empty Kind = iota
	// JSON is one JSON document.
	JSON
	// Stream is a stream of server-sent events.
	Stream
	// Refusal is an error of the server, read into Body.
	Refusal
)

// Answer is an answer of the server that the gate may pass on, once its body has been.
type Answer struct {
	Status int
	Kind   Kind
	// Length is the length of a JSON body in bytes; -1 when the server did not say.
	Length int64
	// SessionID is the session id that the server gave; empty without.
	SessionID string
	// Body is the body of JSON and Stream. It must be closed.
	Body io.ReadCloser
	// Text is the body of a Refusal, cut at 64 KiB.
	Text []byte
}

// Client keeps the connections to the server.
type Client struct{ transport *http.Transport }

// NewClient returns a Client without connections. It follows no redirect, obeys no proxy setting, keeps no cookie and
// asks for no compression.
func NewClient() *Client { return NewGuarded(nil) }

// NewGuarded returns a Client that asks the guard, after each new connection, whether it may be used.
func NewGuarded(guard func() error) *Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{transport: &http.Transport{
		Proxy: nil,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := dial(ctx, dialer, network, address)
			if err != nil || guard == nil {
				return connection, err
			}
			if err := guard(); err != nil {
				_ = connection.Close()
				return nil, err
			}
			return connection, nil
		},
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}}
}

// Accepts says whether something at the address accepts connections.
func Accepts(ctx context.Context, address string) bool {
	if CheckAddress(address) != nil {
		return false
	}
	conn, err := dial(ctx, &net.Dialer{Timeout: time.Second}, "tcp", authority(address))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Do sends a request and returns the answer, or a Failure. A request is sent once: net/http sends again only where it
// knows that nothing of the request was written.
func (c *Client) Do(ctx context.Context, request Request) (*Answer, error) {
	r, err := build(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", Broken, err)
	}
	response, err := c.transport.RoundTrip(r)
	if err != nil {
		var dial *net.OpError
		var failure Failure
		if errors.As(err, &failure) {
			return nil, failure
		}
		if errors.As(err, &dial) && dial.Op == "dial" {
			return nil, Unreachable
		}
		return nil, Broken
	}
	answer, err := read(request.Verb, response)
	if err != nil || answer.Body == nil {
		// The rest is not read: a connection with an unread answer is not used again.
		_ = response.Body.Close()
	}
	return answer, err
}

func build(ctx context.Context, request Request) (*http.Request, error) {
	var body io.Reader
	if request.Verb == http.MethodPost {
		body = bytes.NewReader(request.Body)
	}
	host := authority(request.Address)
	r, err := http.NewRequestWithContext(ctx, request.Verb, "http://"+host, body)
	if err != nil {
		return nil, err
	}
	r.URL = &url.URL{Scheme: "http", Host: host, Path: request.Path}
	for name, values := range request.Headers {
		r.Header[name] = values
	}
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	switch request.Verb {
	case http.MethodPost:
		set("Content-Type", "application/json")
		set("Accept", "application/json, text/event-stream")
	case http.MethodGet:
		set("Accept", "text/event-stream")
	}
	set("Mcp-Session-Id", request.SessionID)
	set("Last-Event-ID", request.LastEventID)
	set("Traceparent", request.TraceParent)
	set("Tracestate", request.TraceState)
	if host != request.Address {
		r.Host = "localhost"
		r.Header.Set(HeaderPrincipal, EncodePrincipal(cmp.Or(request.Principal, Self)))
	}
	r.Header["User-Agent"] = nil
	return r, nil
}

func read(verb string, response *http.Response) (*Answer, error) {
	answer := &Answer{Status: response.StatusCode, Length: response.ContentLength, SessionID: response.Header.Get("Mcp-Session-Id")}
	if len(response.Header["Mcp-Session-Id"]) > 1 || len(response.Header["Content-Type"]) > 1 {
		return nil, BadAnswer
	}
	for _, encoding := range response.Header["Content-Encoding"] {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return nil, BadEncoding
		}
	}
	switch response.StatusCode {
	case http.StatusOK:
		return typed(verb, answer, response)
	case http.StatusAccepted, http.StatusNoContent:
		// Nothing may be in it, so nothing of it is passed on.
		drain(response)
		return answer, nil
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusNotImplemented, http.StatusServiceUnavailable:
		text, err := io.ReadAll(io.LimitReader(response.Body, maxError))
		if err != nil {
			return nil, Broken
		}
		answer.Kind, answer.Text = Refusal, text
		return answer, nil
	default:
		// Redirects, demands for credentials (401, 403, 407) and whatever else is nothing that a caller may be told.
		return nil, BadStatus
	}
}

func typed(verb string, answer *Answer, response *http.Response) (*Answer, error) {
	if verb == http.MethodDelete {
		drain(response)
		return answer, nil
	}
	header := response.Header.Get("Content-Type")
	if header == "" && response.ContentLength == 0 {
		return answer, nil
	}
	media, parameters, err := mime.ParseMediaType(header)
	if err != nil {
		return nil, BadType
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return nil, BadType
	}
	switch {
	case media == "application/json" && verb == http.MethodPost:
		answer.Kind = JSON
	case media == "text/event-stream":
		answer.Kind = Stream
	default:
		return nil, BadType
	}
	answer.Body = response.Body
	return answer, nil
}

// drain reads the little that may be there, so that the connection can be used again. Whatever it is, and whether it comes or
// not, changes nothing about the answer.
func drain(response *http.Response) {
	if response.ContentLength < 0 && len(response.TransferEncoding) == 0 {
		// It ends with the connection only.
		return
	}
	late := time.AfterFunc(drainTimeout, func() { _ = response.Body.Close() })
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, response.Body, maxError)
}

// Package upstream talks to the server behind the gate. Every request is built anew from what was judged; nothing of the
// caller's own request line, headers or credentials is in it. Every answer is checked before anything of it is used.
package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
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

// Client keeps the connections to the server. A request and its answer are written and read where Do is called: there is no
// goroutine for a connection.
type Client struct {
	dial func(ctx context.Context, address string) (net.Conn, error)
	pool pool
}

// NewClient returns a Client without connections. It follows no redirect, obeys no proxy setting, keeps no cookie and
// asks for no compression.
func NewClient() *Client { return NewGuarded(nil) }

// NewGuarded returns a Client that asks the guard, after each new connection, whether it may be used.
func NewGuarded(guard func() error) *Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{dial: func(ctx context.Context, address string) (net.Conn, error) {
		connection, err := dial(ctx, dialer, address)
		if err != nil || guard == nil {
			return connection, err
		}
		if err := guard(); err != nil {
			_ = connection.Close()
			return nil, err
		}
		return connection, nil
	}}
}

// Accepts says whether something at the address accepts connections.
func Accepts(ctx context.Context, address string) bool {
	if CheckAddress(address) != nil {
		return false
	}
	conn, err := dial(ctx, &net.Dialer{Timeout: time.Second}, address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// Close closes the connections that are not in use, and the others when they are not any more.
func (c *Client) Close() { c.pool.close() }

// Do sends a request and returns the answer, or a Failure. A request is sent once: it is sent again only on another
// connection, when nothing of it was written on one that had waited.
func (c *Client) Do(ctx context.Context, request Request) (*Answer, error) {
	for {
		if ctx.Err() != nil {
			return nil, Broken
		}
		conn, waited := c.pool.get(request.Address, time.Now()), true
		if conn == nil {
			dialled, err := c.dial(ctx, request.Address)
			if err != nil {
				return nil, undialled(err)
			}
			conn, waited = newConnection(dialled), false
		}
		var err error
		if conn.buffer, err = request.appendHead(conn.buffer[:0]); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("%w: %w", Broken, err)
		}
		x := &exchange{pool: &c.pool, address: request.Address, c: conn}
		nothing, err := x.begin(ctx, request.Verb, request.Body)
		if err != nil {
			x.end(false)
			if nothing && waited {
				continue
			}
			return nil, Broken
		}
		return x.answer(request.Verb)
	}
}

// undialled is the failure for a connection that could not be had.
func undialled(err error) Failure {
	var failure Failure
	var dial *net.OpError
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.As(err, &dial) && dial.Op == "dial":
		return Unreachable
	}
	return Broken
}

// answer judges the answer.
func (x *exchange) answer(verb string) (*Answer, error) {
	x.body, x.response.Body = x.response.Body, x
	if x.body == http.NoBody {
		x.end(true)
	}
	answer, err := read(verb, x.response)
	if err != nil || answer.Body == nil {
		// The rest is not read: a connection with an unread answer is not used again.
		x.end(false)
	}
	return answer, err
}

// Errors of requests that could not be one request.
var (
	errValue = errors.New("a header's value cannot be sent")
	errName  = errors.New("a header's name cannot be sent")
)

// appendHead appends the request's head.
func (r *Request) appendHead(b []byte) ([]byte, error) {
	b = append(append(b, r.Verb...), ' ')
	b = append(append(b, (&url.URL{Path: r.Path}).RequestURI()...), " HTTP/1.1\r\n"...)
	var failure error
	field := func(name, value string) {
		if !isToken(name) {
			failure = errName
		}
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				failure = errValue
			}
		}
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	known := func(name, value string) {
		if value != "" {
			field(name, value)
		}
	}
	if isSocket(r.Address) {
		field("Host", "localhost")
		field(HeaderPrincipal, EncodePrincipal(cmp.Or(r.Principal, Self)))
	} else {
		field("Host", r.Address)
	}
	switch r.Verb {
	case http.MethodPost:
		field("Content-Type", "application/json")
		field("Accept", "application/json, text/event-stream")
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(r.Body)), 10), "\r\n"...)
	case http.MethodGet:
		field("Accept", "text/event-stream")
	}
	for name, values := range r.Headers {
		for _, value := range values {
			field(name, value)
		}
	}
	known("Mcp-Session-Id", r.SessionID)
	known("Last-Event-Id", r.LastEventID)
	known("Traceparent", r.TraceParent)
	known("Tracestate", r.TraceState)
	return append(b, "\r\n"...), failure
}

// isToken says whether a name can be a header's (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
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
	media, parameters := header, map[string]string(nil)
	if header != "application/json" && header != "text/event-stream" {
		var err error
		if media, parameters, err = mime.ParseMediaType(header); err != nil {
			return nil, BadType
		}
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

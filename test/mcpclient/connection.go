package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// maxRefusal bounds how much of a refusal's body is read, in bytes.
const maxRefusal = 64 << 10

// connection is an HTTP client with the caller's credentials that remembers how the last request failed: the SDK's errors
// do not keep the HTTP status.
type connection struct {
	settings settings
	opened   atomic.Int64
	serial   atomic.Pointer[string]
	// keyID is the id of the key that was sent last.
	keyID atomic.Pointer[string]

	mu        sync.Mutex
	fixed     *credentials
	transport *http.Transport
	refusal   *refusal
	network   error
}

type refusal struct {
	status  int
	message string
}

// newConnection returns a connection with the credentials that are in the files now or, where they are to be read again, at
// each request and each handshake.
func newConnection(s settings) (*connection, error) {
	read, err := s.read()
	if err != nil {
		return nil, err
	}
	c := &connection{settings: s}
	if !s.reread {
		c.fixed = &read
	}
	dialer := &net.Dialer{Timeout: s.timeout / 2}
	c.transport = &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			shown, err := c.credentials()
			if err != nil {
				return nil, err
			}
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if s.connect != "" {
				address = s.connect
			}
			plain, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			c.opened.Add(1)
			secured := tls.Client(plain, shown.tls(host))
			if err := secured.HandshakeContext(ctx); err != nil {
				plain.Close()
				return nil, err
			}
			return secured, nil
		},
	}
	return c, nil
}

// credentials are what the next request or handshake shows.
func (c *connection) credentials() (credentials, error) {
	c.mu.Lock()
	fixed := c.fixed
	c.mu.Unlock()
	if fixed != nil {
		return *fixed, nil
	}
	return c.settings.read()
}

// show has requests from now on carry this key.
func (c *connection) show(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	with := *c.fixed
	with.key = key
	c.fixed = &with
}

// open makes an MCP session.
func (c *connection) open(ctx context.Context) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "mcpclient", Version: "1"}, nil)
	return client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:             c.settings.url,
		HTTPClient:           &http.Client{Transport: c},
		MaxRetries:           -1,
		DisableStandaloneSSE: true,
	}, &mcp.ClientSessionOptions{ProtocolVersion: c.settings.revision})
}

// drop ends a session and its connections. That the goodbye fails is of no interest.
func (c *connection) drop(session *mcp.ClientSession) {
	_ = session.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	// A connection that is not idle yet must not be found again.
	last := c.transport
	c.transport = last.Clone()
	last.CloseIdleConnections()
}

// RoundTrip sends a request with the credentials.
func (c *connection) RoundTrip(r *http.Request) (*http.Response, error) {
	shown, err := c.credentials()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	if shown.key != "" {
		r.Header.Set("Authorization", "Bearer "+shown.key)
		id := keyID(shown.key)
		c.keyID.Store(&id)
	}
	for _, header := range c.settings.headers {
		r.Header.Add(header[0], header[1])
	}
	c.mu.Lock()
	transport := c.transport
	c.mu.Unlock()
	answer, err := transport.RoundTrip(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal, c.network = nil, err
	if err != nil {
		return nil, err
	}
	if answer.TLS != nil && len(answer.TLS.PeerCertificates) > 0 {
		serial := answer.TLS.PeerCertificates[0].SerialNumber.Text(16)
		c.serial.Store(&serial)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
		answer.Body.Close()
		if err != nil {
			return nil, err
		}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		c.refusal = &refusal{status: answer.StatusCode, message: words(body)}
	}
	return answer, nil
}

// words returns the message of a JSON-RPC error, or else the body as it is.
func words(body []byte) string {
	var answer struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error.Message != "" {
		return answer.Error.Message
	}
	return strings.TrimSpace(string(body))
}

// failure says what the last request met.
func (c *connection) failure(err error) result.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal != nil {
		done := result.Result{Outcome: result.Failed, Status: c.refusal.status, Message: c.refusal.message}
		switch c.refusal.status {
		case http.StatusUnauthorized:
			done.Outcome = result.Unauthorized
		case http.StatusForbidden:
			done.Outcome = result.Forbidden
		case http.StatusTooManyRequests:
			done.Outcome = result.Throttled
		}
		return done
	}
	if c.network != nil {
		return result.Result{Outcome: networkOutcome(c.network), Message: c.network.Error()}
	}
	return result.Result{Outcome: result.Failed, Message: err.Error()}
}

func networkOutcome(err error) result.Outcome {
	var operation *net.OpError
	var alert tls.AlertError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &alert), errors.As(err, &verification), strings.Contains(err.Error(), "tls: "):
		return result.TLSRefused
	case errors.As(err, &operation) && operation.Op == "dial", errors.Is(err, context.DeadlineExceeded):
		return result.NoConnection
	default:
		return result.Failed
	}
}

// dial opens a TCP connection and nothing more.
func dial(ctx context.Context, s settings) result.Result {
	if s.address == "" {
		return result.Result{Outcome: result.Usage, Message: "--address is missing"}
	}
	connected, err := (&net.Dialer{Timeout: s.timeout}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return result.Result{Outcome: result.NoConnection, Message: err.Error()}
	}
	connected.Close()
	return result.Result{Outcome: result.OK, Message: "connected"}
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// maxRefusal bounds how much of a refusal's body is read, in bytes.
const maxRefusal = 64 << 10

// connection is an HTTP client with the caller's credentials that remembers how the last request failed: the SDK's errors
// do not keep the HTTP status.
type connection struct {
	settings settings
	key      string
	opened   atomic.Int64
	serial   atomic.Pointer[string]

	mu        sync.Mutex
	transport *http.Transport
	refusal   *refusal
	network   error
}

type refusal struct {
	status  int
	message string
}

func newConnection(s settings) (*connection, error) {
	c := &connection{settings: s}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if s.caFile != "" {
		bundle, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("%s: no certificate in it", s.caFile)
		}
	}
	if s.certFile != "" {
		pair, err := tls.LoadX509KeyPair(s.certFile, s.certKeyFile)
		if err != nil {
			return nil, err
		}
		// Always shown, also where its authority is not among those that the server names: the refusal is what is tested.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if s.keyFile != "" {
		key, err := os.ReadFile(s.keyFile)
		if err != nil {
			return nil, err
		}
		c.key = strings.TrimSpace(string(key))
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	c.transport = &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connected, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				c.opened.Add(1)
			}
			return connected, err
		},
	}
	return c, nil
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
	r = r.Clone(r.Context())
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
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

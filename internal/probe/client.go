package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// The JSON-RPC codes of refusals.
const (
	codeParse           = -32700
	codeInvalidRequest  = -32600
	codeHeader          = -32020
	codeRefused         = -31400
	codeUnauthenticated = -31401
	codeDenied          = -31403
	codeThrottled       = -31429
)

// client sends with one certificate, or with none.
type client struct {
	http.Client
	transport *http.Transport
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// request is a POST with something wrong with it, or, with a path, a GET.
type request struct {
	path   string
	body   string
	header map[string][]string
	host   string
	query  string
	// counted has a refusal count as a failed login.
	counted bool
}

// want is the one refusal that is right.
type want struct {
	status []int
	code   []int
}

var (
	// A source that fails often is told to wait, once its credential has been found wrong.
	unauthenticated = want{[]int{http.StatusUnauthorized, http.StatusTooManyRequests}, []int{codeUnauthenticated, codeThrottled}}
	denied          = want{[]int{http.StatusForbidden}, []int{codeDenied}}
)

// met says what is not right about an answer; "" when it is that refusal.
func (w want) met(a answer) string {
	code, ok := refusal(a.body)
	switch {
	case !slices.Contains(w.status, a.status):
		return met(a.status)
	case !ok:
		return fmt.Sprintf("HTTP status %d with another body than a refusal", a.status)
	case !slices.Contains(w.code, code):
		return fmt.Sprintf("HTTP status %d with code %d", a.status, code)
	}
	return ""
}

// met is an answer that should be another.
func met(status int) string { return fmt.Sprintf("HTTP status %d", status) }

// refusal returns the code of a body that is a JSON-RPC error and nothing else.
func refusal(body []byte) (int, bool) {
	var e struct {
		JSONRPC string `json:"jsonrpc"`
		ID      any    `json:"id"`
		Error   *struct {
			Code    int             `json:"code"`
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data"`
		} `json:"error"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&e) != nil || e.JSONRPC != "2.0" || e.Error == nil || e.Error.Message == "" {
		return 0, false
	}
	return e.Error.Code, true
}

// busy says that the gate would have answered otherwise at another time.
func (a answer) busy() bool {
	return a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests
}

// client returns the client that shows a certificate.
func (r *run) client(certificate *tls.Certificate) *client {
	if c := r.clients[certificate]; c != nil {
		return c
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: r.ServerName, RootCAs: r.Roots, NextProtos: []string{"http/1.1"}}
	if certificate != nil {
		// Shown whatever authorities the gate says that it asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: r.Timeout}).DialContext(ctx, network, r.address(r.GatePort))
		},
		TLSClientConfig: config, TLSHandshakeTimeout: r.Timeout, ResponseHeaderTimeout: r.Timeout,
		DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}
	c := &client{transport: transport, Client: http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.clients[certificate] = c
	return c
}

func (r *run) close() {
	for _, c := range r.clients {
		c.transport.CloseIdleConnections()
	}
}

// send makes a request, and keeps the answer for what no answer may have in it.
func (r *run) send(ctx context.Context, certificate *tls.Certificate, q request) answer {
	// Twice the time: connecting has one, answering has one.
	ctx, cancel := context.WithTimeout(ctx, 2*r.Timeout)
	defer cancel()
	method, url := http.MethodPost, "https://"+r.ServerName+r.Path+q.query
	if q.path != "" {
		method, url = http.MethodGet, "https://"+r.ServerName+q.path
	}
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(q.body))
	if err != nil {
		return answer{err: err}
	}
	request.Host = r.Host
	if q.host != "" {
		request.Host = q.host
	}
	request.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Protocol-Version": {r.Revision}, "User-Agent": {"bartizan-verification"},
		"Traceparent": {"00-" + r.Mark + "-0000000000000001-00"},
	}
	if q.counted {
		request.Header["Traceparent"] = []string{"00-" + r.Mark + "-" + gateconfig.CountedSpan + "-00"}
	}
	if gateconfig.Revision(r.Revision) >= gateconfig.Revision20260728 {
		request.Header["Mcp-Method"] = []string{methodOf(q.body)}
		if name := nameOf(q.body); name != "" {
			request.Header["Mcp-Name"] = []string{name}
		}
	}
	if method == http.MethodGet {
		delete(request.Header, "Content-Type")
		delete(request.Header, "Mcp-Method")
	}
	for name, values := range q.header {
		request.Header[name] = values
	}
	response, err := r.client(certificate).Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	a := answer{status: response.StatusCode, header: response.Header, body: body, err: err}
	if err == nil {
		r.answers = append(r.answers, a)
	}
	return a
}

// message is a request for a method of MCP in the target's revision. What it is about is named by the nonce.
func (r *run) message(method, parameter string) string {
	params := map[string]any{}
	if parameter != "" {
		params[parameter] = r.nonce
		if parameter == "uri" {
			params[parameter] = "bartizan-verification:///" + r.nonce
		}
	}
	if gateconfig.Revision(r.Revision) >= gateconfig.Revision20260728 {
		params["_meta"] = map[string]any{
			"io.modelcontextprotocol/protocolVersion":    r.Revision,
			"io.modelcontextprotocol/clientInfo":         map[string]any{"name": "bartizan-verification", "version": "1"},
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
		}
	}
	m := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method}
	if len(params) > 0 {
		m["params"] = params
	}
	// No map of strings fails to marshal.
	text, _ := json.Marshal(m)
	return string(text)
}

// nothing is a message that no gate passes on: its method does not exist.
func (r *run) nothing() string { return r.message("bartizan-verification/"+r.nonce, "") }

func methodOf(body string) string {
	var m struct{ Method string }
	_ = json.Unmarshal([]byte(body), &m)
	return m.Method
}

func nameOf(body string) string {
	var m struct {
		Params struct{ Name, URI string }
	}
	_ = json.Unmarshal([]byte(body), &m)
	return m.Params.Name + m.Params.URI
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

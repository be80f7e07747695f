// Package brokengate is a gate for tests: it does nothing but refuse, and one control of it is broken. What a broken control
// lets in goes on to a server, as with a gate of which that were true.
package brokengate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Controls are those that can be broken.
var Controls = []string{
	"AUTH-1", "AUTH-5", "AUTH-6", "AUTH-7", "AUTH-8", "AUTH-10", "PERM-1", "PERM-2", "PERM-7", "ENC-1", "ENC-2", "ENC-3", "LOG-3", "TEST-3",
}

// Gate is a gate with one control broken.
type Gate struct {
	// Upstream is the URL of the server.
	Upstream string
	// Metadata is the document of the protected resource, at MetadataPath; empty for a gate that takes no tokens.
	Metadata, MetadataPath string
	// Broken says which control is broken now; "" for none.
	Broken func() string
	// Seen is told of each request; nil: nobody is.
	Seen func(body []byte)
	// LetIn is told what goes on to the server; nil: nobody is.
	LetIn func(body []byte)

	// hosts are the Host headers that are served.
	hosts []string
	// authority vouches for the operator, who may do nothing.
	authority *x509.CertPool
	// demands: a key or a token is worth nothing without a certificate.
	demands bool
	keys    []gateconfig.Key
	issuers []gateconfig.TokenIssuer
	tokens  *token.Verifier[bool]
	// guesses are the failed logins that were to be counted.
	guesses atomic.Int64
}

// New is a gate with a configuration, of which it knows the operator, and holders of tokens, who may do nothing here either.
func New(c gateconfig.Config) (*Gate, error) {
	g := &Gate{hosts: c.Endpoint.Hosts, demands: c.Authentication.ClientCertificates == gateconfig.Required, keys: c.Verification.Keys, issuers: c.TokenIssuers()}
	var err error
	if g.authority, err = gateconfig.Pool(c.Status.Authority); err != nil {
		return nil, err
	}
	g.tokens, err = token.New(g.issuers, func(*token.Token, policy.Token) bool { return true })
	return g, err
}

// accepts says whether a key or a token is one of somebody who may do nothing.
func (g *Gate) accepts(text string) bool {
	_, failure := g.tokens.Verify(text, time.Now())
	return failure == "" || slices.ContainsFunc(g.keys, func(k gateconfig.Key) bool { return k.SHA256 == keys.Hash(text) })
}

// named says whether a token names a key of an issuer's, whoever signed it.
func (g *Gate) named(text string) bool {
	var header struct{ Kid string }
	first, _, _ := strings.Cut(text, ".")
	content, err := base64.RawURLEncoding.DecodeString(first)
	return err == nil && json.Unmarshal(content, &header) == nil && slices.ContainsFunc(g.issuers, func(i gateconfig.TokenIssuer) bool {
		return slices.ContainsFunc(i.Keys, func(k gateconfig.TokenKey) bool { return k.ID == header.Kid })
	})
}

// Serve serves with a certificate, or, while ENC-3 is broken, with another.
func (g *Gate) Serve(l net.Listener, certificate, other tls.Certificate) error {
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}
		switch g.Broken() {
		case "ENC-1":
			c.MinVersion = tls.VersionTLS12
		case "ENC-3":
			c.Certificates = []tls.Certificate{other}
		}
		return c, nil
	}}
	server := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	return server.Serve(&listener{Listener: l, config: config, broken: g.Broken})
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	broken := g.Broken()
	if g.Metadata != "" && r.Method == http.MethodGet && r.URL.Path == g.MetadataPath {
		w.Header().Set("Content-Type", "application/json")
		document := g.Metadata
		if broken == "AUTH-8" {
			document = strings.ReplaceAll(document, "https://", "https://evil.")
		}
		_, _ = io.WriteString(w, document)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest) // to say nothing would be to say 200
		return
	}
	if g.Seen != nil {
		g.Seen(body)
	}
	status, code := g.judge(broken, r, body)
	if status == 0 {
		g.pass(w, r, body)
		return
	}
	if status == http.StatusUnauthorized && strings.Contains(r.Header.Get("Traceparent"), "-"+gateconfig.CountedSpan+"-") && g.guesses.Add(1)%21 == 0 && broken != "AUTH-10" {
		status, code = http.StatusTooManyRequests, -31429
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusUnauthorized && g.Metadata != "" {
		path := g.MetadataPath
		if broken == "AUTH-8" {
			path = "/elsewhere"
		}
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://`+r.Host+path+`"`)
	}
	w.WriteHeader(status)
	text := "No."
	switch broken {
	case "LOG-3":
		text += string(body)
	case "TEST-3":
		text += "panic: runtime error"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "error": map[string]any{"code": code, "message": text}})
}

// judge returns the status and the code of a refusal; 0 for what goes on to the server.
func (g *Gate) judge(broken string, r *http.Request, body []byte) (status, code int) {
	if status, code := g.authenticate(broken, r); status != 0 {
		return status, code
	}
	if broken == "PERM-7" {
		if !json.Valid(body) || !utf8.Valid(body) || bytes.HasPrefix(body, []byte("[[")) {
			return http.StatusBadRequest, -32700
		}
	} else if status, code := g.read(r, body); status != 0 {
		return status, code
	}
	var m struct{ Method string }
	_ = json.Unmarshal(body, &m)
	list, named := strings.HasSuffix(m.Method, "/list"), slices.Contains([]string{"tools/call", "prompts/get", "resources/read"}, m.Method)
	switch {
	case m.Method == "ping":
		return http.StatusForbidden, -31403
	case !list && !named && broken == "PERM-7":
		return http.StatusNotFound, -32601 // a server's answer to what does not exist
	case list && broken == "PERM-2", named && broken == "PERM-1":
		return 0, 0
	}
	return http.StatusForbidden, -31403
}

// authenticate refuses who is not the operator, unless what is broken lets them in.
func (g *Gate) authenticate(broken string, r *http.Request) (status, code int) {
	operator, certificate := g.operator(r.TLS)
	forged := certificate && !operator
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	bearer := strings.HasPrefix(text, "eyJ") // as every JWT begins
	_, malformed := keys.Parse(text)
	key := malformed == nil
	excused := certificate || !g.demands || broken == "AUTH-7"
	switch {
	case r.TLS == nil, // which only ENC-2 lets come here, or somebody who is no gate
		broken == "AUTH-1" && !forged && !bearer && !key && r.URL.RawQuery == "",
		broken == "AUTH-5" && key && excused, broken == "AUTH-6" && g.named(text) && excused, broken == "AUTH-7" && forged:
		return 0, 0
	case r.URL.RawQuery != "":
		return http.StatusBadRequest, -31400
	case !forged && excused && g.accepts(text),
		operator && r.Header["Authorization"] == nil && r.Header["X-Api-Key"] == nil:
		return 0, 0
	}
	return http.StatusUnauthorized, -31401
}

// operator says whether a connection is the operator's, and whether it has a certificate at all.
func (g *Gate) operator(state *tls.ConnectionState) (operator, certificate bool) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return false, false
	}
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{Roots: g.authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil && len(leaf.URIs) == 1 && leaf.URIs[0].String() == clientid.Operator, true
}

// read refuses messages that have more than one reading.
func (g *Gate) read(r *http.Request, body []byte) (status, code int) {
	var message struct{ Method string }
	decoder := json.NewDecoder(bytes.NewReader(body))
	err := decoder.Decode(&message)
	text := string(body)
	switch {
	case !slices.Contains(g.hosts, r.Host) || r.Header.Get("Origin") != "":
		return http.StatusForbidden, -31400
	case strings.Contains(r.Header.Get("Content-Type"), "utf-16"):
		return http.StatusUnsupportedMediaType, -31400
	case len(r.Header["Mcp-Method"]) > 0:
		return http.StatusBadRequest, -32020
	case bytes.HasPrefix(body, []byte("[")):
		return http.StatusBadRequest, -32600
	case err != nil || !utf8.Valid(body) || decoder.More() || strings.Count(text, `"method"`)+strings.Count(text, `"m\u0065thod"`) > 1:
		return http.StatusBadRequest, -32700
	case strings.Contains(text, `"Method"`):
		return http.StatusBadRequest, -32600
	}
	return 0, 0
}

// pass has the server answer.
func (g *Gate) pass(w http.ResponseWriter, r *http.Request, body []byte) {
	if g.LetIn != nil {
		g.LetIn(body)
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, g.Upstream, bytes.NewReader(body))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

// listener takes connections with TLS and, while ENC-2 is broken, without.
type listener struct {
	net.Listener
	config *tls.Config
	broken func() string
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.broken() != "ENC-2" {
		return tls.Server(conn, l.config), nil
	}
	// Who opens a connection and says nothing is waited for no longer than that, and keeps all others waiting meanwhile.
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		return conn, nil
	}
	_ = conn.SetReadDeadline(time.Time{})
	again := &replay{Conn: conn, first: first}
	if first[0] == 0x16 {
		return tls.Server(again, l.config), nil
	}
	return again, nil
}

// replay is a connection of which something has been read already.
type replay struct {
	net.Conn
	first []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

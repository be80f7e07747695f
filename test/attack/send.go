package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/test/corpus"
)

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// start starts a program before a server.
type start func(ctx context.Context, upstream string) (*target, error)

// attack sends those of the requests that are to be sent to a program, one after another, with a good one before and after them, and
// notes which of them reached the server.
func (w *world) attack(ctx context.Context, start start, requests []corpus.Request, sent func(*corpus.Request) bool, reached map[int]bool) error {
	server, err := newRecorder()
	if err != nil {
		return err
	}
	defer server.Close()
	t, err := start(ctx, server.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = t.stop() }()
	good := corpus.Good()
	if sent(&corpus.Request{Token: &corpus.Token{}}) {
		good.Token = &corpus.Token{}
	}
	passes := func() error {
		// The gate has read its configuration only a moment after it listens.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			before := server.requests.Load()
			answer, err := w.send(t, w.alice, good, w.known)
			if err == nil && answer.status == http.StatusOK && server.requests.Load() == before+1 {
				return nil
			}
			if time.Now().After(deadline) {
				return notGood("request", answer.status, err)
			}
		}
	}
	if err := passes(); err != nil {
		return err
	}
	known := w.known
	if good.Token == nil {
		if err := w.begin(t, &known); err != nil {
			return err
		}
	}
	for i := range requests {
		if !sent(&requests[i]) || requests[i].HTTP2 != nil && !t.http2 {
			continue
		}
		before := server.requests.Load()
		if _, err := w.send(t, w.alice, &requests[i], known); err != nil {
			return fmt.Errorf("%s/%s: %w", requests[i].Category, requests[i].Name, err)
		}
		reached[i] = server.requests.Load() > before
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return passes()
}

// begin has alice and carol begin sessions, as far as the program lets them.
func (w *world) begin(t *target, known *corpus.Credentials) error {
	session := func(certificate tls.Certificate, key string) (session, event string, err error) {
		hello := corpus.Good()
		hello.Body = initialize
		hello.Set = map[string]string{"Authorization": "Bearer " + key}
		answer, err := w.send(t, certificate, hello, *known)
		session = answer.header.Get("Mcp-Session-Id")
		if err != nil || session == "" {
			return "", "", fmt.Errorf("no session: %d, %w", answer.status, err)
		}
		call := corpus.Good()
		call.Set = map[string]string{"Authorization": "Bearer " + key, "Mcp-Session-Id": session}
		answer, err = w.send(t, certificate, call, *known)
		line, _, _ := strings.Cut(answer.body, "\n")
		event, ok := strings.CutPrefix(line, "id: ")
		if err != nil || !ok {
			return "", "", fmt.Errorf("no event: %d %s, %w", answer.status, answer.body, err)
		}
		return session, strings.TrimSpace(event), nil
	}
	var err error
	if known.Mine, _, err = session(w.alice, known.Alice); err != nil {
		return err
	}
	if _, known.MyEvent, err = session(w.alice, known.Alice); err != nil {
		return err
	}
	known.Theirs, known.TheirEvent, err = session(w.carol, known.Carol)
	return err
}

// answer is what a program answered; the zero answer is none.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request over a connection and from an address of its own.
func (w *world) send(t *target, certificate tls.Certificate, request *corpus.Request, known corpus.Credentials) (a answer, err error) {
	text, err := request.Bytes(must{}, known)
	if err != nil {
		return a, err
	}
	n := w.sources.Add(1)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}, Timeout: patience}
	protocol := "http/1.1"
	if request.HTTP2 != nil {
		protocol = "h2"
	}
	var conn interface {
		net.Conn
		CloseWrite() error
	}
	if t.tls {
		conn, err = tls.DialWithDialer(dialer, "tcp", t.address, &tls.Config{RootCAs: w.serving.Pool(), ServerName: corpus.Host,
			Certificates: []tls.Certificate{certificate}, NextProtos: []string{protocol}})
	} else {
		var plain net.Conn
		if plain, err = dialer.Dial("tcp", t.address); err == nil {
			conn = plain.(*net.TCPConn)
		}
	}
	if err != nil {
		return a, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if request.HTTP2 != nil {
		return answer{status: request.SendHTTP2(must{}, conn, known)}, nil
	}
	// It may answer, and close, before it has read all.
	go func() { _, _ = conn.Write(text) }()
	if !request.Stalls {
		end := time.AfterFunc(rest, func() { _ = conn.CloseWrite() })
		defer end.Stop()
	}
	response, err := corpus.ReadAnswer(conn)
	if err != nil {
		return a, nil
	}
	read, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return answer{response.StatusCode, response.Header, string(read)}, nil
}

// notGood says why what is good did not pass: an error of the connection, or else the status.
func notGood(what string, status int, err error) error {
	if err != nil {
		return fmt.Errorf("a good %s: %w", what, err)
	}
	return fmt.Errorf("a good %s: status %d", what, status)
}

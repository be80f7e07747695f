package gate_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// canaryRequests is how many requests TestCanaries makes; "make race" makes a million.
var canaryRequests = flag.Int("canary-requests", 5000, "how many requests with random credentials and cancellations are made")

// credential is a way to call: its headers and certificate, who it is, and whether it may.
type credential struct {
	name        string
	header      string
	certificate []tls.Certificate
	good        bool
}

// echo is a server that answers each call with the canary in it, in every form and at any time, and that breaks off at times.
type echo struct {
	net.Listener
	calls, strangers atomic.Int64
}

func newEcho(t testing.TB) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	e := &echo{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go e.serve(conn)
		}
	}()
	return e
}

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		var m struct {
			ID     json.RawMessage
			Params struct{ Arguments struct{ Canary string } }
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &m) != nil {
			return
		}
		e.calls.Add(1)
		if strings.HasPrefix(m.Params.Arguments.Canary, "bad ") {
			e.strangers.Add(1)
		}
		answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%q}],"resultType":"complete"}}`, m.ID, m.Params.Arguments.Canary)
		if err := e.answer(conn, answer); err != nil {
			return
		}
	}
}

func (e *echo) answer(conn net.Conn, answer string) (err error) {
	switch rand.IntN(20) {
	case 0:
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	case 1:
		// The connection breaks off within the answer.
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer[:rand.IntN(len(answer))])
		return io.EOF
	case 2:
		return io.EOF
	case 3:
		answer = strings.Replace(answer, `"content":[`, `"content":[{"type":"text","text":"`+strings.Repeat("x", rand.IntN(100_000))+`"},`, 1)
	}
	switch rand.IntN(4) {
	case 0:
		events := ": hello\n\ndata: " + answer + "\n\n"
		cut := rand.IntN(len(events))
		_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
			cut+1, events[:cut+1], len(events)-cut, events[cut+1:]+"\n")
	case 1:
		_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(answer), answer)
	default:
		_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	}
	return err
}

// TestCanaries makes requests with random credentials, good and bad, on connections that many callers share or that they break
// off at any time. Each carries a canary of its caller: no answer to anybody else has it, and none of a bad credential's
// reaches the server.
func TestCanaries(t *testing.T) {
	t.Parallel()
	server := newEcho(t)
	issuer := gatetest.NewIssuer(t, issuerURL)
	var credentials []credential
	w := newWorld(t, server.Addr().String(), func(w *world) {
		w.options.Audit = io.Discard
		w.config.Authentication.Tokens = []gateconfig.TokenIssuer{issuer.Config(t, "corp", "mcp")}
		rule := policy.Rule{ID: "friends/1", Tools: []string{"greet"}}
		for i := range 8 {
			name := fmt.Sprintf("c%d", i)
			text, key := gatetest.NewKey(t, time.Now().Add(100*time.Hour))
			w.config.Clients = append(w.config.Clients, gateconfig.Client{Object: gateconfig.Object{Namespace: "agents", Name: name}, Keys: []gateconfig.Key{key}})
			rule.Clients = append(rule.Clients, "agents/"+name)
			credentials = append(credentials, credential{name: name, header: "Authorization: Bearer " + text, good: true})
			certificate := w.agents.Client(t, clientid.Client{Namespace: "agents", Name: name, Servers: "team-a"}.URI())
			credentials = append(credentials, credential{name: name, certificate: []tls.Certificate{certificate}, good: true})
			token := issuer.Token(t, gateconfig.ES256, gatetest.Claims{"sub": name, "exp": time.Now().Add(100 * time.Hour).Unix()})
			credentials = append(credentials, credential{name: "holder " + name, header: "Authorization: Bearer " + token, good: true})
			w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: fmt.Sprintf("people/%d", i), Tokens: holder(name), Tools: []string{"greet"}})
		}
		w.config.Policy.Rules = append(w.config.Policy.Rules, rule)
		stranger := gatetest.NewIssuer(t, issuerURL)
		credentials = append(credentials,
			credential{name: "nobody"}, credential{name: "bob", header: "Authorization: Bearer " + w.bobKey},
			credential{name: "guesser", header: "X-API-Key: " + w.aliceKey[:len(w.aliceKey)-4] + "aaaa"},
			credential{name: "forger", header: "Authorization: Bearer " + stranger.Token(t, gateconfig.ES256, nil)},
			credential{name: "stranger", certificate: []tls.Certificate{w.strangers.Client(t, clientid.Client{Namespace: "agents", Name: "c1", Servers: "team-a"}.URI())}},
		)
	})
	var left, answers, refusals, gone atomic.Int64
	left.Store(int64(*canaryRequests))
	var callers sync.WaitGroup
	for n := range 16 {
		callers.Go(func() {
			c := &canaryCaller{w: w, name: fmt.Sprint("caller-", n), open: map[*byte]*canaryConn{}, answers: &answers, refusals: &refusals, gone: &gone}
			defer c.close()
			for left.Add(-1) >= 0 {
				if problem := c.call(credentials); problem != "" {
					t.Error(problem)
					return
				}
			}
		})
	}
	callers.Wait()
	t.Logf("%d answers, %d refusals, %d broken off; the server had %d calls", answers.Load(), refusals.Load(), gone.Load(), server.calls.Load())
	if n := server.strangers.Load(); n > 0 {
		t.Errorf("%d calls of bad credentials reached the server", n)
	}
	if answers.Load() < int64(*canaryRequests)/4 || refusals.Load() == 0 || gone.Load() == 0 {
		t.Errorf("%d answers, %d refusals, %d broken off", answers.Load(), refusals.Load(), gone.Load())
	}
}

// canaryCaller has a connection for each certificate, and one without, on which it shows any header.
type canaryCaller struct {
	w                       *world
	name                    string
	n                       int
	open                    map[*byte]*canaryConn
	answers, refusals, gone *atomic.Int64
}

type canaryConn struct {
	*tls.Conn
	in  *bufio.Reader
	key *byte
}

func (c *canaryCaller) close() {
	for _, conn := range c.open {
		_ = conn.Close()
	}
}

// breakOff closes a connection, and counts the request on it.
func (c *canaryCaller) breakOff(conn *canaryConn) {
	_ = conn.Close()
	delete(c.open, conn.key)
	c.gone.Add(1)
}

// connect returns a connection that shows the credential's certificate.
func (c *canaryCaller) connect(with credential) (*canaryConn, error) {
	var key *byte
	if len(with.certificate) > 0 {
		key = &with.certificate[0].Certificate[0][0]
	}
	if conn, ok := c.open[key]; ok {
		return conn, nil
	}
	conn, err := tls.Dial("tcp", c.w.address(), &tls.Config{RootCAs: c.w.serving.Pool(), ServerName: host, Certificates: with.certificate, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	c.open[key] = &canaryConn{Conn: conn, in: bufio.NewReader(conn), key: key}
	return c.open[key], nil
}

// call makes one request with a credential at random, now and then breaking it off, and says what is wrong about its answer.
func (c *canaryCaller) call(credentials []credential) string {
	with := credentials[rand.IntN(len(credentials))]
	conn, err := c.connect(with)
	if err != nil {
		return fmt.Sprintf("%s: %v", c.name, err)
	}
	c.n++
	canary := fmt.Sprintf("%s, canary of %s, call %d.", with.name, c.name, c.n)
	if !with.good {
		canary = "bad " + canary
	}
	id := fmt.Sprintf("%q", canary)
	meta, head := "", "MCP-Protocol-Version: 2025-11-25\r\n"
	if rand.IntN(2) == 0 {
		meta = `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
		head = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: greet\r\n"
	}
	if with.header != "" {
		head += with.header + "\r\n"
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"greet","arguments":{"canary":%q}%s}}`, id, canary, meta)
	request := fmt.Appendf(nil, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", host, head, len(body), body)
	leaves := rand.IntN(25)
	if leaves == 0 {
		request = request[:rand.IntN(len(request))]
	}
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := conn.Write(request); err != nil || leaves < 2 {
		// The gate may have closed it after the last answer.
		c.breakOff(conn)
		return ""
	}
	response, err := http.ReadResponse(conn.in, nil)
	if err != nil {
		c.breakOff(conn)
		return ""
	}
	if leaves == 2 {
		_, _ = io.CopyN(io.Discard, response.Body, int64(rand.IntN(200)))
		c.breakOff(conn)
		return ""
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.breakOff(conn)
		// What has come is the caller's all the same.
		return others(text, canary)
	}
	if response.Close {
		_ = conn.Close()
		delete(c.open, conn.key)
	}
	switch {
	case response.StatusCode == http.StatusOK && !with.good:
		return fmt.Sprintf("%s: %.200s", canary, text)
	case response.StatusCode == http.StatusOK:
		c.answers.Add(1)
		if n := bytes.Count(text, []byte(canary)); n != 2 && !bytes.Contains(text, []byte(`"error"`)) {
			return fmt.Sprintf("%s: the answer has its canary %d times: %.300s", canary, n, text)
		}
	default:
		c.refusals.Add(1)
		if with.good && response.StatusCode != http.StatusBadGateway && response.StatusCode != http.StatusServiceUnavailable {
			return fmt.Sprintf("%s: %d %.200s", canary, response.StatusCode, text)
		}
	}
	return others(text, canary)
}

// others says whether a text has a canary of another call.
func others(text []byte, canary string) string {
	if rest := bytes.ReplaceAll(text, []byte(canary), nil); bytes.Contains(rest, []byte("canary of")) {
		return fmt.Sprintf("%s: the answer has another's: %.300s", canary, text)
	}
	return ""
}

package gate_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/test/corpus"
)

const corpusFile = "../../../test/corpus/requests.jsonl"

var updateCorpus = flag.Bool("update-corpus", false, "write what the gate answers into the corpus; read the difference before you believe it")

// TestCorpus sends every request of the corpus. Each gets its verdict, none reaches the server, and a good request between
// them does.
func TestCorpus(t *testing.T) {
	t.Parallel()
	var begun atomic.Int64
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Session-Id") != "" {
			sessions(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Mcp-Session-Id", fmt.Sprintf("server-session-%d", begun.Add(1)))
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`)
	})
	withCarol := func(key *string) func(*world) {
		return func(w *world) {
			text, accepted := gatetest.NewKey(t, time.Now().Add(time.Hour))
			*key = text
			w.config.Clients = append(w.config.Clients, gateconfig.Client{Object: gateconfig.Object{Namespace: "agents", Name: "carol"}, Keys: []gateconfig.Key{accepted}})
			w.config.Policy.Rules[0].Clients = append(w.config.Policy.Rules[0].Clients, "agents/carol")
			w.config.Policy.Rules[0].Resources = []string{"file:///pub/**"}
			w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: "friends/1", Clients: []string{"agents/alice"}, Tools: []string{"copy"}, Expression: corpus.Condition})
		}
	}
	var known corpus.Credentials
	plain := newWorld(t, upstream.address(), withCarol(&known.Carol))
	known.Alice, known.Bob = plain.aliceKey, plain.bobKey
	known.Mine, _ = plain.begins(t, known.Alice)
	_, known.MyEvent = plain.begins(t, known.Alice)
	known.Theirs, known.TheirEvent = plain.begins(t, known.Carol)
	// What tokens are about goes to a gate that takes some, and what stalls to one that does not wait for long.
	forged := corpus.Credentials{Stranger: gatetest.NewIssuer(t, issuerURL)}
	tokens, issuer := withTokens(t, upstream.address(), withCarol(&forged.Carol))
	forged.Alice, forged.Bob, forged.Issuer = tokens.aliceKey, tokens.bobKey, issuer
	var slow corpus.Credentials
	brief := newWorld(t, upstream.address(), withCarol(&slow.Carol), func(w *world) {
		w.options.Timeouts = listener.Timeouts{Header: time.Second, Body: time.Second, Write: time.Minute, Idle: time.Minute}
	})
	slow.Alice, slow.Bob = brief.aliceKey, brief.bobKey
	to := func(h *corpus.Request) (*world, corpus.Credentials) {
		switch {
		case h.Token != nil:
			return tokens, forged
		case h.Stalls:
			return brief, slow
		}
		return plain, known
	}
	copies := strings.NewReplacer(`"greet"`, `"copy"`, `"name":"x"`, `"path":"/pub/a"`).Replace(legacyCall)
	if status, _, body := do(t, plain.keyed(known.Alice), plain.post(copies)); status != http.StatusOK {
		t.Errorf("what the condition allows: %d %s", status, body)
	}
	cases, err := corpus.Requests()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 300 {
		t.Errorf("only %d requests", len(cases))
	}
	for i := range cases {
		h := &cases[i]
		w, credentials := to(h)
		if i%50 == 0 || h.Category != cases[i-1].Category {
			good := corpus.Good()
			if h.Token != nil {
				good.Token = &corpus.Token{}
			}
			if h.HTTP2 != nil {
				good.HTTP2 = &corpus.Frames{}
			}
			before := len(upstream.seen())
			if got := w.attack(t, good, credentials); got != (corpus.Verdict{Status: http.StatusOK}) || len(upstream.seen()) != before+1 {
				t.Fatalf("a good request before %s/%s: %+v", h.Category, h.Name, got)
			}
		}
		before := len(upstream.seen())
		got := w.attack(t, h, credentials)
		if n := len(upstream.seen()) - before; n > 0 || got.Status > 0 && got.Status < 400 {
			t.Errorf("%s/%s: %+v, and the server got %d requests", h.Category, h.Name, got, n)
		}
		if !*updateCorpus && got != h.Want {
			t.Errorf("%s/%s: got %+v, want %+v", h.Category, h.Name, got, h.Want)
		}
		h.Want = got
	}
	for _, w := range []*world{plain, tokens, brief} {
		if _, err := audit.Verify(strings.NewReader(w.audit.String())); err != nil {
			t.Error(err)
		}
	}
	if *updateCorpus {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		for _, h := range cases {
			if err := encoder.Encode(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(corpusFile, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// begins has the holder of a key begin a session, and returns its id and that of an event in it.
func (w *world) begins(t *testing.T, key string) (session, event string) {
	t.Helper()
	caller := w.keyed(key)
	status, header, body := do(t, caller, w.post(initialize))
	session = header.Get("Mcp-Session-Id")
	if status != http.StatusOK || session == "" {
		t.Fatalf("%d %v %s", status, header, body)
	}
	status, _, body = do(t, caller, w.post(legacyCall, set("Mcp-Session-Id", session)))
	line, _, _ := strings.Cut(body, "\n")
	event, ok := strings.CutPrefix(line, "id: ")
	if status != http.StatusOK || !ok {
		t.Fatalf("%d %s", status, body)
	}
	return session, event
}

// attack sends bytes over a connection of their own, from an address of their own, and says what became of them.
func (w *world) attack(t *testing.T, hostile *corpus.Request, credentials corpus.Credentials) corpus.Verdict {
	t.Helper()
	request, err := hostile.Bytes(t, credentials)
	if err != nil {
		t.Fatal(err)
	}
	n := sources.Add(1)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}}
	address := strings.TrimSuffix(strings.TrimPrefix(w.url, "https://"), "/mcp")
	protocol := "http/1.1"
	if hostile.HTTP2 != nil {
		protocol = "h2"
	}
	conn, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	before := len(w.audit.String())
	if !hostile.Stalls {
		// What waits for more than there is gets the end of it.
		end := time.AfterFunc(2*time.Second, func() { _ = conn.CloseWrite() })
		defer end.Stop()
	}
	if hostile.HTTP2 != nil {
		if status := hostile.SendHTTP2(t, conn, credentials); status > 0 {
			return corpus.Verdict{Status: status, Reason: w.reasons(t, before)}
		}
		// A stream may end before its line is written.
		return corpus.Verdict{}
	}
	// The gate may answer, and close, before it has read all.
	go func() { _, _ = conn.Write(request) }()
	got := corpus.Verdict{}
	if response, err := corpus.ReadAnswer(conn); err == nil {
		got.Status = response.StatusCode
		_ = conn.CloseWrite()
		_ = response.Body.Close()
	}
	// A second answer would be one to something smuggled.
	_, _ = io.Copy(io.Discard, conn)
	got.Reason = w.reasons(t, before)
	return got
}

// reasons are those that the audit log has from an offset on.
func (w *world) reasons(t *testing.T, before int) string {
	t.Helper()
	var reasons []string
	for line := range strings.Lines(w.audit.String()[before:]) {
		var record audit.Record
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Reason != "" {
			reasons = append(reasons, record.Reason)
		}
	}
	return strings.Join(reasons, " ")
}

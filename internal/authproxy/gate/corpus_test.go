package gate_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/test/corpus"
)

const corpusFile = "../../../test/corpus/requests.jsonl"

var updateCorpus = flag.Bool("update-corpus", false, "write what the gate answers into the corpus; read the difference before you believe it")

// TestCorpus sends every request of the corpus. Each gets its verdict, none reaches the server, and a good request between
// them does.
func TestCorpus(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), func(w *world) { w.config.Policy.Rules[0].Resources = []string{"file:///pub/**"} })
	credentials := corpus.Credentials(w.aliceKey, w.bobKey)
	cases, err := corpus.Requests()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 300 {
		t.Errorf("only %d requests", len(cases))
	}
	good := corpus.Good()
	for i := range cases {
		h := &cases[i]
		if i%50 == 0 {
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
	if _, err := audit.Verify(strings.NewReader(w.audit.String())); err != nil {
		t.Error(err)
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

// attack sends bytes over a connection of their own, from an address of their own, and says what became of them.
func (w *world) attack(t *testing.T, hostile *corpus.Request, credentials *strings.Replacer) corpus.Verdict {
	t.Helper()
	request, err := hostile.Bytes(credentials)
	if err != nil {
		t.Fatal(err)
	}
	n := sources.Add(1)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}}
	address := strings.TrimSuffix(strings.TrimPrefix(w.url, "https://"), "/mcp")
	conn, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	before := len(w.audit.String())
	// The gate may answer, and close, before it has read all.
	go func() { _, _ = conn.Write(request) }()
	// What waits for more than there is gets the end of it.
	end := time.AfterFunc(2*time.Second, func() { _ = conn.CloseWrite() })
	defer end.Stop()
	got := corpus.Verdict{}
	if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		got.Status = response.StatusCode
		_ = conn.CloseWrite()
		_ = response.Body.Close()
	}
	// A second answer would be one to something smuggled.
	_, _ = io.Copy(io.Discard, conn)
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
	got.Reason = strings.Join(reasons, " ")
	return got
}

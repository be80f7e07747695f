package gate_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

const corpusFile = "../../../test/corpus/requests.jsonl"

var updateCorpus = flag.Bool("update-corpus", false, "write what the gate answers into the corpus; read the difference before you believe it")

// hostile is one request of the corpus; test/corpus/README.md says what its members mean.
type hostile struct {
	Category string            `json:"category"`
	Name     string            `json:"name"`
	Line     string            `json:"line,omitempty"`
	Set      map[string]string `json:"set,omitempty"`
	Unset    []string          `json:"unset,omitempty"`
	Add      []string          `json:"add,omitempty"`
	Body     string            `json:"body,omitempty"`
	Hex      string            `json:"hex,omitempty"`
	Raw      string            `json:"raw,omitempty"`
	Want     verdict           `json:"want"`
}

// verdict is what the request gets: the status, 0 for a connection that is closed without an answer, and the reasons in the
// audit log; none where the HTTP server refuses it before it is a request.
type verdict struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
}

// bytes is the request as it goes over the connection.
func (h *hostile) bytes(t *testing.T, credentials *strings.Replacer) []byte {
	t.Helper()
	if h.Raw != "" {
		return []byte(credentials.Replace(h.Raw))
	}
	body := []byte(h.Body)
	if h.Hex != "" {
		var err error
		if body, err = hex.DecodeString(h.Hex); err != nil {
			t.Fatal(err)
		}
	}
	head := [][2]string{
		{"Host", host}, {"Authorization", "Bearer KEY"}, {"Content-Type", "application/json"}, {"Accept", "application/json, text/event-stream"},
		{"MCP-Protocol-Version", "2025-11-25"},
	}
	var lines []string
	set := map[string]string{}
	for name, value := range h.Set {
		set[strings.ToLower(name)] = name + ": " + value
	}
	unset := " " + strings.ToLower(strings.Join(h.Unset, " ")) + " "
	for _, field := range head {
		name := strings.ToLower(field[0])
		line := field[0] + ": " + field[1]
		if other, ok := set[name]; ok {
			line = other
			delete(set, name)
		}
		if !strings.Contains(unset, " "+name+" ") {
			lines = append(lines, line)
		}
	}
	for name, line := range set {
		if !strings.Contains(unset, " "+name+" ") {
			lines = append(lines, line)
		}
	}
	lines = append(append(lines, h.Add...), fmt.Sprintf("Content-Length: %d", len(body)))
	line := h.Line
	if line == "" {
		line = "POST /mcp HTTP/1.1"
	}
	return append([]byte(credentials.Replace(line+"\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n")), body...)
}

// TestCorpus sends every request of the corpus. Each gets its verdict, none reaches the server, and a good request between
// them does.
func TestCorpus(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address(), func(w *world) { w.config.Policy.Rules[0].Resources = []string{"file:///pub/**"} })
	last := w.aliceKey[len(w.aliceKey)-1:]
	other := "a"
	if last == other {
		other = "b"
	}
	credentials := strings.NewReplacer("KEY", w.aliceKey, "CUT", w.aliceKey[:len(w.aliceKey)-1], "UPPER", strings.ToUpper(w.aliceKey),
		"WRONG", w.aliceKey[:len(w.aliceKey)-1]+other, "BOB", w.bobKey, "PUBLIC", strings.Split(w.aliceKey, "_")[1])

	text, err := os.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	var cases []hostile
	names := map[string]bool{}
	for line := range bytes.Lines(text) {
		var h hostile
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&h); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if name := h.Category + "/" + h.Name; names[name] {
			t.Errorf("%s is there twice", name)
		} else {
			names[name] = true
		}
		cases = append(cases, h)
	}
	if len(cases) < 300 {
		t.Errorf("only %d requests", len(cases))
	}
	good := &hostile{Body: legacyCall}
	for i := range cases {
		h := &cases[i]
		if i%50 == 0 {
			before := len(upstream.seen())
			if got := w.attack(t, good.bytes(t, credentials)); got != (verdict{Status: http.StatusOK}) || len(upstream.seen()) != before+1 {
				t.Fatalf("a good request before %s/%s: %+v", h.Category, h.Name, got)
			}
		}
		before := len(upstream.seen())
		got := w.attack(t, h.bytes(t, credentials))
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
func (w *world) attack(t *testing.T, request []byte) verdict {
	t.Helper()
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
	got := verdict{}
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

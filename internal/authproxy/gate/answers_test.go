package gate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
)

const answersFile = "../../../test/corpus/answers.jsonl"

var updateAnswers = flag.Bool("update-answers", false, "write what callers get into the corpus of answers; read the difference before you believe it")

// marker is in what no caller and no log may ever have of an answer.
const marker = "EVIL"

// hostileAnswer is one answer of the corpus; test/corpus/README.md says what its members mean.
type hostileAnswer struct {
	Category string   `json:"category"`
	Name     string   `json:"name"`
	Request  string   `json:"request,omitempty"`
	Status   string   `json:"status,omitempty"`
	Head     []string `json:"head,omitzero"`
	Body     string   `json:"body,omitempty"`
	Events   string   `json:"events,omitempty"`
	Raw      *string  `json:"raw,omitempty"`
	Latin1   bool     `json:"latin1,omitempty"`
	ByByte   bool     `json:"byByte,omitempty"`
	Endless  string   `json:"endless,omitempty"`
	Times    int      `json:"times,omitempty"`
	End      string   `json:"end,omitempty"`
	Leaves   bool     `json:"leaves,omitempty"`
	Want     received `json:"want"`
}

// received is what the caller gets: the status, 0 for none; the messages, "answer", "error" or "message" each, or "cut" where
// the connection ends before the answer does, "left" where the caller does not wait for it; and the reason in the audit log.
type received struct {
	Status int    `json:"status"`
	Gets   string `json:"gets"`
	Reason string `json:"reason"`
}

// bytes is the answer as it goes over the connection.
func (a *hostileAnswer) bytes() []byte {
	if a.Raw != nil {
		return a.encode(*a.Raw)
	}
	status, head, body := a.Status, a.Head, a.encode(a.Body)
	if status == "" {
		status = "200 OK"
	}
	switch {
	case a.Events != "":
		events := a.encode(a.Events)
		head = append([]string{"Content-Type: text/event-stream", "Transfer-Encoding: chunked"}, head...)
		body = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(events), events)
	case head == nil:
		head = []string{"Content-Type: application/json"}
		fallthrough
	default:
		head = append(head, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return append(a.encode("HTTP/1.1 "+status+"\r\n"+strings.Join(head, "\r\n")+"\r\n\r\n"), body...)
}

func (a *hostileAnswer) encode(text string) []byte {
	if !a.Latin1 {
		return []byte(text)
	}
	var raw []byte
	for _, r := range text {
		raw = append(raw, byte(r))
	}
	return raw
}

// liar is a server that answers as it is told, and a good request well, on the same connections.
type liar struct {
	net.Listener
	mu          sync.Mutex
	says        *hostileAnswer
	said, ended chan struct{}
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &liar{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// next makes the server say a to the next request. Said is closed when what has an end is said, ended when all is, and the
// gate let go of the connection where there is no end.
func (s *liar) next(a *hostileAnswer) (said, ended chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says, s.said, s.ended = a, make(chan struct{}), make(chan struct{})
	return s.said, s.ended
}

func (s *liar) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		a, said, ended := s.says, s.said, s.ended
		s.says = nil
		s.mu.Unlock()
		if a == nil {
			var message struct{ ID json.RawMessage }
			_ = json.Unmarshal(body, &message)
			text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"good"}]}}`, message.ID)
			if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
				return
			}
			continue
		}
		goesOn := say(conn, a, said)
		close(ended)
		if !goesOn {
			return
		}
	}
}

// say says the answer and returns whether the connection goes on.
func say(conn net.Conn, a *hostileAnswer, said chan struct{}) bool {
	text := a.bytes()
	step := len(text)
	if a.ByByte {
		step = 1
	}
	for ; len(text) > 0; text = text[min(step, len(text)):] {
		if _, err := conn.Write(text[:min(step, len(text))]); err != nil {
			close(said)
			return false
		}
	}
	close(said)
	if a.Times > 0 {
		if _, err := conn.Write(bytes.Repeat(a.encode(a.Endless), a.Times)); err != nil {
			return false
		}
	}
	for again := a.encode(strings.Repeat(a.Endless, 1+1000/max(1, len(a.Endless)))); a.Endless != "" && a.Times == 0; {
		if _, err := conn.Write(again); err != nil {
			return false
		}
	}
	switch a.End {
	case "close":
		// Closing with something unread would take the answer back.
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		return false
	case "reset":
		_ = conn.(*net.TCPConn).SetLinger(0)
		return false
	case "silence":
		_, _ = io.Copy(io.Discard, conn)
		return false
	}
	return true
}

// asks are the requests that the answers are to.
func (w *world) asks(kind string) *http.Request {
	modern := func(r *http.Request, method string) *http.Request {
		r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		r.Header.Set("Mcp-Method", method)
		return r
	}
	list := func(what string) *http.Request {
		return w.post(`{"jsonrpc":"2.0","id":1,"method":"` + what + `/list"}`)
	}
	switch kind {
	case "", "call":
		return w.post(legacyCall)
	case "tools", "prompts", "resources", "resources/templates":
		return list(kind)
	case "read":
		return w.post(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///pub/a"}}`)
	case "modern":
		return w.modern()
	case "modern tools":
		return modern(w.post(strings.NewReplacer(`"tools/call"`, `"tools/list"`, `"name":"greet",`, "").Replace(modernCall)), "tools/list")
	case "initialize":
		return w.post(initialize)
	case "notification":
		return w.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	case "GET", "DELETE":
		return w.verb(kind)
	}
	w.t.Fatalf("no request is called %q", kind)
	return nil
}

// TestAnswerCorpus has a server give each answer of the corpus. The caller gets what the corpus says, nothing of what is
// marked in the answer, and on the same connections a good answer to its next request.
func TestAnswerCorpus(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	var cases []hostileAnswer
	names := map[string]bool{}
	for line := range bytes.Lines(text) {
		var a hostileAnswer
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&a); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if name := a.Category + "/" + a.Name; names[name] {
			t.Errorf("%s is there twice", name)
		} else {
			names[name] = true
		}
		cases = append(cases, a)
	}
	if len(cases) < 300 {
		t.Errorf("only %d answers", len(cases))
	}
	server := newLiar(t)
	w := newWorld(t, server.Addr().String(), func(w *world) {
		w.config.Policy.Rules[0].Resources, w.config.Policy.Rules[0].Prompts = []string{"file:///pub/**"}, []string{"pub-*"}
	})
	caller := w.client()
	caller.Transport = withKey{w.aliceKey, caller.Transport}
	for i := range cases {
		a := &cases[i]
		name := a.Category + "/" + a.Name
		got := w.receive(t, server, caller, a)
		if !*updateAnswers && got != a.Want {
			t.Errorf("%s: got %+v, want %+v", name, got, a.Want)
		}
		a.Want = got
		status, _, body := do(t, caller, w.post(strings.Replace(legacyCall, `"id":1`, `"id":"next"`, 1)))
		if status != http.StatusOK || body != `{"jsonrpc":"2.0","id":"next","result":{"content":[{"type":"text","text":"good"}]}}` {
			t.Errorf("%s: the next request gets %d %s", name, status, body)
		}
	}
	if strings.Contains(w.audit.String()+w.log.String(), marker) {
		t.Error("a log has what a server said")
	}
	if *updateAnswers {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		for _, a := range cases {
			if err := encoder.Encode(a); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(answersFile, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// receive makes one request that the server answers with a, and says what became of it.
func (w *world) receive(t *testing.T, server *liar, caller *http.Client, a *hostileAnswer) (got received) {
	t.Helper()
	name := a.Category + "/" + a.Name
	said, ended := server.next(a)
	before := len(w.audit.String())
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	streams := strings.Contains(string(a.bytes()), "text/event-stream")
	if a.Leaves && !streams {
		go func() {
			<-said
			leave()
		}()
	}
	response, err := caller.Do(w.asks(a.Request).WithContext(ctx))
	var whole []byte
	if err == nil && a.Leaves && streams {
		got.Status = response.StatusCode
		leave()
		_, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	} else if err == nil {
		var head bytes.Buffer
		_ = response.Header.Write(&head)
		got.Status = response.StatusCode
		whole, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
		_ = response.Trailer.Write(&head)
		if strings.Contains(head.String()+string(whole), marker) {
			t.Errorf("%s: the caller gets %s\n%.300s", name, head.String(), whole)
		}
		for header := range response.Header {
			switch header {
			case "Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "X-Accel-Buffering", "Date", "Retry-After", "Mcp-Session-Id", "Allow":
			default:
				t.Errorf("%s: the caller gets the header %s", name, header)
			}
		}
		got.Gets = gets(t, name, response, whole)
	}
	if err != nil {
		got.Gets = "cut"
		if errors.Is(err, context.Canceled) {
			got.Gets = "left"
		}
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Errorf("%s: the gate does not let go of the server", name)
	}
	gatetest.Eventually(t, name+": the audit line is written", func() bool { return len(w.audit.String()) > before })
	got.Reason = w.audit.last(t).Reason
	return got
}

// gets are the answers to the request among what the caller received, which has to be JSON-RPC.
func gets(t *testing.T, name string, response *http.Response, body []byte) string {
	t.Helper()
	messages := [][]byte{body}
	if response.Header.Get("Content-Type") == "text/event-stream" {
		messages = eventData(body)
	} else if len(body) == 0 {
		return ""
	}
	var all []string
	for _, text := range messages {
		var m struct {
			JSONRPC       string
			ID            json.RawMessage
			Method        string
			Result, Error json.RawMessage
		}
		if err := json.Unmarshal(text, &m); err != nil || m.JSONRPC != "2.0" {
			t.Errorf("%s: the caller gets %.300q: %v", name, text, err)
			continue
		}
		switch {
		case m.Method != "":
			all = append(all, "message")
		case m.Result != nil:
			all = append(all, "answer")
		default:
			all = append(all, "error")
		}
	}
	return strings.Join(all, " ")
}

// eventData returns the data of a stream's events as a browser reads them (HTML, section 9.2.6).
func eventData(stream []byte) (all [][]byte) {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(string(stream), "\ufeff"))
	var data []string
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			if joined := strings.Join(data, "\n"); joined != "" {
				all = append(all, []byte(joined))
			}
			data = nil
			continue
		}
		if field, value, _ := strings.Cut(line, ":"); field == "data" {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return all
}

package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/test/corpus"
)

const answersFile = "../../../test/corpus/answers.jsonl"

var updateAnswers = flag.Bool("update-answers", false, "write what callers get into the corpus of answers; read the difference before you believe it")

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
	cases, err := corpus.Answers()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 300 {
		t.Errorf("only %d answers", len(cases))
	}
	server := corpus.NewLiar(t)
	patient := newWorld(t, server.Addr().String(), func(w *world) {
		w.config.Policy.Rules[0].Resources, w.config.Policy.Rules[0].Prompts = []string{"file:///pub/**"}, []string{"pub-*"}
	})
	hasty := newWorld(t, server.Addr().String(), func(w *world) { w.config.Limits.AnswerWithinSeconds = 1 })
	callers := map[*world]*http.Client{patient: patient.keyed(patient.aliceKey), hasty: hasty.keyed(hasty.aliceKey)}
	for i := range cases {
		a := &cases[i]
		name, w := a.Category+"/"+a.Name, patient
		if a.Category == "slow" {
			w = hasty
		}
		caller := callers[w]
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
	for w := range callers {
		if strings.Contains(w.audit.String()+w.log.String(), corpus.Marker) {
			t.Error("a log has what a server said")
		}
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
func (w *world) receive(t *testing.T, server *corpus.Liar, caller *http.Client, a *corpus.Answer) (got corpus.Received) {
	t.Helper()
	name := a.Category + "/" + a.Name
	said, ended := server.Next(a)
	before := len(w.audit.String())
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	streams := strings.Contains(string(a.Bytes()), "text/event-stream")
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
		if strings.Contains(head.String()+string(whole), corpus.Marker) {
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

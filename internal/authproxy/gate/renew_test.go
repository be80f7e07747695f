package gate_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// paused is a server whose answers wait for what they are to be, after what tells that the request is there.
type paused struct{ asked, answer chan string }

func (p *paused) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Mcp-Session-Id") == "" && r.Header.Get("Mcp-Protocol-Version") != "2026-07-28" {
		sessions(w, r)
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "json") {
		sessions(w, r)
		return
	}
	select {
	case p.asked <- "":
	default: // the gate's own word to the server
		w.WriteHeader(http.StatusAccepted)
		return
	}
	select {
	case text := <-p.answer:
		if strings.HasPrefix(text, "data: ") {
			w.Header().Set("Content-Type", "text/event-stream")
		} else {
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = io.WriteString(w, text)
	case <-r.Context().Done():
	}
}

// TestAnswersAreJudgedByWhatIsInForce: what comes of a call that was made before the policy was tightened is judged by the policy
// that is in force when it comes.
func TestAnswersAreJudgedByWhatIsInForce(t *testing.T) {
	t.Parallel()
	const lists = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"greet"},{"name":"slow"}]}}`
	const done = `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	const asks = `{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}`
	const wants = `{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}}}}`
	only := func(c *gateconfig.Config) {
		c.Policy.Rules = []policy.Rule{{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"greet"}}}
	}
	for name, test := range map[string]struct {
		request func(*world) *http.Request
		answer  string
		not     string
		has     string
	}{
		"a list":                  {func(w *world) *http.Request { return w.post(legacyList) }, lists, "slow", "greet"},
		"a list in a stream":      {func(w *world) *http.Request { return w.post(legacyList) }, "data: " + lists + "\n\n", "slow", "greet"},
		"a request of the server": {func(w *world) *http.Request { return w.post(legacyCall) }, "data: " + asks + "\n\ndata: " + done + "\n\n", "who?", "content"},
		"what an answer wants":    {(*world).modern, wants, "who?", "error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &paused{asked: make(chan string), answer: make(chan string)}
			w := newWorld(t, newRecorder(t, server.serve).address(), askable)
			alice := w.keyed(w.aliceKey)
			_, header, _ := do(t, alice, w.post(initialize))
			r := test.request(w)
			r.Header.Set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))
			got := make(chan string)
			go func() {
				response, err := alice.Do(r)
				if err != nil {
					got <- err.Error()
					return
				}
				defer response.Body.Close()
				text, _ := io.ReadAll(response.Body)
				got <- string(text)
			}()
			select {
			case <-server.asked:
			case <-time.After(time.Minute):
				t.Fatal("the server is not asked")
			}
			w.reload(only)
			server.answer <- test.answer
			if text := <-got; strings.Contains(text, test.not) || !strings.Contains(text, test.has) {
				t.Errorf("%s", text)
			}
		})
	}
}

// TestStandingStreamsEndWithTheirRule: a stream that would not end by itself does not outlive the rule that allowed it.
func TestStandingStreamsEndWithTheirRule(t *testing.T) {
	t.Parallel()
	const listen = `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["file:///pub/a"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	server := &streamer{next: make(chan string)}
	end := time.Now().Add(2 * time.Second).Truncate(time.Second)
	w := newWorld(t, newRecorder(t, server.serve).address(), func(w *world) {
		w.config.Policy.Rules = append(w.config.Policy.Rules, policy.Rule{ID: "friends/1", Clients: []string{"agents/alice"}, Resources: []string{"file:///pub/*"}, NotAfter: end.UTC()})
	})
	_, lines := open(t, w.keyed(w.aliceKey), w.post(listen, set("Mcp-Protocol-Version", "2026-07-28"), set("Mcp-Method", "subscriptions/listen")))
	gatetest.Eventually(t, "the rule has ended", func() bool { return time.Now().After(end) })
	server.send(t, `data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"EVIL"}}`+"\n\n")
	if text, _ := io.ReadAll(lines); strings.Contains(string(text), "EVIL") || !strings.Contains(string(text), "ended while it was answered") {
		t.Errorf("%s", text)
	}
	gatetest.Eventually(t, "the server's stream has ended", func() bool { return server.count() == 0 })
}

// TestResumedCallsAreStillJudged: who may no longer make a call does not get what it returns by going on with its stream.
func TestResumedCallsAreStillJudged(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, sessions)
	w := newWorld(t, upstream.address())
	alice := w.keyed(w.aliceKey)
	_, header, _ := do(t, alice, w.post(initialize))
	session := set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))
	event := func(body string) func(*http.Request) {
		t.Helper()
		line, _ := bufio.NewReader(strings.NewReader(body)).ReadString('\n')
		id, ok := strings.CutPrefix(strings.TrimSpace(line), "id: ")
		if !ok {
			t.Fatalf("no event id: %s", body)
		}
		return set("Last-Event-Id", id)
	}
	_, _, body := do(t, alice, w.post(legacyCall, session))
	first := event(body)
	status, _, body := do(t, alice, w.verb(http.MethodGet, session, first))
	if seen := upstream.seen(); status != http.StatusOK || seen[len(seen)-1].header.Get("Last-Event-Id") != "7" {
		t.Fatalf("%d %s", status, body)
	}
	second := event(body)
	status, _, body = do(t, alice, w.post(legacyList, session))
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	list := event(body)
	w.reload(func(c *gateconfig.Config) { c.Policy.Rules[0].Tools = []string{"slow"} })
	for name, resumed := range map[string]func(*http.Request){"the call's event": first, "an event of the stream that went on": second} {
		before := len(upstream.seen())
		status, _, body := do(t, alice, w.verb(http.MethodGet, session, resumed))
		if r := w.audit.last(t); status != http.StatusForbidden || len(upstream.seen()) != before || r.Reason != "tool" || len(r.Targets) != 1 || r.Targets[0].Name != "greet" {
			t.Errorf("%s: %d %s, %+v", name, status, body, r)
		}
	}
	if status, _, body := do(t, alice, w.verb(http.MethodGet, session, list)); status != http.StatusOK {
		t.Errorf("a list's stream: %d %s", status, body)
	}
}

// TestSessionsEndWithTheirProcess: a server that began again may give the id of a session to somebody else.
func TestSessionsEndWithTheirProcess(t *testing.T) {
	t.Parallel()
	serve := func(address string) *httptest.Server {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(http.HandlerFunc(sessions))
		_ = s.Listener.Close()
		s.Listener = l
		s.Start()
		return s
	}
	first := serve("127.0.0.1:0")
	address := first.Listener.Addr().String()
	w := newWorld(t, address, func(w *world) { w.options.ListInterval = time.Hour })
	alice := w.keyed(w.aliceKey)
	begin := func() func(*http.Request) {
		_, header, _ := do(t, alice, w.post(initialize))
		return set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))
	}
	session := begin()
	if status, _, body := do(t, alice, w.post(legacyCall, session)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	first.Close()
	second := serve(address)
	defer second.Close()
	another := begin()
	if status, _, body := do(t, alice, w.post(legacyCall, another)); status != http.StatusOK {
		t.Errorf("a session with the new process: %d %s", status, body)
	}
	gatetest.Eventually(t, "the session has ended with its process", func() bool {
		status, _, _ := do(t, alice, w.post(legacyCall, session))
		return status == http.StatusNotFound
	})
	if status, _, body := do(t, alice, w.post(legacyCall, another)); status != http.StatusOK {
		t.Errorf("a session with the new process, later: %d %s", status, body)
	}
}

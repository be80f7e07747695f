package gate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// modernly makes a request of 2026-07-28 with the headers that it needs; name is what Mcp-Name says, empty for none.
func (w *world) modernly(method, name, params string) *http.Request {
	if params != "" {
		params += ","
	}
	r := w.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		method, params), set("Mcp-Protocol-Version", "2026-07-28"), set("Mcp-Method", method))
	if name != "" {
		r.Header.Set("Mcp-Name", name)
	}
	return r
}

// answers is the answer of an upstream by what is in the request.
func answers(by ...[2]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, one := range by {
			if strings.Contains(r.Header.Get("X-Seen"), one[0]) {
				_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":`+one[1]+`}`)
				return
			}
		}
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	}
}

// newReplies is an upstream that answers by what is in the request's body.
func newReplies(t *testing.T, by ...[2]string) *recorder {
	var upstream *recorder
	upstream = newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		seen := upstream.seen()
		r.Header.Set("X-Seen", seen[len(seen)-1].body)
		answers(by...)(w, r)
	})
	return upstream
}

func field(t *testing.T, body string, path ...string) string {
	t.Helper()
	var at any
	if err := json.Unmarshal([]byte(body), &at); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, name := range path {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	text, _ := at.(string)
	return text
}

// TestRequestState: the state of a request is worth something to the principal that has it, for the same request, and for an
// hour; at another replica of the server too.
func TestRequestState(t *testing.T) {
	t.Parallel()
	upstream := newReplies(t,
		[2]string{`"inputResponses"`, `{"resultType":"complete","content":[]}`},
		[2]string{`"requestState"`, `{"resultType":"complete","content":[]}`},
		[2]string{`"name"`, `{"resultType":"input_required","requestState":"{\"user\":\"alice\"}","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object"}}}}}`})
	w := newWorld(t, upstream.address(), askable)
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	const call = `"name":"greet","arguments":{"to":"you","n":1}`
	ask := func(c *http.Client) string {
		t.Helper()
		status, _, body := do(t, c, w.modernly("tools/call", "greet", call))
		state := field(t, body, "result", "requestState")
		if status != http.StatusOK || state == "" || strings.Contains(body, "alice") || !strings.Contains(body, "elicitation/create") {
			t.Fatalf("%d %s", status, body)
		}
		return state
	}
	state := ask(alice)
	bring := func(call, state string) string {
		return call + `,"inputResponses":{"k":{"action":"accept","content":{}}},"requestState":"` + state + `"`
	}
	for name, test := range map[string]struct {
		client  *http.Client
		request *http.Request
	}{
		"bob brings alice's":     {bob, w.modernly("tools/call", "greet", bring(call, state))},
		"alice brings bob's":     {alice, w.modernly("tools/call", "greet", bring(call, ask(bob)))},
		"with other arguments":   {alice, w.modernly("tools/call", "greet", bring(`"name":"greet","arguments":{"to":"them","n":1}`, state))},
		"without arguments":      {alice, w.modernly("tools/call", "greet", bring(`"name":"greet"`, state))},
		"for another tool":       {alice, w.modernly("tools/call", "slow", bring(`"name":"slow","arguments":{"to":"you","n":1}`, state))},
		"for another method":     {alice, w.modernly("prompts/get", "greet", bring(call, state))},
		"the server's own state": {alice, w.modernly("tools/call", "greet", bring(call, `{\"user\":\"alice\"}`))},
		"a changed state":        {alice, w.modernly("tools/call", "greet", bring(call, state[:len(state)-4]+"AAAA"))},
		"without inputs":         {bob, w.modernly("tools/call", "greet", call+`,"requestState":"`+state+`"`)},
	} {
		before := upstream.bodies("")
		status, _, body := do(t, test.client, test.request)
		if record := w.audit.last(t); status != http.StatusBadRequest || upstream.bodies("") != before || record.Reason != "request-state" || strings.Contains(body, "alice") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	// Another order of the arguments is the same request; the server gets its own state, and nothing else is changed.
	status, _, body := do(t, alice, w.modernly("tools/call", "greet", bring(`"arguments": {"n":1, "to":"you"}, "name":"greet"`, state)))
	seen := upstream.seen()
	if got := seen[len(seen)-1].body; status != http.StatusOK || !strings.Contains(got, `"arguments": {"n":1, "to":"you"}, "name":"greet","inputResponses":{"k":{"action":"accept","content":{}}},"requestState":"{\"user\":\"alice\"}"`) {
		t.Errorf("%d %s; the server got %s", status, body, got)
	}
	// The retry is authorized again.
	replica := newWorld(t, upstream.address(), askable, func(other *world) {
		other.certificate, other.key, other.config.Clients, other.aliceKey = w.certificate, w.key, w.config.Clients, w.aliceKey
		other.serving = w.serving
	})
	if status, _, body := do(t, replica.keyed(w.aliceKey), replica.modernly("tools/call", "greet", bring(call, state))); status != http.StatusOK {
		t.Errorf("at another replica: %d %s", status, body)
	}
	w.reload(func(c *gateconfig.Config) { c.Policy.Forbidden = []string{"greet"} })
	if status, _, body := do(t, alice, w.modernly("tools/call", "greet", bring(call, state))); status != http.StatusForbidden {
		t.Errorf("after the policy changed: %d %s", status, body)
	}
}

// TestTasksBelongToWhoMadeThem: a task is asked about by its handle, which is its maker's; lists and notifications tell of no
// other; and who may not call the tool any more may not have the task.
func TestTasksBelongToWhoMadeThem(t *testing.T) {
	t.Parallel()
	const raw = "786512e2-9e0d-44bd-8f29-789f320fe840"
	upstream := newReplies(t,
		[2]string{`"tasks/list"`, `{"tasks":[{"taskId":"` + raw + `","status":"working"},{"taskId":"of-nobody","status":"working"}]}`},
		[2]string{`"tasks/result"`, `{"content":[{"type":"text","text":"done"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"` + raw + `"}}}`},
		[2]string{`"tasks/`, `{"resultType":"complete","taskId":"` + raw + `","status":"working"}`},
		[2]string{`"task":{`, `{"task":{"taskId":"` + raw + `","status":"working"}}`},
		[2]string{`"slow"`, `{"resultType":"task","taskId":"` + raw + `","status":"working","ttlMs":null}`})
	w := newWorld(t, upstream.address(), askable)
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	legacy := func(method, params string) *http.Request {
		return w.post(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + `}}`)
	}

	status, _, body := do(t, alice, w.modernly("tools/call", "slow", `"name":"slow"`))
	task := field(t, body, "result", "taskId")
	if status != http.StatusOK || task == "" || strings.Contains(body, raw) {
		t.Fatalf("%d %s", status, body)
	}
	_, _, body = do(t, alice, legacy("tools/call", `"name":"slow","task":{"ttl":60000}`))
	if again := field(t, body, "result", "task", "taskId"); again != task {
		t.Errorf("one task has the handles %q and %q", task, again)
	}
	of := func(id string) string { return `"taskId":"` + id + `"` }
	for name, request := range map[string]*http.Request{
		"get": w.modernly("tasks/get", task, of(task)), "update": w.modernly("tasks/update", task, of(task)+`,"inputResponses":{"k":{"action":"accept"}}`), "cancel": w.modernly("tasks/cancel", task, of(task)),
		"legacy get": legacy("tasks/get", of(task)), "legacy result": legacy("tasks/result", of(task)), "legacy cancel": legacy("tasks/cancel", of(task)),
	} {
		status, _, body := do(t, alice, request)
		seen := upstream.seen()
		last := seen[len(seen)-1]
		if status != http.StatusOK || strings.Contains(body, raw) || !strings.Contains(last.body, raw) || strings.Contains(last.body, task) {
			t.Errorf("%s: %d %s; the server got %s", name, status, body, last.body)
		}
		if header := last.header.Get("Mcp-Name"); !strings.HasPrefix(name, "legacy") && header != raw {
			t.Errorf("%s: the server is told the name %q", name, header)
		}
	}
	for name, test := range map[string]struct {
		client  *http.Client
		request *http.Request
	}{
		"bob gets alice's":            {bob, w.modernly("tasks/get", task, of(task))},
		"bob cancels alice's":         {bob, w.modernly("tasks/cancel", task, of(task))},
		"bob answers alice's":         {bob, w.modernly("tasks/update", task, of(task)+`,"inputResponses":{"k":{"action":"accept"}}`)},
		"bob gets alice's, legacy":    {bob, legacy("tasks/get", of(task))},
		"bob gets alice's result":     {bob, legacy("tasks/result", of(task))},
		"bob listens to alice's":      {bob, w.modernly("subscriptions/listen", "", `"notifications":{"taskIds":["`+task+`"]}`)},
		"the server's own id":         {alice, w.modernly("tasks/get", raw, of(raw))},
		"the server's own id, legacy": {alice, legacy("tasks/cancel", of(raw))},
		"alice listens to any":        {alice, w.modernly("subscriptions/listen", "", `"notifications":{"taskIds":["`+task+`","`+raw+`"]}`)},
	} {
		before := upstream.bodies("")
		if status, _, body := do(t, test.client, test.request); status != http.StatusBadRequest || upstream.bodies("") != before || w.audit.last(t).Reason != "task" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _, body := do(t, alice, legacy("tasks/list", "")); status != http.StatusOK || strings.Count(body, "taskId") != 1 || !strings.Contains(body, of(task)) {
		t.Errorf("alice's tasks: %d %s", status, body)
	}
	if status, _, body := do(t, bob, legacy("tasks/list", "")); status != http.StatusOK || !strings.Contains(body, `"tasks":[]`) {
		t.Errorf("bob's tasks: %d %s", status, body)
	}
	w.reload(func(c *gateconfig.Config) { c.Policy.Forbidden = []string{"slow"} })
	for _, request := range []*http.Request{w.modernly("tasks/get", task, of(task)), legacy("tasks/result", of(task))} {
		if status, _, body := do(t, alice, request); status != http.StatusForbidden || w.audit.last(t).Reason != "forbidden" {
			t.Errorf("after the tool was forbidden: %d %s", status, body)
		}
	}
	if _, _, body := do(t, alice, legacy("tasks/list", "")); !strings.Contains(body, `"tasks":[]`) {
		t.Errorf("the tasks of a forbidden tool: %s", body)
	}
}

// TestRelatedTask: what a message is about is a task of the caller's, and of the tool that it may still call; what the server says of
// another's task is not for the caller.
func TestRelatedTask(t *testing.T) {
	t.Parallel()
	about := func(id string) string {
		return `"_meta":{"io.modelcontextprotocol/related-task":{"x":[1],"taskId":"` + id + `"}}`
	}
	upstream := newRecorder(t, nil)
	upstream.answer = func(w http.ResponseWriter, _ *http.Request) {
		switch seen := upstream.seen(); {
		case strings.Contains(seen[len(seen)-1].body, `"task":{`):
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t1","status":"working"}}}`)
		case strings.Contains(seen[len(seen)-1].body, `"greet"`):
			w.Header().Set("Content-Type", "text/event-stream")
			for _, id := range []string{"t1", "t2"} {
				_, _ = io.WriteString(w, `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,`+about(id)+`}}`+"\n\n")
			}
			_, _ = io.WriteString(w, `data: {"jsonrpc":"2.0","id":1,"result":{"content":[],`+about("t1")+`}}`+"\n\n")
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}
	w := newWorld(t, upstream.address())
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	_, _, body := do(t, alice, w.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","task":{}}}`))
	task := field(t, body, "result", "task", "taskId")
	if task == "" {
		t.Fatal(body)
	}
	call := func(id string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + about(id) + `,"name":"greet"}}`
	}
	notice := func(id string) string {
		return `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,` + about(id) + `}}`
	}
	status, _, body := do(t, alice, w.post(call(task)))
	if status != http.StatusOK || strings.Contains(body, `"taskId":"t`) || strings.Count(body, task) != 2 {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := do(t, alice, w.post(notice(task))); status != http.StatusAccepted {
		t.Errorf("a notification: %d", status)
	}
	for _, one := range upstream.seen()[1:] {
		if strings.Contains(one.body, "related-task") && !strings.Contains(one.body, `"x":[1],"taskId":"t1"`) {
			t.Errorf("the server got %s", one.body)
		}
	}
	refused := func(name string, c *http.Client, body string) {
		t.Helper()
		before := upstream.bodies("")
		if status, _, text := do(t, c, w.post(body)); status != http.StatusBadRequest || upstream.bodies("") != before {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	for _, body := range []func(string) string{call, notice} {
		refused("bob's message about alice's task", bob, body(task))
		refused("the server's own id", alice, body("t1"))
	}
	refused("no id", alice, strings.Replace(call(task), `"taskId"`, `"id"`, 1))
	refused("an id in another spelling", alice, strings.Replace(call(task), `"taskId"`, `"taskid"`, 1))
	refused("no object", alice, strings.Replace(call(task), `{"x":[1],"taskId":"`+task+`"}`, `"`+task+`"`, 1))
	refused("about one task, asking for another", alice, `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"`+task+`",`+about(task)+`}}`)
	w.reload(func(c *gateconfig.Config) { c.Policy.Forbidden = []string{"slow"} })
	refused("a task of a tool that is forbidden", alice, call(task))
}

// TestTaskNotifications: a stream that was opened for a task tells of it and of no other.
func TestTaskNotifications(t *testing.T) {
	t.Parallel()
	note := func(id string) string {
		return `data: {"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"` + id + `","status":"completed","result":{"content":[]}}}` + "\n\n"
	}
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") != "subscriptions/listen" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"t1","status":"working"}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"taskIds":["t1"]}}}`+"\n\n"+note("t2")+note("t1"))
	})
	w := newWorld(t, upstream.address())
	alice := w.keyed(w.aliceKey)
	_, _, body := do(t, alice, w.modernly("tools/call", "slow", `"name":"slow"`))
	task := field(t, body, "result", "taskId")
	status, _, body := do(t, alice, w.modernly("subscriptions/listen", "", `"notifications":{"taskIds":["`+task+`"]}`))
	if status != http.StatusOK || strings.Contains(body, "t2") || strings.Contains(body, `"t1"`) || strings.Count(body, task) != 2 {
		t.Errorf("%d %s", status, body)
	}
	seen := upstream.seen()
	if got := seen[len(seen)-1].body; !strings.Contains(got, `"taskIds":["t1"]`) {
		t.Errorf("the server got %s", got)
	}
	record := w.audit.last(t)
	if len(record.Targets) != 1 || record.Targets[0] != (audit.Target{Kind: "tool", Name: "slow"}) || record.Rule != "friends/0" {
		t.Errorf("the audit line is %+v", record)
	}
	gatetest.Eventually(t, "the tasks are counted by their methods", func() bool {
		return w.metric(t, `bartizan_gate_requests_total{decision="allowed",method="subscriptions/listen",status="200"}`) == "1"
	})
}

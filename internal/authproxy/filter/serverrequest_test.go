package filter

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// askable may be asked to fill in forms, to open pages of login.example.com, and for roots; it may call slow.
func askable(t testing.TB) *decision.Grants {
	t.Helper()
	table, err := decision.Compile(policy.Policy{Rules: []policy.Rule{{
		ID: "p/0", Clients: []string{"a/bot"}, Tools: []string{"slow"}, Resources: []string{"file:///pub/**"},
		ServerRequests: []policy.ServerRequest{policy.ElicitationForm, policy.ElicitationURL, policy.Roots}, Hosts: []string{"login.example.com"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return table.For("a/bot")
}

// client knows the task t1, as h1, and has been sent the request 7.
type client struct {
	asked []ServerRequest
	// fresh says that its stream goes on with no other.
	fresh bool
}

func (c *client) Ask(r ServerRequest) bool {
	c.asked = append(c.asked, r)
	return true
}
func (c *client) Resumes() bool                      { return !c.fresh }
func (c *client) Withdraw(id []byte) bool            { return string(id) == "7" }
func (c *client) State(state string) (string, error) { return "state-" + state, nil }
func (c *client) NewTask(id string) (string, error)  { return "new-" + id, nil }
func (c *client) Task(id string) string {
	return map[string]string{"t1": "h1"}[id]
}

const (
	form    = `{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{"url":{"type":"string"}}}}}`
	page1   = `{"method":"elicitation/create","params":{"mode":"url","url":"https://login.example.com/a?b","message":"m"}}`
	evil    = `{"method":"elicitation/create","params":{"mode":"url","url":"https://login.example.com@evil.example/","message":"m"}}`
	sample  = `{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}`
	folders = `{"method":"roots/list"}`
)

// legacyRequest is a request of the server in a session.
func legacyRequest(request string) string {
	return `{"jsonrpc":"2.0","id":7,` + strings.TrimPrefix(request, "{")
}

// TestServerRequests: in a legacy session the client gets what the policy allows the server to ask.
func TestServerRequests(t *testing.T) {
	for request, want := range map[string]string{
		form: "ElicitationForm", page1: "ElicitationURL", folders: "Roots", `{"method":"ping"}`: "ping",
		sample: "", evil: "", `{"method":"tools/call","params":{"name":"slow"}}`: "", `{"method":"tasks/get","params":{"taskId":"t1"}}`: "",
		strings.Replace(form, `"message"`, `"mode":"url","message"`, 1): "", strings.Replace(form, `"message"`, `"mode":"page","message"`, 1): "", strings.Replace(form, `"message"`, `"mode":["form"],"message"`, 1): "",
		strings.Replace(form, `"message"`, `"url":"https://evil.example/","message"`, 1): "", strings.Replace(form, `"message"`, `"task":{"ttl":1},"message"`, 1): "",
		strings.Replace(page1, "https", "http", 1): "", strings.Replace(page1, "/a?b", `\u0040evil.example`, 1): "", strings.Replace(page1, `"https://login.example.com/a?b"`, "1", 1): "",
	} {
		c := &client{}
		in := legacyRequest(request)
		out, err := AnswerTo(c, legacy("tools/call"), askable(t), lowest, now, []byte(in))
		switch {
		case err != nil || len(c.asked) != 1 || string(c.asked[0].ID) != "7":
			t.Errorf("%s: %v %+v", request, err, c.asked)
		case want == "" && (out != nil || c.asked[0].Decision.Allowed):
			t.Errorf("%s passed: %+v", request, c.asked[0])
		case want != "" && string(out) != in:
			t.Errorf("%s became %s", request, out)
		case want != "" && want != "ping" && string(c.asked[0].Asks.Kind) != want:
			t.Errorf("%s asks for %+v", request, c.asked[0].Asks)
		}
	}
	for in, want := range map[string]error{
		strings.Replace(legacyRequest(folders), `"id":7`, `"id":null`, 1): ErrShape, strings.Replace(legacyRequest(folders), `"id":7`, `"id":{}`, 1): ErrShape,
		legacyRequest(`{"method":"elicitation/create","params":{"mode":"form","Mode":"url","url":"https://evil.example/"}}`): strictjson.ErrVariant,
		legacyRequest(`{"method":"elicitation/create","params":{"mode":"form","mode":"url"}}`):                               strictjson.ErrDuplicate,
	} {
		if out, err := AnswerTo(&client{}, legacy("tools/call"), askable(t), lowest, now, []byte(in)); !errors.Is(err, want) {
			t.Errorf("%s: %s %v, want %v", in, out, err, want)
		}
	}
	if _, err := AnswerTo(&client{}, modern("tools/call"), askable(t), lowest, now, []byte(legacyRequest(folders))); !errors.Is(err, ErrServer) {
		t.Errorf("a request in a revision without: %v", err)
	}
}

// TestInputRequired: since 2026-07-28 what the server asks is in its answer, and its state is bound.
func TestInputRequired(t *testing.T) {
	wants := func(members string) string { return answered(`{"resultType":"input_required",` + members + `}`) }
	for _, test := range []struct {
		m        *message.Message
		in, want string
		err      error
		asked    []string
	}{
		{modern("tools/call"), wants(`"inputRequests":{"a b":` + form + `,"c":` + page1 + `}, "requestState" : "s"`), wants(`"inputRequests":{"a b":` + form + `,"c":` + page1 + `},"requestState":"state-s"`), nil, []string{"ElicitationForm", "ElicitationURL"}},
		{modern("prompts/get"), wants(`"requestState":"s\u0022"`), wants(`"requestState":"state-s""`), nil, nil},
		{modern("tools/call"), wants(`"inputRequests":{}`), wants(`"inputRequests":{}`), nil, nil},
		{modern("resources/read"), wants(`"inputRequests":{"r":` + folders + `},"requestState":"s"`), wants(`"inputRequests":{"r":` + folders + `},"requestState":"state-s"`), nil, []string{"Roots"}},
		{modern("tools/call"), wants(`"inputRequests":{"a":` + form + `,"b":` + sample + `}`), "", ErrDenied, []string{"ElicitationForm", "Sampling"}},
		{modern("tools/call"), wants(`"inputRequests":{"a":` + evil + `}`), "", ErrDenied, []string{""}},
		{modern("resources/read"), wants(`"inputRequests":{"a":` + sample + `}`), "", ErrDenied, []string{"Sampling"}},
		{modern("tools/call"), wants(`"inputRequests":{"a":{"method":"ping"}}`), "", ErrDenied, nil},
		{modern("tools/call"), wants(`"inputRequests":{"a":{"method":"tools/call","params":{"name":"slow"}}}`), "", ErrDenied, []string{""}},
		{modern("tools/call"), wants(`"inputRequests":{"a":{}}`), "", ErrDenied, []string{""}},
		{modern("tools/call"), wants(`"inputRequests":[` + form + `]`), "", strictjson.ErrKind, nil},
		{modern("tools/call"), wants(`"content":[]`), "", ErrShape, nil},
		{modern("tools/call"), wants(`"requestState":7`), "", ErrShape, nil},
		{legacy("tools/call"), wants(`"inputRequests":{"a":` + form + `}`), "", ErrShape, nil},
		{modern("tools/call"), answered(`{"content":[],"inputRequests":{"a":` + form + `}}`), "", ErrShape, nil},
		{modern("tools/call"), answered(`{"resultType":"complete","requestState":"s"}`), "", ErrShape, nil},
		{modern("tools/call"), answered(`{"resultType":"later"}`), "", ErrShape, nil},
		{modern("tools/call"), answered(`{"ResultType":"input_required"}`), "", strictjson.ErrVariant, nil},
		{modern("tools/call"), answered(`{"result_type":"input_required","content":[]}`), "", strictjson.ErrVariant, nil},
		{modern("tools/call"), answered(`{"input\u0052equestſ":{}}`), "", strictjson.ErrVariant, nil},
		{modern("tools/call"), answered(`{"resultType":"complete","resultType":"input_required"}`), "", strictjson.ErrDuplicate, nil},
		{modern("tools/list"), wants(`"inputRequests":{"a":` + form + `},"cacheScope":"private","ttlMs":0`), "", ErrShape, nil},
		{modern("completion/complete"), wants(`"inputRequests":{"a":` + form + `}`), "", ErrShape, nil},
		{nil, wants(`"inputRequests":{"a":` + form + `}`), "", ErrShape, nil},
	} {
		c := &client{}
		out, err := AnswerTo(c, test.m, askable(t), lowest, now, []byte(test.in))
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("%s: %v, want %v", test.in, err, test.err)
			continue
		}
		if want := strings.ReplaceAll(test.want, `state-s"`+`"`, `state-s"`+`"`); err == nil && string(out) != want {
			t.Errorf("%s\n got %s\nwant %s", test.in, out, want)
		}
		var asked []string
		for _, r := range c.asked {
			if r.ID != nil {
				t.Errorf("%s: a part of an answer has an id", test.in)
			}
			asked = append(asked, string(r.Asks.Kind))
		}
		if !slices.Equal(asked, test.asked) {
			t.Errorf("%s asks for %q, want %q", test.in, asked, test.asked)
		}
		if err != nil {
			continue
		}
		if out, err := Answer(test.m, askable(t), lowest, now, []byte(test.in)); err == nil && !strings.Contains(test.in, "{}") {
			t.Errorf("%s passed without a client: %s", test.in, out)
		}
	}
	many := strings.Repeat(`"%":`+folders+`,`, maxInputs+1)
	for n := range maxInputs + 1 {
		many = strings.Replace(many, "%", strings.Repeat("a", n+1), 1)
	}
	if _, err := AnswerTo(&client{}, modern("tools/call"), askable(t), lowest, now, []byte(wants(`"inputRequests":{`+strings.TrimSuffix(many, ",")+`}`))); !errors.Is(err, ErrShape) {
		t.Errorf("asked for too much: %v", err)
	}
}

// TestPagesInErrors: an error of 2025-11-25 sends the user to pages, too.
func TestPagesInErrors(t *testing.T) {
	refusal := func(elicitations string) string {
		return `{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":` + elicitations + `}}}`
	}
	one := `{"mode":"url","elicitationId":"e","url":"https://login.example.com/","message":"m"}`
	out, err := AnswerTo(&client{}, legacy("tools/call"), askable(t), lowest, now, []byte(refusal(`[`+one+`]`)))
	if err != nil || !strings.Contains(string(out), "https://login.example.com/") {
		t.Errorf("%s %v", out, err)
	}
	said := strings.Replace(refusal(`[{"secret":1,`+one[1:]+`]`), `"data":{`, `"data":{"secret":2,`, 1)
	if out, err := AnswerTo(&client{}, legacy("tools/call"), askable(t), lowest, now, []byte(said)); err != nil || strings.Contains(string(out), "secret") || !strings.Contains(string(out), `"data":{"elicitations":[`+one+`]}`) {
		t.Errorf("%s %v", out, err)
	}
	for _, denied := range []string{
		`[` + one + `,` + strings.Replace(one, "login.example.com", "evil.example", 1) + `]`, `[{"mode":"form","url":"https://login.example.com/"}]`, `[{"url":"https://login.example.com/"}]`,
	} {
		if out, err := AnswerTo(&client{}, legacy("tools/call"), askable(t), lowest, now, []byte(refusal(denied))); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %s %v", denied, out, err)
		}
	}
	if _, data := Refusal(legacy("tools/call"), lowest, []byte(refusal(`[`+strings.Replace(one, "login.example.com", "evil.example", 1)+`]`))); data != nil {
		t.Errorf("a page in a refusal by HTTP: %s", data)
	}
}

// TestTasks: a client has handles for its own tasks and hears of no other.
func TestTasks(t *testing.T) {
	asksTask := legacy("tools/call")
	asksTask.AsksTask = true
	note := func(method, params string) string {
		return `{"jsonrpc":"2.0","method":"` + method + `","params":{` + params + `}}`
	}
	for _, test := range []struct {
		m        *message.Message
		in, want string
		err      error
	}{
		{modern("tools/call"), answered(`{"resultType":"task","taskId":"t9","status":"working"}`), answered(`{"resultType":"task","taskId":"new-t9","status":"working"}`), nil},
		{asksTask, answered(`{"task":{ "status":"working", "taskId" : "t9" },"_meta":{}}`), answered(`{"task":{"status":"working","taskId":"new-t9"},"_meta":{}}`), nil},
		{legacy("tools/call"), answered(`{"content":[],"task":"write"}`), answered(`{"content":[],"task":"write"}`), nil},
		{asksTask, answered(`{"task":{}}`), "", ErrShape}, {asksTask, answered(`{"task":{"taskId":"t1","taskID":"t9"}}`), "", strictjson.ErrVariant},
		{modern("tools/call"), answered(`{"resultType":"task"}`), "", ErrShape}, {modern("prompts/get"), answered(`{"resultType":"task","taskId":"t9"}`), "", ErrShape}, {legacy("tools/call"), answered(`{"resultType":"task","taskId":"t9"}`), "", ErrShape},
		{modern("tasks/get"), answered(`{"resultType":"complete","taskId":"t1","status":"working"}`), answered(`{"resultType":"complete","taskId":"h1","status":"working"}`), nil},
		{modern("tasks/get"), answered(`{"taskId":"t2","status":"working"}`), "", ErrShape}, {modern("tasks/cancel"), answered(`{"resultType":"complete"}`), answered(`{"resultType":"complete"}`), nil},
		{modern("tasks/get"), answered(`{"taskId":"t1","status":"input_required","inputRequests":{"k":` + folders + `}}`), answered(`{"taskId":"h1","status":"input_required","inputRequests":{"k":` + folders + `}}`), nil},
		{modern("tasks/get"), answered(`{"taskId":"t1","status":"input_required","inputRequests":{"k":` + sample + `}}`), "", ErrDenied},
		{legacy("tasks/result"), answered(`{"content":[{"type":"text","text":"t"}]}`), answered(`{"content":[{"type":"text","text":"t"}]}`), nil}, {legacy("tasks/result"), answered(`{"inputRequests":{"k":` + folders + `}}`), "", ErrShape},
		{legacy("tasks/list"), answered(`{"tasks":[{"taskId":"t1","status":"working"},{"taskId":"t2"},{"taskId":"t1","ttl":1}],"nextCursor":"n"}`), answered(`{"tasks":[{"taskId":"h1","status":"working"},{"taskId":"h1","ttl":1}],"nextCursor":"n"}`), nil},
		{legacy("tasks/list"), answered(`{"tasks":[{"status":"working"}]}`), "", ErrList}, {nil, answered(`{"tasks":[{"taskId":"t2"}]}`), answered(`{"tasks":[]}`), nil}, {nil, answered(`{"taskId":"t1","status":"working"}`), "", ErrShape},
		{modern("subscriptions/listen"), note("notifications/tasks", `"taskId":"t1","status":"completed","result":{"content":[]}`), note("notifications/tasks", `"taskId":"h1","status":"completed","result":{"content":[]}`), nil},
		{modern("subscriptions/listen"), note("notifications/tasks", `"taskId":"t2","status":"completed"`), "", nil}, {nil, note("notifications/tasks/status", `"taskId":"t2","status":"completed"`), "", nil},
		{modern("subscriptions/listen"), note("notifications/tasks", `"taskId":"t1","inputRequests":{"k":`+sample+`}`), "", nil},
		{modern("subscriptions/listen"), note("notifications/subscriptions/acknowledged", `"notifications":{"toolsListChanged":true,"taskIds":["t1"]}`), note("notifications/subscriptions/acknowledged", `"notifications":{"toolsListChanged":true,"taskIds":["h1"]}`), nil},
		{modern("subscriptions/listen"), note("notifications/subscriptions/acknowledged", `"notifications":{"taskIds":["t2"]}`), "", ErrShape},
		{nil, note("notifications/cancelled", `"requestId":7`), note("notifications/cancelled", `"requestId":7`), nil}, {nil, note("notifications/cancelled", `"requestId":8`), "", nil},
		{nil, note("notifications/elicitation/complete", `"elicitationId":"e"`), note("notifications/elicitation/complete", `"elicitationId":"e"`), nil},
	} {
		out, err := AnswerTo(&client{}, test.m, askable(t), lowest, now, []byte(test.in))
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) || string(out) != test.want {
			t.Errorf("%s: %v\n got %s\nwant %s", test.in, err, out, test.want)
		}
	}
	for _, in := range []string{answered(`{"resultType":"task","taskId":"t1"}`)} {
		if out, err := Answer(modern("tools/call"), askable(t), lowest, now, []byte(in)); err == nil {
			t.Errorf("passed without a client: %s", out)
		}
	}
	if out, err := AnswerTo(&client{}, nil, grants(t), lowest, now, []byte(note("notifications/elicitation/complete", `"elicitationId":"e"`))); err != nil || out != nil {
		t.Errorf("told of a page that it may not open: %s %v", out, err)
	}
}

// TestAnswersNobodyAskedFor: on a stream that goes on with no other, a server answers nothing.
func TestAnswersNobodyAskedFor(t *testing.T) {
	for _, in := range []string{answered(`{"content":[]}`), answered(`{"tools":[{"name":"get_a"}]}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}`} {
		if out, err := AnswerTo(&client{fresh: true}, nil, grants(t), lowest, now, []byte(in)); err != nil || out != nil {
			t.Errorf("%s: %s %v", in, out, err)
		}
		if out, err := AnswerTo(&client{}, nil, grants(t), lowest, now, []byte(in)); err != nil || out == nil {
			t.Errorf("resumed: %s: %v", in, err)
		}
	}
}

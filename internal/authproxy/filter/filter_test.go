package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const lowest = gateconfig.Revision20250618

var now = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func grants(t testing.TB) *decision.Grants {
	t.Helper()
	table, err := decision.Compile(policy.Policy{Rules: []policy.Rule{
		{ID: "p/0", Clients: []string{"a/bot"}, Tools: []string{"get_*"}, Prompts: []string{"greet"}, Resources: []string{"file:///pub/**"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return table.For("a/bot")
}

func ask(method string, revision gateconfig.Revision) *message.Message {
	return &message.Message{Kind: message.Request, ID: []byte("1"), Method: method, Revision: revision}
}

func modern(method string) *message.Message { return ask(method, gateconfig.Revision20260728) }
func legacy(method string) *message.Message { return ask(method, "") }

func answered(result string) string { return `{"jsonrpc":"2.0","id":1,"result":` + result + `}` }

func TestAnswer(t *testing.T) {
	for _, tc := range []struct {
		name     string
		m        *message.Message
		in, want string
	}{
		{"tools", modern("tools/list"),
			answered(`{"resultType":"complete","tools":[{"name":"get_a","inputSchema":{"type":"object","properties":{"é x":{}}}},{"name":"drop"},{"description":"d","name":"get_b"}],"nextCursor":"n","ttlMs":5000,"cacheScope":"public"}`),
			answered(`{"resultType":"complete","tools":[{"name":"get_a","inputSchema":{"type":"object","properties":{"é x":{}}}},{"description":"d","name":"get_b"}],"nextCursor":"n","cacheScope":"private","ttlMs":5000}`)},
		{"an escaped name", legacy("tools/list"), answered(`{"tools":[{"name":"\u0067et_a"},{"name":"get\u005f\/"},{"name":"\u0064rop"}]}`), answered(`{"tools":[{"name":"\u0067et_a"}]}`)},
		{"nothing left", legacy("tools/list"), answered(`{"tools":[{"name":"drop"}]}`), answered(`{"tools":[]}`)},
		{"no list", legacy("tools/list"), answered(`{}`), answered(`{}`)},
		{"legacy has no cache", legacy("tools/list"), answered(`{"tools":[]}`), answered(`{"tools":[]}`)},
		{"missing cache", modern("tools/list"), answered(`{"tools":[]}`), answered(`{"tools":[],"cacheScope":"private","ttlMs":0}`)},
		{"ttl too long", modern("tools/list"), answered(`{"tools":[],"ttlMs":86400000,"cacheScope":"private"}`), answered(`{"tools":[],"cacheScope":"private","ttlMs":60000}`)},
		{"ttl absurd", modern("tools/list"), answered(`{"tools":[],"ttlMs":1e99,"cacheScope":["public"]}`), answered(`{"tools":[],"cacheScope":"private","ttlMs":0}`)},
		{"ttl negative", modern("tools/list"), answered(`{"tools":[],"ttlMs":-1}`), answered(`{"tools":[],"cacheScope":"private","ttlMs":0}`)},
		{"prompts", legacy("prompts/list"), answered(`{"prompts":[{"name":"greet","arguments":[{"name":"x"}]},{"name":"get_a"}]}`), answered(`{"prompts":[{"name":"greet","arguments":[{"name":"x"}]}]}`)},
		{"resources", legacy("resources/list"), answered(`{"resources":[{"uri":"file:///pub/a","name":"a"},{"uri":"file:///etc/a","name":"get_a"},{"uri":"file:///pub/../a","name":"b"}]}`), answered(`{"resources":[{"uri":"file:///pub/a","name":"a"}]}`)},
		{"templates", legacy("resources/templates/list"), answered(`{"resourceTemplates":[{"uriTemplate":"file:///{+p}","name":"a"},{"uriTemplate":"file:///etc/{x}","name":"b"},{"uriTemplate":"{+x}","name":"c"}]}`), answered(`{"resourceTemplates":[{"uriTemplate":"file:///{+p}","name":"a"}]}`)},
		{"another list in the answer", legacy("prompts/list"), answered(`{"prompts":[],"tools":[{"name":"drop"},{"name":"get_a"}]}`), answered(`{"prompts":[],"tools":[{"name":"get_a"}]}`)},
		{"discover", modern("server/discover"), answered(`{"resultType":"complete","capabilities":{"tools":{}},"cacheScope":"public","ttlMs":3600000}`), answered(`{"resultType":"complete","capabilities":{"tools":{}},"cacheScope":"private","ttlMs":60000}`)},
		{"read", modern("resources/read"), answered(`{"contents":[{"uri":"x","text":"t"}],"resultType":"complete","ttlMs":1,"cacheScope":"public"}`), answered(`{"contents":[{"uri":"x","text":"t"}],"resultType":"complete","cacheScope":"private","ttlMs":1}`)},
		{"capabilities that the client may use", legacy("initialize"), answered(`{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged": true},"completions":{},"tasks":{"list":{}},"experimental":{"a b":{}}}}`), answered(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"completions":{},"tasks":{"list":{}},"experimental":{"a b":{}}}}`)},
		{"capabilities that the client may use, discovered", modern("server/discover"), answered(`{"capabilities":{"logging":{},"prompts":{}},"ttlMs":0}`), answered(`{"capabilities":{"prompts":{}},"cacheScope":"private","ttlMs":0}`)},
		{"capabilities in a resumed stream", nil, `{"jsonrpc":"2.0","id":"q","result":{"capabilities":{"logging":{}}}}`, `{"jsonrpc":"2.0","id":"q","result":{"capabilities":{}}}`},
		{"capabilities in content", modern("tools/call"), answered(`{"capabilities":{"logging":{}}}`), answered(`{"capabilities":{"logging":{}}}`)},
		{"what is called a list where none is", legacy("initialize"), answered(`{"protocolVersion":"2025-11-25","tools":["drop"]}`), answered(`{"protocolVersion":"2025-11-25","tools":["drop"]}`)},
		{"an escaped result type", modern("resources/read"), answered(`{"resultType":"\u0063omplete","ttlMs":1,"cacheScope":"public"}`), answered(`{"resultType":"\u0063omplete","cacheScope":"private","ttlMs":1}`)},
		{"error", modern("tools/list"), `{"error":{"code":-32602,"message":"m","data":{"a":1}},"id":1,"jsonrpc":"2.0"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"the server does not accept the parameters"}}`},
		{"error without an id", modern("tools/list"), `{"jsonrpc":"2.0","error":{"code":1}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"the server refused the request"}}`},
		{"error with a null id", modern("tools/list"), `{"jsonrpc":"2.0","id":null,"error":{"code":1}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"the server refused the request"}}`},
		{"error with data of the specification", legacy("tools/call"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m","data":{"requiredCapabilities": {"elicitation":{}}}}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"the server needs a capability that the client has not declared","data":{"requiredCapabilities":{"elicitation":{}}}}}`},
		{"capabilities with what else a server says", modern("tools/call"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m","data":{"trace":"secret","requiredCapabilities":{"elicitation":{"url":{}},"roots":{"listChanged":true},"extensions":{"io.example/x":{}}}}}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"the server needs a capability that the client has not declared","data":{"requiredCapabilities":{"elicitation":{"url":{}},"roots":{"listChanged":true},"extensions":{"io.example/x":{}}}}}}`},
		{"capabilities that are texts", modern("tools/call"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{"a secret":{}}}}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"the server needs a capability that the client has not declared"}}`},
		{"data where there is none", modern("tools/call"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"m","data":{"secret":1}}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"the server found that a header and the message differ"}}`},
		{"revisions that are not accepted", modern("tools/call"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m","data":{"supported":["2026-07-28","2024-11-05","x","2025-06-18"],"requested":"y","secret":1}}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"the server does not speak this revision of the protocol","data":{"supported":["2026-07-28","2025-06-18"],"requested":"y"}}}`},
		{"revisions that are none", modern("tools/call"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m","data":{"supported":"secret","requested":"y"}}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"the server does not speak this revision of the protocol"}}`},
		{"discovered revisions", modern("server/discover"), answered(`{"supportedVersions":["2026-07-28","2025-11-25","2025-03-26","2024-11-05","2099-01-01"],"ttlMs":0}`), answered(`{"supportedVersions":["2026-07-28","2025-11-25"],"cacheScope":"private","ttlMs":0}`)},
		{"a call", modern("tools/call"), answered(`{"content": [{"type":"text","text":"cut \ud83d and \u0000"}], "Tools": 1, "é x": 2}`), answered(`{"content":[{"type":"text","text":"cut \ud83d and \u0000"}],"Tools":1,"é x":2}`)},
		{"notification", legacy("tools/list"), `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"a b":1}}}`, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"a b":1}}}`},
		{"request of a legacy server, with nobody to answer it", legacy("tools/list"), `{"jsonrpc":"2.0","id":9,"method":"roots/list"}`, ""},
		{"a notification that is none", legacy("tools/list"), `{"jsonrpc":"2.0","method":"notifications/everything"}`, ""},
		{"update", modern("subscriptions/listen"), `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///pub/a"}}`, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///pub/a"}}`},
		{"update of what is not allowed", modern("subscriptions/listen"), `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///etc/a"}}`, ""},
		{"update on a stream of its own", nil, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///etc/a"}}`, ""},
		{"resumed list", nil, `{"jsonrpc":"2.0","id":"q","result":{"tools":[{"name":"drop"},{"name":"get_a"}]}}`, `{"jsonrpc":"2.0","id":"q","result":{"tools":[{"name":"get_a"}]}}`},
		{"resumed call", nil, `{"jsonrpc":"2.0","id":"q","result":{"content":[]}}`, `{"jsonrpc":"2.0","id":"q","result":{"content":[]}}`},
		{"line breaks", legacy("tools/list"), "{\r\n \"jsonrpc\": \"2.0\",\n \"id\": 1,\n \"result\": {\n  \"tools\": [\n   {\n    \"name\": \"get_a\"\n   }\n  ]\n }\n}\n", answered(`{"tools":[{"name":"get_a"}]}`)},
	} {
		got, err := Answer(tc.m, grants(t), lowest, now, []byte(tc.in))
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\n got %s\nwant %s", tc.name, err, got, tc.want)
		}
		if tc.want == "" && got != nil {
			t.Errorf("%s: not nil", tc.name)
		}
	}
}

// TestCapabilitiesFollowTheGrants: what a client is told that the server can do, it may do.
func TestCapabilitiesFollowTheGrants(t *testing.T) {
	for want, rule := range map[string]policy.Rule{
		`{"tools":{}}`:                  {Tools: []string{"a"}},
		`{"logging":{},"tools":{}}`:     {Methods: []string{"logging/setLevel"}},
		`{"tools":{},"completions":{}}`: {Resources: []string{"file:///a"}},
	} {
		rule.ID, rule.Clients = "p/0", []string{"a/bot"}
		table, err := decision.Compile(policy.Policy{Rules: []policy.Rule{rule}})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*message.Message{legacy("initialize"), modern("server/discover")} {
			got, err := Answer(m, table.For("a/bot"), lowest, now, []byte(answered(`{"protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{},"completions":{}}}`)))
			if err != nil || !strings.Contains(string(got), `"capabilities":`+want) {
				t.Errorf("%s: %v %s, want %s", m.Method, err, got, want)
			}
		}
	}
	_, err := Answer(legacy("initialize"), grants(t), lowest, now, []byte(answered(`{"protocolVersion":"2025-11-25","capabilities":{"Logging":{}}}`)))
	if !errors.Is(err, strictjson.ErrVariant) {
		t.Errorf("a variant of a capability's name: %v", err)
	}
}

func TestSameID(t *testing.T) {
	m := legacy("tools/list")
	m.ID = []byte(`"a\u0062"`)
	got, err := Answer(m, grants(t), lowest, now, []byte(`{"jsonrpc":"2.0","id":"ab","result":{}}`))
	if want := `{"jsonrpc":"2.0","id":"a\u0062","result":{}}`; err != nil || string(got) != want {
		t.Errorf("%v %s, want %s", err, got, want)
	}
}

// Answers that a client could read otherwise than the gate, or that are not the answer.
func TestAnswerRefuses(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want error
	}{
		{``, strictjson.ErrSyntax}, {`x`, strictjson.ErrSyntax}, {answered(`{}`) + answered(`{}`), strictjson.ErrSyntax}, {"\ufeff" + answered(`{}`), strictjson.ErrSyntax}, {answered("{\"a\":\"\xff\"}"), strictjson.ErrUTF8},
		{`[` + answered(`{}`) + `]`, strictjson.ErrKind}, {`null`, strictjson.ErrKind}, {answered(`null`), strictjson.ErrKind}, {answered(`[]`), strictjson.ErrKind}, {answered(`"x"`), strictjson.ErrKind},
		{answered(`{"tools":[{"name":"get_a"}],"tools":[{"name":"drop"}]}`), strictjson.ErrDuplicate}, {answered(`{"tools":[],"t\u006fols":[{"name":"drop"}]}`), strictjson.ErrDuplicate}, {answered(`{"tools":[{"name":"get_a","name":"drop"}]}`), strictjson.ErrDuplicate},
		{answered(`{"tools":[{"name":"get_a","inputSchema":{"a":1,"a":2}}]}`), strictjson.ErrDuplicate}, {`{"jsonrpc":"2.0","id":1,"result":{},"result":{"tools":[{"name":"drop"}]}}`, strictjson.ErrDuplicate},
		{answered(`{"Tools":[{"name":"drop"}]}`), strictjson.ErrVariant}, {answered(`{"tools":[],"TOOLS":[{"name":"drop"}]}`), strictjson.ErrVariant}, {answered(`{"tools":[{"name":"get_a","Name":"drop"}]}`), strictjson.ErrVariant}, {answered(`{"toolſ":[]}`), strictjson.ErrVariant}, {answered(`{"tools\u0000":[]}`), strictjson.ErrNUL},
		{`{"jsonrpc":"2.0","id":1,"result":{},"Result":{"tools":[]}}`, strictjson.ErrVariant}, {`{"jsonrpc":"2.0","id":1,"result":{},"extra":1}`, strictjson.ErrUnknown},
		{answered(`{"tools":{"name":"get_a"}}`), strictjson.ErrKind}, {answered(`{"tools":null}`), strictjson.ErrKind}, {answered(`{"tools":["get_a"]}`), strictjson.ErrKind}, {answered(`{"tools":[{"name":["get_a"]}]}`), strictjson.ErrKind}, {answered(`{"tools":[{"name":1}]}`), strictjson.ErrKind},
		{answered(`{"tools":[{}]}`), ErrList}, {answered(`{"tools":[{"name":""}]}`), ErrList}, {answered(`{"tools":[{"title":"get_a"}]}`), ErrList}, {answered(`{"resources":[{"name":"get_a"}]}`), ErrList},
		{answered(`{"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`), strictjson.ErrDepth},
		{`{"jsonrpc":"2.0","id":2,"result":{}}`, ErrID}, {`{"jsonrpc":"2.0","id":"1","result":{}}`, ErrID}, {`{"jsonrpc":"2.0","id":1.0,"result":{}}`, ErrID}, {`{"jsonrpc":"2.0","id":null,"result":{}}`, ErrID}, {`{"jsonrpc":"2.0","result":{}}`, ErrID}, {`{"jsonrpc":"2.0","id":2,"error":{}}`, ErrID}, {`{"jsonrpc":"2.0","id":1,"error":{}}`, ErrShape}, {`{"jsonrpc":"2.0","id":1,"error":{"code":"1"}}`, ErrShape}, {`{"jsonrpc":"2.0","id":1,"error":{"code":1.5}}`, ErrShape}, {`{"jsonrpc":"2.0","id":1,"error":{"code":1,"Code":2}}`, strictjson.ErrVariant}, {`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":{}}}`, strictjson.ErrKind},
		{`{"jsonrpc":"2.0","id":1}`, ErrShape}, {`{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`, ErrShape}, {`{"jsonrpc":"1.0","id":1,"result":{}}`, ErrShape}, {`{"id":1,"result":{}}`, ErrShape}, {`{"jsonrpc":"2.0","id":1,"error":"x"}`, strictjson.ErrKind},
		{`{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`, ErrShape}, {`{"jsonrpc":"2.0","method":""}`, ErrShape}, {`{"jsonrpc":"2.0","method":1}`, strictjson.ErrKind}, {`{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage"}`, ErrServer},
		{`{"jsonrpc":"2.0","method":"notifications/resources/updated"}`, strictjson.ErrSyntax}, {`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":1}}`, strictjson.ErrKind}, {`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///pub/a","URI":"file:///etc/a"}}`, strictjson.ErrVariant},
	} {
		if got, err := Answer(modern("tools/list"), grants(t), lowest, now, []byte(tc.in)); !errors.Is(err, tc.want) || got != nil {
			t.Errorf("%.100q: %v (%s), want %v", tc.in, err, got, tc.want)
		}
	}
}

// TestCallsAreStrictToo: what is content passes as it is, but as one answer to the request that was asked.
func TestCallsAreStrictToo(t *testing.T) {
	for _, in := range []string{
		``, `{}`, answered(`{}`) + answered(`{}`), `[` + answered(`{}`) + `]`, answered(`[]`), answered(`null`), `{"jsonrpc":"2.0","id":2,"result":{}}`,
		`{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}`, `{"jsonrpc":"2.0","id":1,"result":{},"result":{}}`, answered(`{"a":1,"\u0061":2}`),
		answered(`{"a\u0000":1}`), answered("{\"a\":\"\x00\"}"), answered("{\"a\":\"\xff\"}"), `{"jsonrpc":"2.0","id":1.0,"result":{}}`, answered(`{"a":"\ud83"}`),
	} {
		for _, method := range []string{"tools/call", "prompts/get", "completion/complete", "ping"} {
			if got, err := Answer(legacy(method), grants(t), lowest, now, []byte(in)); err == nil {
				t.Errorf("%s: %q: %s", method, in, got)
			}
		}
	}
}

func TestRefusal(t *testing.T) {
	for in, want := range map[string]struct {
		code int
		data string
	}{
		`{"jsonrpc":"2.0","error":{"code":-32602,"message":"secret","data":"secret"}}`:                                                       {-32602, ""},
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"x","data":{"supported":["2025-11-25","2024-11-05"],"requested":"x"}}}`: {-32022, `{"supported":["2025-11-25"],"requested":"x"}`},
		`{"jsonrpc":"2.0","error":{"code":1,"code":2}}`:                                                                                      {}, `{"error":{"code":1}}`: {}, `not found`: {}, ``: {}, `{"jsonrpc":"2.0","result":{}}`: {}, `{"jsonrpc":"2.0","error":{"code":1},"result":{}}`: {},
	} {
		if code, data := Refusal(nil, lowest, []byte(in)); code != want.code || string(data) != want.data {
			t.Errorf("%s: %d %s", in, code, data)
		}
	}
}

// TestResourceNotFound: the data of this error repeats what was asked for, and may be nothing else.
func TestResourceNotFound(t *testing.T) {
	read := modern("resources/read")
	read.Targets = []message.Target{{Kind: message.Resource, Name: "file:///pub/a"}}
	for data, want := range map[string]string{
		`{"uri":"file:///pub/a"}`:            `,"data":{"uri":"file:///pub/a"}`,
		`{"uri":"file:///pub/a","secret":1}`: `,"data":{"uri":"file:///pub/a"}`,
		`{"uri":"file:///etc/a"}`:            "",
		`{"uri":1}`:                          "",
		`"secret"`:                           "",
	} {
		got, err := Answer(read, grants(t), lowest, now, []byte(`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"secret","data":`+data+`}}`))
		if want = `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"the server does not accept the parameters"` + want + `}}`; err != nil || string(got) != want {
			t.Errorf("%s: %v %s", data, err, got)
		}
	}
}

func TestNobodySeesNothing(t *testing.T) {
	for in, want := range map[string]string{
		`{"tools":[{"name":"get_a"}]}`:                          `{"tools":[]}`,
		`{"resources":[{"uri":"file:///pub/a"}]}`:               `{"resources":[]}`,
		`{"resourceTemplates":[{"uriTemplate":"file:///{a}"}]}`: `{"resourceTemplates":[]}`,
		`{"prompts":[{"name":"greet"}]}`:                        `{"prompts":[]}`,
	} {
		if got, err := Answer(legacy("tools/list"), nil, lowest, now, []byte(answered(in))); err != nil || string(got) != answered(want) {
			t.Errorf("%s: %v %s", in, err, got)
		}
	}
}

func TestStream(t *testing.T) {
	s := NewStream(modern("tools/list"), grants(t), lowest)
	for _, step := range []struct {
		in, want string
		err      error
		final    bool
	}{
		{"", "", nil, false},
		{`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`, `{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`, nil, false},
		{answered(`{"tools":[],"cacheScope":"public"}`), answered(`{"tools":[],"cacheScope":"private"}`), nil, true},
		{"", "", nil, true},
		{answered(`{"tools":[]}`), "", ErrFinal, true},
		{`{"jsonrpc":"2.0","method":"notifications/progress"}`, "", ErrFinal, true},
	} {
		got, err := s.Event(now, []byte(step.in))
		if string(got) != step.want || !errors.Is(err, step.err) || s.Final() != step.final {
			t.Errorf("%s: %s %v %v", step.in, got, err, s.Final())
		}
	}
	open := NewStream(nil, grants(t), lowest)
	for range 2 {
		if _, err := open.Event(now, []byte(answered(`{}`))); err != nil || open.Final() {
			t.Errorf("a stream of no request: %v", err)
		}
	}
}

func TestRevision(t *testing.T) {
	for in, want := range map[string]gateconfig.Revision{
		answered(`{"protocolVersion":"2025-11-25","capabilities":{}}`):    "2025-11-25",
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}`: "",
	} {
		if got, err := Revision([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
	for _, in := range []string{answered(`{}`), answered(`{"protocolVersion":1}`), answered(`{"protocolVersion":""}`), answered(`{"ProtocolVersion":"2025-11-25"}`), `{}`, ``, answered(`{"protocolVersion":"a","protocolVersion":"b"}`), `{"error":{},"result":{"protocolVersion":"a"}}`} {
		if got, err := Revision([]byte(in)); err == nil {
			t.Errorf("%s: %q", in, got)
		}
	}
}

// FuzzAnswer: what comes out is one JSON-RPC message on one line, and no list in it has, as any parser reads it, what
// the client may not use. What has come out once comes out again unchanged.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		answered(`{"tools":[{"name":"get_a"},{"name":"drop"}],"ttlMs":1,"cacheScope":"public"}`), answered(`{"Tools":[{"name":"drop"}]}`), answered(`{"tools":[{"name":"get_a","n\u0061me":"drop"}]}`),
		answered(`{"resources":[{"uri":"file:///pub/a"},{"uri":"file:///etc/a"}]}`), answered(`{"resourceTemplates":[{"uriTemplate":"file:///{a}"}],"prompts":[{"name":"greet"}]}`),
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///etc/a"}}`, `{"jsonrpc":"2.0","id":null,"error":{"code":1}}`, answered(`{"resultType":"input_required"}`),
	} {
		for which := range byte(4) {
			f.Add(which, []byte(seed))
		}
	}
	g := grants(f)
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		m := []*message.Message{modern("tools/list"), legacy("resources/list"), nil, modern("server/discover")}[which%4]
		out, err := Answer(m, g, lowest, now, data)
		if err != nil || out == nil {
			return
		}
		if bytes.ContainsAny(out, "\r\n") {
			t.Fatalf("more than one line: %q", out)
		}
		again, err := Answer(m, g, lowest, now, out)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%s comes out as %s (%v)", out, again, err)
		}
		var read struct {
			Method string
			Params struct{ URI string }
			Result struct {
				Tools, Prompts    []struct{ Name string }
				Resources         []struct{ URI string }
				ResourceTemplates []struct{ URITemplate string }
				CacheScope        any
			}
		}
		if !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
		if err := json.Unmarshal(out, &read); err != nil {
			return
		}
		if read.Method == "notifications/resources/updated" && !g.MayResource(read.Params.URI, now) {
			t.Fatalf("tells of %q", read.Params.URI)
		}
		if read.Result.CacheScope != nil && read.Result.CacheScope != "private" {
			t.Fatalf("cacheScope %v", read.Result.CacheScope)
		}
		if which%4 == 3 {
			return
		}
		for _, e := range read.Result.Tools {
			if !g.MayTool(e.Name, now) {
				t.Fatalf("lists %q", e.Name)
			}
		}
		for _, e := range read.Result.Prompts {
			if !g.MayPrompt(e.Name, now) {
				t.Fatalf("lists %q", e.Name)
			}
		}
		for _, e := range read.Result.Resources {
			if !g.MayResource(e.URI, now) {
				t.Fatalf("lists %q", e.URI)
			}
		}
		for _, e := range read.Result.ResourceTemplates {
			if !g.MayTemplate(e.URITemplate, now) {
				t.Fatalf("lists %q", e.URITemplate)
			}
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	var list strings.Builder
	for i := range 50 {
		name := "get"
		if i%2 == 0 {
			name = "drop"
		}
		fmt.Fprintf(&list, `{"name":"%s_%d","description":"does a thing to another thing, often","inputSchema":{"type":"object","properties":{"namespace":{"type":"string"},"limit":{"type":"integer"}},"required":["namespace"]}},`, name, i)
	}
	in := []byte(answered(`{"resultType":"complete","ttlMs":1000,"cacheScope":"public","tools":[` + strings.TrimSuffix(list.String(), ",") + `]}`))
	g, m := grants(b), modern("tools/list")
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Answer(m, g, lowest, now, in); err != nil {
			b.Fatal(err)
		}
	}
}

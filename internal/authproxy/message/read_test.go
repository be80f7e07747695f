package message

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

var limits = gateconfig.Limits{RequestBytes: 1 << 16, Depth: 16}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       Message
	}{
		{"call", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","arguments":{"a":[1]},` + modernMeta + `}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "tools/call", Targets: []Target{{Tool, "get"}}, Revision: "2026-07-28", Arguments: []byte(`{"a":[1]}`)}},
		{"members in another order", `{"params":{"arguments":{},"name":"get"},"method":"tools/call","id":"x","jsonrpc":"2.0"}`,
			Message{Kind: Request, ID: []byte(`"x"`), Method: "tools/call", Targets: []Target{{Tool, "get"}}, Arguments: []byte(`{}`)}},
		{"escapes", `{"jsonrpc":"2.0","id":1,"\u006dethod":"tools\/call","params":{"n\u0061me":"g\u0065t\ud83d\ude00"}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "tools/call", Targets: []Target{{Tool, "get😀"}}}},
		{"large id", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`,
			Message{Kind: Request, ID: []byte("9007199254740993"), Method: "ping"}},
		{"huge id", `{"jsonrpc":"2.0","id":-123456789012345678901234567890,"method":"ping"}`,
			Message{Kind: Request, ID: []byte("-123456789012345678901234567890"), Method: "ping"}},
		{"escaped id stays as it is", `{"jsonrpc":"2.0","id":"\u0061","method":"ping"}`, Message{Kind: Request, ID: []byte(`"\u0061"`), Method: "ping"}},
		{"empty id", `{"jsonrpc":"2.0","id":"","method":"ping"}`, Message{Kind: Request, ID: []byte(`""`), Method: "ping"}},
		{"white space", " \n{ \"jsonrpc\" : \"2.0\" ,\t\"id\" : 1 , \"method\" : \"ping\" }\r\n", Message{Kind: Request, ID: []byte("1"), Method: "ping"}},
		{"prompt", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":{"x":"y"}}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "prompts/get", Targets: []Target{{Prompt, "p"}}, Arguments: []byte(`{"x":"y"}`)}},
		{"read", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:\/\/\/a"}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "resources/read", Targets: []Target{{Resource, "file:///a"}}}},
		{"subscribe", `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///a"}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "resources/subscribe", Targets: []Target{{Resource, "file:///a"}}}},
		{"unsubscribe", `{"jsonrpc":"2.0","id":1,"method":"resources/unsubscribe","params":{"uri":"file:///a"}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "resources/unsubscribe", Targets: []Target{{Resource, "file:///a"}}}},
		{"complete a prompt", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"argument":{"name":"a","value":"b"},"ref":{"type":"ref/prompt","name":"p","title":"P"}}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "completion/complete", Targets: []Target{{Prompt, "p"}}}},
		{"complete a resource", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"uri":"file:///a","type":"ref/resource"}}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "completion/complete", Targets: []Target{{Resource, "file:///a"}}}},
		{"complete a template", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"file:///{a}"}}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "completion/complete", Targets: []Target{{Template, "file:///{a}"}}}},
		{"listen", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a","file:///b"]},` + modernMeta + `}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "subscriptions/listen", Targets: []Target{{Resource, "file:///a"}, {Resource, "file:///b"}}, Revision: "2026-07-28"}},
		{"initialize", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`,
			Message{Kind: Request, ID: []byte("0"), Method: "initialize", Asked: "2025-11-25"}},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, Message{Kind: Notification, Method: "notifications/initialized"}},
		{"cancel", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12,"reason":"no"}}`, Message{Kind: Notification, Method: "notifications/cancelled", Cancels: []byte("12")}},
		{"result", `{"jsonrpc":"2.0","id":7,"result":{"Name":1,"name":2}}`, Message{Kind: Response, ID: []byte("7")}},
		{"error", `{"jsonrpc":"2.0","id":"7","error":{"code":1,"message":"no"}}`, Message{Kind: Response, ID: []byte(`"7"`)}},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"name":1}}`, Message{Kind: Request, ID: []byte("1"), Method: "x/y"}},
		{"arguments may differ in case only", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","arguments":{"a":1,"A":2,"é":3}}}`,
			Message{Kind: Request, ID: []byte("1"), Method: "tools/call", Targets: []Target{{Tool, "get"}}, Arguments: []byte(`{"a":1,"A":2,"é":3}`)}},
		{"deep enough", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":` + strings.Repeat("[", 14) + strings.Repeat("]", 14) + `}}`, Message{Kind: Request, ID: []byte("1"), Method: "ping"}},
	} {
		got, err := Read([]byte(tc.body), limits)
		if err != nil {
			t.Errorf("%s: %v (%s)", tc.name, err, err.Reason)
			continue
		}
		tc.want.Body = []byte(tc.body)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, diff)
		}
	}
}

// request is a tools/call with further or other members.
func request(params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
}

// Every body here is one that a gate and a server have read, or could read, as two different messages.
func TestReadRefuses(t *testing.T) {
	call := request(`{"name":"get"}`)
	for _, tc := range []struct{ reason, body string }{
		// Not one JSON text.
		{"syntax", ``}, {"syntax", ` `}, {"syntax", `x`}, {"syntax", call + call}, {"syntax", call + "\n" + call}, {"syntax", call + `]`}, {"syntax", call + "\x00"}, {"syntax", call[:len(call)-1]},
		{"syntax", "\ufeff" + call}, {"syntax", "\u00a0" + call}, {"syntax", "\x1e" + call}, {"syntax", "{" + call}, {"syntax", `{"jsonrpc":"2.0",}`}, {"syntax", `/*x*/` + call},
		{"syntax", strings.Replace(call, `1`, `01`, 1)}, {"syntax", strings.Replace(call, `1`, `0x1`, 1)}, {"syntax", strings.Replace(call, `1`, `NaN`, 1)}, {"syntax", strings.ReplaceAll(call, `"`, `'`)},
		{"utf8", "\xff\xfe{\x00}\x00"}, {"utf8", request("{\"name\":\"get\xff\"}")}, {"utf8", request("{\"name\":\"\xc0\xae\"}")}, {"utf8", request("{\"name\":\"\xed\xa0\x80\"}")}, {"utf8", request("{\"name\":\"get\",\"x\":\"\xff\"}")},
		{"nul", request(`{"name":"get\u0000"}`)}, {"nul", request("{\"name\":\"get\x00\"}")}, {"nul", request(`{"name\u0000":"get","name":"get"}`)}, {"nul", request(`{"name":"get","arguments":{"x":"\u0000"}}`)},
		{"surrogate", request(`{"name":"get\ud800"}`)}, {"surrogate", request(`{"name":"get","\udc00":1}`)}, {"surrogate", request(`{"name":"get","arguments":["\ud800\u0041"]}`)},
		{"depth", request(`{"name":"get","arguments":{"x":` + strings.Repeat("[", 14) + strings.Repeat("]", 14) + `}}`)}, {"depth", request(strings.Repeat(`{"a":`, 10000))},
		{"size", strings.Repeat(" ", 1<<16) + call},
		// Duplicates, plain and escaped, at every level.
		{"duplicate", request(`{"name":"get","name":"delete"}`)}, {"duplicate", request(`{"name":"get","n\u0061me":"delete"}`)}, {"duplicate", request(`{"\u006eame":"get","name":"delete"}`)},
		{"duplicate", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"get"}}`}, {"duplicate", `{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call","params":{"name":"get"}}`},
		{"duplicate", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`}, {"duplicate", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}`}, {"duplicate", `{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}`},
		{"duplicate", request(`{"name":"get","arguments":{"a":1,"a":2}}`)}, {"duplicate", request(`{"name":"get","arguments":{"x":[{"a":1,"\u0061":2}]}}`)}, {"duplicate", request(`{"name":"get","arguments":{},"arguments":{"x":1}}`)},
		{"duplicate", request(`{"name":"get","x":1,"X":2}`)}, {"duplicate", request(`{"name":"get","_meta":{"a":1,"A":2}}`)}, {"duplicate", `{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}`},
		// Variants of names.
		{"variant", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"get"}}`}, {"variant", `{"jsonrpc":"2.0","id":1,"METHOD":"ping"}`}, {"variant", `{"jsonrpc":"2.0","id":1,"result":{},"Method":"tools/call"}`},
		{"variant", `{"jsonrpc":"2.0","id":1,"method":"ping","\u004dethod":"tools/call"}`}, {"variant", `{"jsonrpc":"2.0","id":1,"method":"ping","Params":{"name":"get"}}`}, {"variant", `{"jsonrpc":"2.0","id":1,"method":"ping","paramſ":{"name":"get"}}`},
		{"variant", request(`{"name":"get","Name":"delete"}`)}, {"variant", request(`{"Name":"get"}`)}, {"variant", request(`{"name":"get","NAME":"delete"}`)}, {"variant", request(`{"name":"get","n-ame":"delete"}`)}, {"variant", request(`{"name":"get","name ":"delete"}`)},
		{"variant", request(`{"name":"get","argumentſ":{}}`)}, {"variant", request(`{"name":"get","tas\u212aId":1}`)}, {"variant", request(`{"name":"get","meta":{}}`)}, {"variant", request(`{"name":"get","_META":{}}`)}, {"variant", request(`{"name":"get","Arguments":{}}`)},
		{"variant", request(`{"name":"get","_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}`)}, {"variant", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","URI":"file:///b"}}`},
		// Not one message.
		{"batch", `[]`}, {"batch", `[` + call + `]`}, {"batch", ` [` + call + `,` + call + `]`},
		{"shape", `"ping"`}, {"shape", `1`}, {"shape", `null`}, {"shape", `true`}, {"jsonrpc", `{}`}, {"jsonrpc", `{"id":1,"method":"ping"}`},
		{"jsonrpc", `{"jsonrpc":"1.0","id":1,"method":"ping"}`}, {"jsonrpc", `{"jsonrpc":2.0,"id":1,"method":"ping"}`}, {"jsonrpc", `{"jsonrpc":null,"id":1,"method":"ping"}`}, {"jsonrpc", `{"jsonrpc":["2.0"],"id":1,"method":"ping"}`},
		{"member", `{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}`}, {"member", `{"jsonrpc":"2.0","id":1,"method":"ping","name":"x"}`}, {"member", `{"jsonrpc":"2.0","id":1,"method":"ping","__proto__":{}}`},
		{"shape", `{"jsonrpc":"2.0","id":1,"method":1}`}, {"shape", `{"jsonrpc":"2.0","id":1,"method":""}`}, {"shape", `{"jsonrpc":"2.0","id":1,"method":null}`}, {"shape", `{"jsonrpc":"2.0","id":1,"method":["ping"]}`}, {"shape", `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", 200) + `"}`},
		{"shape", `{"jsonrpc":"2.0","id":1}`}, {"shape", `{"jsonrpc":"2.0","id":1,"params":{}}`}, {"shape", `{"jsonrpc":"2.0","result":{}}`}, {"shape", `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`}, {"shape", `{"jsonrpc":"2.0","id":1,"result":{},"params":{}}`},
		{"shape", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`}, {"shape", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get"},"error":{}}`}, {"shape", `{"jsonrpc":"2.0","id":1,"error":"x"}`},
		// Ids.
		{"id", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":1e3,"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":-0,"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":null,"method":"ping"}`},
		{"id", `{"jsonrpc":"2.0","id":true,"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":[1],"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":{},"method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 600) + `","method":"ping"}`}, {"id", `{"jsonrpc":"2.0","id":null,"result":{}}`},
		// Requests without an answer, notifications with one.
		{"notification", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete"}}`}, {"notification", `{"jsonrpc":"2.0","method":"ping"}`}, {"notification", `{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`}, {"notification", `{"jsonrpc":"2.0","method":"notifications/"}`},
		// Params.
		{"params", `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`}, {"params", `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`}, {"params", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"get"}`},
		{"params", request(`{"name":"get","_meta":[]}`)}, {"params", request(`{"name":"get","_meta":null}`)}, {"params", request(`{"name":"get","_meta":{"io.modelcontextprotocol/protocolVersion":20260728}}`)}, {"params", request(`{"name":"get","arguments":[]}`)}, {"params", request(`{"name":"get","arguments":"{}"}`)},
		{"meta", request(`{"name":"get","_meta":{"io.modelcontextprotocol/protocolVersion":""}}`)}, {"meta", request(`{"name":"get","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28\n"}}`)},
		{"params", `{"jsonrpc":"2.0","id":1,"method":"initialize"}`}, {"params", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`},
		{"params", `{"jsonrpc":"2.0","method":"notifications/cancelled"}`}, {"params", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.5}}`}, {"params", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":null}}`},
		// Targets.
		{"target", `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`}, {"target", request(`{}`)}, {"target", request(`{"name":1}`)}, {"target", request(`{"name":null}`)}, {"target", request(`{"name":""}`)}, {"target", request(`{"name":["get"]}`)}, {"target", request(`{"name":{"name":"get"}}`)},
		{"target", request(`{"uri":"file:///a"}`)}, {"target", request(`{"name":"get","uri":"file:///a"}`)}, {"target", request(`{"name":"` + strings.Repeat("x", MaxTarget+1) + `"}`)}, {"target", request(`{"arguments":{"name":"get"}}`)},
		{"target", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"name":"get"}}`}, {"target", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":["file:///a"]}}`}, {"target", `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{}}`}, {"target", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":0}}`},
		{"target", complete(``)}, {"target", complete(`"ref":"x"`)}, {"target", complete(`"ref":{}`)}, {"target", complete(`"ref":{"type":"ref/tool","name":"x"}`)}, {"target", complete(`"ref":{"type":"ref/prompt"}`)}, {"target", complete(`"ref":{"type":"ref/prompt","uri":"a:b"}`)}, {"target", complete(`"ref":{"type":"ref/prompt","name":"x","uri":"a:b"}`)},
		{"target", complete(`"ref":{"type":"ref/resource","name":"x"}`)}, {"target", complete(`"ref":{"type":"ref/resource","uri":"a:b","name":"x"}`)}, {"target", complete(`"ref":{"type":"ref/prompt","name":"x","Name":"y"}`)}, {"target", complete(`"ref":{"Type":"ref/prompt","name":"x"}`)}, {"target", complete(`"ref":{"type":["ref/prompt"],"name":"x"}`)}, {"target", complete(`"name":"x"`)},
		{"target", listening(`{"resourceSubscriptions":"file:///a"}`)}, {"target", listening(`{"resourceSubscriptions":[1]}`)}, {"target", listening(`{"resourceSubscriptions":[""]}`)}, {"target", listening(`{"taskIds":[1]}`)}, {"target", listening(`{"taskIds":[""]}`)}, {"target", listening(`{"taskIds":"t"}`)}, {"target", listening(`{"toolsListChanged":"yes"}`)}, {"target", listening(`{"everything":true}`)}, {"target", listening(`[]`)}, {"target", listening(`null`)},
		{"target", listening(`{"resourcesubscriptions":["a:b"]}`)}, {"target", listening(`{"resourceSubscriptions":[` + strings.Repeat(`"a:b",`, maxTargets) + `"a:b"]}`)},
	} {
		got, err := Read([]byte(tc.body), limits)
		switch {
		case err == nil:
			t.Errorf("%.120q accepted as %+v", tc.body, got)
		case err.Reason != tc.reason:
			t.Errorf("%.120q refused for %s, want %s", tc.body, err.Reason, tc.reason)
		case got.Method != "" || got.Targets != nil || got.Body != nil || got.Kind != 0:
			t.Errorf("%.120q refused with a message: %+v", tc.body, got)
		}
	}
}

func complete(params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{` + params + `}}`
}

func listening(filter string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":` + filter + `,` + modernMeta + `}}`
}

// A refusal never repeats what the caller sent, but for its id and a revision, and is always one JSON-RPC error.
func TestRefusalsTellNothing(t *testing.T) {
	const secret = "s3cr3t"
	for _, body := range []string{
		secret, request(`{"name":"` + secret + `","name":""}`), request(`{"` + secret + `":1,"` + secret + `":2,"name":1}`), `{"` + secret + `":1}`,
		`{"jsonrpc":"` + secret + `","id":5,"method":"ping"}`, `{"jsonrpc":"2.0","id":5,"method":"` + secret + `","params":[]}`, request(`{"uri":"` + secret + `"}`),
	} {
		m, err := Read([]byte(body), limits)
		if err == nil {
			t.Fatalf("%s accepted", body)
		}
		if out := string(err.JSON(m.ID)); strings.Contains(out, secret) || !json.Valid([]byte(out)) {
			t.Errorf("%s is answered with %s", body, out)
		}
	}
	m, err := Read([]byte(`{"jsonrpc":"2.0","id":"a<b","method":"tools/call"}`), limits)
	if err == nil {
		t.Fatal("accepted")
	}
	want := fmt.Sprintf(`{"jsonrpc":"2.0","id":"a\u003cb","error":{"code":-32602,"message":%q}}`, err.Message)
	if got := string(err.JSON(m.ID)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func benchmarkBody(b *testing.B) []byte {
	body := []byte(`{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"kubernetes_pods_list","arguments":{"namespace":"team-a","labelSelector":"app=web","limit":50},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	return body
}

func BenchmarkRead(b *testing.B) {
	body := benchmarkBody(b)
	for b.Loop() {
		if _, err := Read(body, limits); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingJSON is what a lenient reading with the standard library costs, for comparison.
func BenchmarkEncodingJSON(b *testing.B) {
	body := benchmarkBody(b)
	for b.Loop() {
		var m struct {
			JSONRPC string
			ID      json.RawMessage
			Method  string
			Params  struct {
				Name string
				Meta map[string]json.RawMessage `json:"_meta"`
			}
		}
		if err := json.Unmarshal(body, &m); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMethodsOfTheOtherEra are refused as methods, not for what they do not name.
func TestMethodsOfTheOtherEra(t *testing.T) {
	for _, method := range []string{"resources/subscribe", "resources/unsubscribe"} {
		m, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`), gateconfig.Limits{RequestBytes: 1 << 10, Depth: 8})
		if err != nil || len(m.Targets) != 0 {
			t.Errorf("%s: %+v, %v", method, m, err)
		}
		if _, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{}}`), gateconfig.Limits{RequestBytes: 1 << 10, Depth: 8}); err == nil {
			t.Errorf("%s: a legacy request that names nothing passes", method)
		}
	}
}

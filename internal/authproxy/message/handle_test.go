package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readAll(t testing.TB, body string) Message {
	t.Helper()
	m, err := Read([]byte(body), limits)
	if err != nil {
		t.Fatalf("%s: %s", body, err.Reason)
	}
	return m
}

// TestReplace: only the handles change, wherever they are.
func TestReplace(t *testing.T) {
	for _, test := range []struct {
		body   string
		values []string
		want   string
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"requestState" : "s\u0065aled" ,"name":"get",` + modernMeta + `}}`, []string{"a\"b\\\n\u2028é"},
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"requestState" : "a\"b\\\n` + "\u2028" + `é" ,"name":"get",` + modernMeta + `}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"sealed",` + modernMeta + `}}`, []string{"7"},
			`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"7",` + modernMeta + `}}`},
		{`{"jsonrpc":"2.0","id":1,"result":{"action":"accept","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"sealed"}}}}`, []string{"7"},
			`{"jsonrpc":"2.0","id":1,"result":{"action":"accept","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"7"}}}}`},
		{listening(` { "taskIds" : [ "a" , "b" ] }`), []string{"1", "22"}, listening(` { "taskIds" : [ "1" , "22" ] }`)},
	} {
		m := readAll(t, test.body)
		m.Replace(test.values)
		if diff := cmp.Diff(test.want, string(m.Body)); diff != "" {
			t.Error(diff)
		}
		again := readAll(t, string(m.Body))
		if len(again.Handles) != len(test.values) || again.Handles[0].Value != test.values[0] {
			t.Errorf("%s has %+v", m.Body, again.Handles)
		}
	}
}

// TestDigest: what another program reads as another request has another digest, and nothing else has.
func TestDigest(t *testing.T) {
	call := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + params + `,` + modernMeta + `}}`
	}
	one := call(`"name":"get","arguments":{"a":1,"b":{"c":"é","d":[1,2]}}`)
	want := digest(t, one)
	for _, same := range []string{
		call(`"arguments": {"b" :{ "d":[1, 2],"c":"\u00e9"},"a":1} ,"name":"\u0067et"`),
		call(`"name":"get","arguments":{"a":1,"b":{"c":"é","d":[1,2]}},"requestState":"x","inputResponses":{"k":{"action":"accept"}}`),
		strings.Replace(one, `"id":1`, `"id":"other"`, 1),
	} {
		if digest(t, same) != want {
			t.Errorf("%s is another request", same)
		}
	}
	for _, other := range []string{
		call(`"name":"got","arguments":{"a":1,"b":{"c":"é","d":[1,2]}}`), call(`"name":"get","arguments":{"a":2,"b":{"c":"é","d":[1,2]}}`), call(`"name":"get"`),
		call(`"name":"get","arguments":{"a":1,"b":{"c":"é","d":[2,1]}}`), call(`"name":"get","arguments":{"a":"1","b":{"c":"é","d":[1,2]}}`), call(`"name":"get","arguments":{"a":1,"b":{"c":"e\u0301","d":[1,2]}}`),
		`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"get","arguments":{"a":1,"b":{"c":"é","d":[1,2]}},` + modernMeta + `}}`,
	} {
		if digest(t, other) == want {
			t.Errorf("%s is the same request", other)
		}
	}
	if digest(t, call(`"name":"get","arguments":{"n":9007199254740993}`)) == digest(t, call(`"name":"get","arguments":{"n":9007199254740992}`)) {
		t.Error("numbers beyond 2^53 are rounded")
	}
	if digest(t, call(`"name":"get"`)) != digest(t, call(`"name":"get","arguments":{}`)) {
		t.Error("no arguments are not the same as none")
	}
}

func digest(t testing.TB, body string) [32]byte {
	m := readAll(t, body)
	return m.Digest()
}

func TestIDKey(t *testing.T) {
	if IDKey([]byte(`"a\u0062"`)) != IDKey([]byte(`"ab"`)) || IDKey([]byte(`"1"`)) == IDKey([]byte("1")) || IDKey([]byte("1")) != "1" {
		t.Error("ids are mixed up")
	}
}

package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:                                                        "request",
		`{"params":{"_meta":{"progressToken":7}},"id":"x","method":"tools/call","jsonrpc":"2.0"}`:         "request",
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t"}}`:              "notification",
		`{"params":{"progressToken":"t"},"jsonrpc":"2.0","method":"notifications/progress"}`:              "notification",
		`{"jsonrpc":"2.0","id":1,"result":{}}`:                                                            "response",
		`{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"\u0000\ud800"}}`:                        "response",
		`{"jsonrpc":"2.0","id":1,"result":{"text":"\u0000"}}`:                                             "response",
		`{"jsonrpc":"2.0","id":1}`:                                                                        "none",
		`{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}`:                                         "none",
		`{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`:                                               "none",
		`{"jsonrpc":"2.0","id":null,"method":"x"}`:                                                        "none",
		`{"jsonrpc":"2.0","id":{},"result":{}}`:                                                           "none",
		`{"jsonrpc":"1.0","id":1,"result":{}}`:                                                            "none",
		`{"jsonrpc":2.0,"id":1,"result":{}}`:                                                              "none",
		`{"id":1,"result":{}}`:                                                                            "none",
		`{"jsonrpc":"2.0","method":""}`:                                                                   "none",
		`{"jsonrpc":"2.0","ID":1,"id":1,"result":{}}`:                                                     "none",
		`{"level":30,"msg":"log"}`:                                                                        "none",
		`"text"`:                                                                                          "none",
		`{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`:                                                     "invalid",
		`{"jsonrpc":"2.0","id":1,"result":{}} {"jsonrpc":"2.0","id":2,"result":{}}`:                       "invalid",
		`{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`: "invalid",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}":                                              "invalid",
		`{`: "invalid",
		``:  "invalid",
	} {
		m, err := parse([]byte(line))
		got := "invalid"
		switch {
		case errors.Is(err, errMessage):
			got = "none"
		case err != nil:
		case m.request():
			got = "request"
		case m.notification():
			got = "notification"
		case m.response():
			got = "response"
		}
		if got != want {
			t.Errorf("%.100s: %s (%v), want %s", line, got, err, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for token, want := range map[string]bool{"1": true, "18": true, "9223372036854775807": true, "0": false, "01": false, `"1"`: false, "1.0": false,
		"1e1": false, "-1": false, "": false, "null": false, "99999999999999999999": false} {
		if _, ok := number([]byte(token)); ok != want {
			t.Errorf("%q: %t", token, ok)
		}
	}
}

// FuzzLine: whatever a child writes, it is parsed or refused; and what is replaced in it is all that changes, to every reader.
func FuzzLine(f *testing.F) {
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`,
		`{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}`,
		`{"params":{"_meta":{"progressToken":1},"progressToken":2},"id":"x","method":"tools/call","jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}`,
		"{\"jsonrpc\":\"2.0\",\r\"id\":1,\t\"result\":{}}", `{"level":30}`, `[]`, "x",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsRune(line, '\n') {
			return
		}
		m, err := parse(line)
		if err != nil {
			return
		}
		if same := m.spliced(); !bytes.Equal(same, line) {
			t.Fatalf("%q is spliced to %q", line, same)
		}
		out := oneLine(m.spliced(change{m.id, []byte(`"new"`)}, change{m.progress, []byte("17")}, change{m.subscription, []byte("18")}, change{m.cancels, []byte("19")}))
		if bytes.ContainsAny(out, "\r\n") {
			t.Fatalf("%q has a line break", out)
		}
		again, err := parse(out)
		if err != nil || again.method != m.method || again.code != m.code {
			t.Fatalf("%q is %q: %v", line, out, err)
		}
		for _, place := range []struct {
			before, after span
			want          string
		}{{m.id, again.id, `"new"`}, {m.progress, again.progress, "17"}, {m.subscription, again.subscription, "18"}} {
			if place.before.there() && string(place.after.of(out)) != place.want {
				t.Fatalf("%q is %q, without %s", line, out, place.want)
			}
		}
		// The Go decoder reads what we read.
		var read struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(out, &read) != nil || read.Method != m.method || m.id.there() && string(read.ID) != `"new"` {
			t.Fatalf("%q is read as %q %q", out, read.ID, read.Method)
		}
	})
}

func TestSpliced(t *testing.T) {
	m, err := parse([]byte(`{"params":{"_meta":{"progressToken":"p"}},"id":"a","method":"m","jsonrpc":"2.0"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(m.spliced(change{m.id, []byte("1")}, change{m.progress, []byte("2")}, change{m.cancels, []byte("3")})),
		`{"params":{"_meta":{"progressToken":2}},"id":1,"method":"m","jsonrpc":"2.0"}`; got != want {
		t.Errorf("got %s", got)
	}
}

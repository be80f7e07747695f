package message

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

// TestCheckMirrors: a header that repeats an argument says what the argument says, and is there exactly when that has a value.
func TestCheckMirrors(t *testing.T) {
	const region = "Mcp-Param-Region"
	deep := []Mirror{{Header: region, Path: []string{"where", "region"}}}
	flat := []Mirror{{Header: region, Path: []string{"region"}}}
	for _, tc := range []struct {
		name, arguments, header string // "-" for no header
		mirrors                 []Mirror
		want                    bool
	}{
		{"a text", `{"region":"west"}`, "west", flat, true},
		{"another text", `{"region":"west"}`, "east", flat, false},
		{"in another case", `{"region":"west"}`, "West", flat, false},
		{"an escaped text", `{"r\u0065gion":"w\u0065st"}`, "west", flat, true},
		{"in base64", `{"region":"wést"}`, b64("wést"), flat, true},
		{"another in base64", `{"region":"wést"}`, b64("west"), flat, false},
		{"what looks like base64", `{"region":"=?base64?d2VzdA==?="}`, "=?base64?d2VzdA==?=", flat, false},
		{"what looks like base64, in base64", `{"region":"=?base64?d2VzdA==?="}`, b64("=?base64?d2VzdA==?="), flat, true},
		{"an empty text", `{"region":""}`, "", flat, true},
		{"an empty header", `{"region":"west"}`, "", flat, false},
		{"no header", `{"region":"west"}`, "-", flat, false},
		{"no argument", `{"other":"west"}`, "west", flat, false},
		{"no arguments", "", "west", flat, false},
		{"null", `{"region":null}`, "null", flat, false},
		{"neither", `{"other":"west"}`, "-", flat, true},
		{"neither, null", `{"region":null}`, "-", flat, true},
		{"neither, no arguments", "", "-", flat, true},
		{"true", `{"region":true}`, "true", flat, true},
		{"true in capitals", `{"region":true}`, "True", flat, false},
		{"false for true", `{"region":true}`, "false", flat, false},
		{"an integer", `{"region":-42}`, "-42", flat, true},
		{"an integer with a fraction", `{"region":42.0}`, "42", flat, true},
		{"an integer with an exponent", `{"region":4.2e1}`, "42", flat, true},
		{"a fraction, as it is", `{"region":1.5}`, "1.5", flat, true},
		{"another integer", `{"region":42}`, "43", flat, false},
		{"an integer in another spelling", `{"region":42}`, "42.0", flat, false},
		{"an integer beyond 2^53", `{"region":9007199254740993}`, "9007199254740993", flat, false},
		{"a fraction, cut", `{"region":1.5}`, "1", flat, false},
		{"a number for a text", `{"region":"42"}`, "42", flat, true},
		{"an object", `{"region":{}}`, "{}", flat, false},
		{"an object without a header", `{"region":{}}`, "-", flat, false},
		{"a list", `{"region":["west"]}`, "west", flat, false},
		{"deep", `{"region":"east","where":{"region":"west"}}`, "west", deep, true},
		{"deep, another's", `{"region":"east","where":{"region":"west"}}`, "east", deep, false},
		{"deep, in a list", `{"where":[{"region":"west"}]}`, "west", deep, false},
		{"deep, in a list, without", `{"where":[{"region":"west"}]}`, "-", deep, true},
		{"one of two", `{"region":"west"}`, "west", []Mirror{flat[0], {Header: "Mcp-Param-Other", Path: []string{"region"}}}, false},
		{"what nobody declares", `{"region":"west"}`, "east", nil, true},
	} {
		m := Message{Kind: Request, Method: "tools/call", Arguments: []byte(tc.arguments)}
		forward := http.Header{region: {tc.header}}
		if tc.header == "-" {
			delete(forward, region)
		}
		got := m.CheckMirrors(forward, tc.mirrors)
		if (got == nil) != tc.want || got != nil && (got.Code != CodeHeaderMismatch || got.Status != http.StatusBadRequest) {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if got := MirrorHeader("tenant-ID"); got != "Mcp-Param-Tenant-Id" {
		t.Errorf("the header is %s", got)
	}
}

// FuzzCheckMirrors: a header that passes says what encoding/json reads in the argument.
func FuzzCheckMirrors(f *testing.F) {
	for _, seed := range [][2]string{{`"west"`, "west"}, {`"w\u00e9st"`, b64("wést")}, {`42.0`, "42"}, {`-0`, "-0"}, {`true`, "true"}, {`null`, ""}, {`{"a":1}`, "1"}, {`1e3`, "1000"}, {`"=?base64??="`, "=?base64??="}} {
		f.Add(seed[0], seed[1])
	}
	mirrors := []Mirror{{Header: "Mcp-Param-A", Path: []string{"a"}}}
	f.Fuzz(func(t *testing.T, argument, header string) {
		m, refusal := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","arguments":{"a":`+argument+`}}}`), limits)
		if refusal != nil || m.CheckMirrors(http.Header{"Mcp-Param-A": {header}}, mirrors) != nil {
			return
		}
		said, _ := decode(header)
		var value struct{ A any }
		if err := json.Unmarshal(m.Arguments, &value); err != nil {
			t.Fatalf("%q: %v", m.Arguments, err)
		}
		switch v := value.A.(type) {
		case string, bool:
			if fmt.Sprint(v) != said {
				t.Errorf("%q passes for %q", header, m.Arguments)
			}
		case float64:
			if n, err := strconv.ParseFloat(said, 64); err != nil || n != v {
				t.Errorf("%q passes for %q", header, m.Arguments)
			}
		default:
			t.Errorf("%q passes for %q", header, m.Arguments)
		}
	})
}

package message

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// lenient is the message as a server reads it that ignores case and takes the last of two members.
type lenient struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  struct {
		Name string `json:"name"`
		URI  string `json:"uri"`
		Ref  struct {
			Type string `json:"type"`
			Name string `json:"name"`
			URI  string `json:"uri"`
		} `json:"ref"`
		Meta struct {
			Revision string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// same says whether another parser's reading of the message is ours.
func same(t *testing.T, parser string, m Message, got lenient) {
	if got.JSONRPC != "2.0" || got.Method != m.Method || !bytes.Equal(got.ID, m.ID) {
		t.Fatalf("%s reads %q, id %s; we read %q, id %s", parser, got.Method, got.ID, m.Method, m.ID)
	}
	if (m.Kind == Response) != (got.Result != nil || got.Error != nil) {
		t.Fatalf("%s reads an answer: %v", parser, got)
	}
	if m.Method != "" && got.Params.Meta.Revision != string(m.Revision) {
		t.Fatalf("%s reads the revision %q, we %q", parser, got.Params.Meta.Revision, m.Revision)
	}
	if m.Method == "subscriptions/listen" {
		return
	}
	for _, target := range m.Targets {
		theirs := got.Params.Name
		switch {
		case m.Method == "completion/complete" && target.Kind == Prompt:
			theirs = got.Params.Ref.Name
		case m.Method == "completion/complete":
			theirs = got.Params.Ref.URI
		case target.Kind == Resource:
			theirs = got.Params.URI
		}
		if theirs == "" || theirs != target.Name {
			t.Fatalf("%s reads the target %q, we %q", parser, theirs, target.Name)
		}
	}
}

// FuzzRead: whatever is accepted, other parsers read as the same message, the most lenient way too.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		modernCall, modernOdd, modernRead, legacyCall, legacyAnswer, bareNotice, initialize("2025-11-25"),
		complete(`"ref":{"type":"ref/prompt","name":"p"}`), listening(`{"resourceSubscriptions":["a:b"]}`),
		request(`{"name":"get","Name":"delete"}`), request(`{"name":"get","n\u0061me":"delete"}`), request(`{"name":"get\u0000"}`),
		`{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, `[` + modernCall + `]`, modernCall + modernCall, "\ufeff" + modernCall,
		`{"jsonrpc":"2.0","id":9007199254740993,"method":"ping","params":{"ſ":1,"k":2}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, refusal := Read(body, limits)
		if refusal != nil {
			if !json.Valid(refusal.JSON(m.ID)) {
				t.Fatalf("the refusal is not JSON: %s", refusal.JSON(m.ID))
			}
			return
		}
		if !bytes.Equal(m.Body, body) {
			t.Fatal("what is forwarded is not what came")
		}
		// A field of ours may have another type in a message that is about something else.
		var loose, strict lenient
		if err := json.Unmarshal(body, &loose); err == nil {
			same(t, "encoding/json", m, loose)
		} else if len(m.Targets) > 0 && m.Method != "completion/complete" && !mistyped(err) {
			t.Fatalf("encoding/json: %v", err)
		}
		if err := jsonv2.Unmarshal(body, &strict, jsonv2.MatchCaseInsensitiveNames(true)); err == nil {
			same(t, "json/v2", m, strict)
		}
		var generic map[string]any
		if err := json.Unmarshal(body, &generic); err == nil {
			if method, _ := generic["method"].(string); method != m.Method {
				t.Fatalf("a map has the method %q, we %q", method, m.Method)
			}
		}
	})
}

func mistyped(err error) bool {
	_, ok := err.(*json.UnmarshalTypeError)
	return ok
}

// FuzzHeaders: a name in a header that is accepted, and the one that is forwarded, both stand for the name in the body.
func FuzzHeaders(f *testing.F) {
	for _, seed := range [][3]string{{"get", "get", "Mcp-Name"}, {"gét", b64("gét"), "mcp_name"}, {"=?base64?Z2V0?=", b64("=?base64?Z2V0?="), "Mcp-Param-X"}, {" a", b64(" a"), "Connection"}, {"=?base64?=", "=?base64?=", "MCP-Name"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, name, value, other string) {
		quoted, err := json.Marshal(name)
		if err != nil {
			return
		}
		m, refusal := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":`+string(quoted)+`,`+modernMeta+`}}`), limits)
		if refusal != nil {
			return
		}
		h := http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {value}}
		if other != HeaderRevision && other != HeaderMethod {
			h[other] = append(h[other], value)
		}
		forward, refusal := m.CheckHeaders(h, gateconfig.Revision20250618)
		if refusal != nil {
			return
		}
		if decoded, ok := decode(value); !ok || decoded != m.Targets[0].Name {
			t.Fatalf("the header %q passes for %q", value, m.Targets[0].Name)
		}
		again := http.Header{}
		for key, values := range forward {
			if len(values) != 1 || http.CanonicalHeaderKey(key) != key {
				t.Fatalf("forwards %q: %q", key, values)
			}
			for _, c := range []byte(values[0]) {
				if c < ' ' && c != '\t' || c > '~' {
					t.Fatalf("forwards %q", values[0])
				}
			}
			again[key] = values
		}
		if decoded, ok := decode(forward.Get(HeaderName)); !ok || decoded != m.Targets[0].Name {
			t.Fatalf("forwards %q for %q", forward.Get(HeaderName), m.Targets[0].Name)
		}
		if _, refusal := m.CheckHeaders(again, gateconfig.Revision20250618); refusal != nil {
			t.Fatalf("refuses what it forwards: %v", again)
		}
	})
}

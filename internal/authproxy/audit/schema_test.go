package audit_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// TestSchema: the documented schema has every member of a line, with a description, and all kinds of lines are valid by it.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../../docs/audit.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	for i := range reflect.TypeFor[audit.Record]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[audit.Record]().Field(i).Tag.Get("json"), ",")
		fields[name] = true
		if p := schema.Properties[name]; p == nil || p.Description == "" {
			t.Errorf("docs/audit.schema.json does not describe %s", name)
		}
	}
	for name := range schema.Properties {
		if !fields[name] {
			t.Errorf("docs/audit.schema.json has %s, which no line has", name)
		}
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}

	out := &disk{left: 1 << 20}
	log := newLog(out)
	if err := log.Begin([]audit.Head{{Boot: "x", Seq: 3, Hash: strings.Repeat("0", 64)}}); err != nil {
		t.Fatal(err)
	}
	size := int64(1)
	for range 20 {
		if err := log.Write(&audit.Record{Time: time.Now(), Decision: audit.Denied, Reason: "tool", Verb: "POST", Status: 403, AnswerBytes: &size}); err != nil {
			t.Fatal(err)
		}
	}
	out.left = 0
	if log.Write(&audit.Record{Decision: audit.Allowed}) == nil {
		t.Error("nothing was lost")
	}
	out.left = 1 << 20
	if err := log.Write(&audit.Record{
		Time: time.Now(), Generation: "g", Source: "192.0.2.1:9", Client: "a/b", Issuer: "corp", Subject: "me", KeyID: "k", CertificateSerial: "0f", Verb: "POST", Method: "tools/call",
		Targets: []audit.Target{{Kind: "tool", Name: "t"}}, Arguments: json.RawMessage(`{"a":1}`), Decision: audit.Allowed, Rule: "p/0", Status: 200,
		TraceID: strings.Repeat("a", 32), ArgumentsHash: strings.Repeat("a", 64),
	}); err != nil {
		t.Fatal(err)
	}
	if err := log.Write(&audit.Record{
		Kind: audit.KindServerRequest, Time: time.Now(), Client: "a/b", Method: "elicitation/create", Targets: []audit.Target{{Kind: "host", Name: "login.example.com"}}, Decision: audit.Allowed, Rule: "p/0",
	}); err != nil {
		t.Fatal(err)
	}
	log.Close()
	kinds := map[any]bool{}
	for line := range bytes.Lines(out.text.Bytes()) {
		var value map[string]any
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(value); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		kinds[value["kind"]] = true
	}
	if len(kinds) != 5 {
		t.Errorf("the log has lines of kinds %v", kinds)
	}
}

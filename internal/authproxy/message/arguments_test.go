package message_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

func TestArguments(t *testing.T) {
	got, ok := message.Arguments([]byte(`{"a":1,"b":-1.5,"c":[true,false,null,"\u0065"],"d":{"e":9007199254740992}}`))
	want := map[string]any{"a": int64(1), "b": -1.5, "c": []any{true, false, nil, "e"}, "d": map[string]any{"e": int64(9007199254740992)}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Error(diff)
	}
	for _, in := range []string{`{"path":1,"paths":2,"pat h":3,"":4,"päth":5}`, `{"a":{"path":1},"path":2,"b":[{"path":1},{"Path":2}]}`} {
		if _, ok := message.Arguments([]byte(in)); !ok || !message.Plain([]byte(in)) {
			t.Errorf("%s is refused", in)
		}
	}
	if got, ok := message.Arguments(nil); !ok || len(got) != 0 {
		t.Errorf("none: %v", got)
	}
	for _, in := range []string{
		`{"a":9007199254740993}`, `{"a":-9007199254740993}`, `{"a":99999999999999999999}`, `{"a":1e17}`, `{"a":9007199254740993.0}`, `{"a":-9007199254740992.9}`, `{"a":9.007199254740993e15}`,
		`{"a":1e999}`, `{"a":-0}`,
		`{"__proto__":1}`, `{"a":[{"constructor":1}]}`, `{"prototype":{}}`, `{"__pr\u006fto__":1}`, `{"a":1,"a":2}`, `[]`, `1`, `{"a":"\u0000"}`,
		`{"path":"a","Path":"b"}`, `{"path":"a","p\u0041th":"b"}`, `{"to":{"file_path":1,"filePath":2}}`, `[{"x":1}]`, `{"a":[{"K":1,"\u212a":2}]}`, `{"s":1,"ſ":2}`, `{"ä":1,"Ä":2}`, `{"é":1,"x":{},"É":2}`, `{"a b":1,"A b":2}`,
	} {
		if got, ok := message.Arguments([]byte(in)); ok || got != nil {
			t.Errorf("%s reads as %v", in, got)
		}
	}
}

// FuzzArguments: what is read, encoding/json reads as well, and alike.
func FuzzArguments(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":-1.5,"c":[true,null,"\u0065"],"d":{"e":9007199254740992}}`))
	f.Add([]byte(`{"a":1e2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, ok := message.Arguments(raw)
		if !ok || len(raw) == 0 {
			return
		}
		mine, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if err := json.Unmarshal(mine, &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%q: %s", raw, diff)
		}
	})
}

// TestPlainIsArguments: both say the same of every text.
func TestPlainIsArguments(t *testing.T) {
	for _, raw := range []string{``, `{}`, `{"a":[1,{"b":null}]}`, `{"a":9007199254740993}`, `{"a":1e400}`, `{"__proto__":1}`, `{"a":[{"prototype":1}]}`, `{"a":-0}`, `[]`, `{"a":1} x`, `{"a":1,"a":2}`, `{"path":1,"Path":2}`, `{"a":{"é":1,"É":2}}`} {
		if _, ok := message.Arguments([]byte(raw)); ok != message.Plain([]byte(raw)) {
			t.Errorf("%s: %v", raw, ok)
		}
	}
}

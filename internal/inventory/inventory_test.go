package inventory

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

// TestCanonicalRFC8785 has the examples of RFC 8785: section 3.2.2 and 3.2.3, and the numbers of appendix B.
func TestCanonicalRFC8785(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"3.2.2": {
			`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		"3.2.3": {
			`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		"nested, with white space": {" [ { \"b\" : [ ] , \"a\" : { } } ] ", `[{"a":{},"b":[]}]`},
		"scalars":                  {`-0`, `0`},
	} {
		if got, err := Canonical([]byte(tc.in)); err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\n%s\n%s", name, err, got, tc.want)
		}
	}
	for bits, want := range map[uint64]string{
		0x0000000000000001: "5e-324", 0x7fefffffffffffff: "1.7976931348623157e+308", 0x4340000000000000: "9007199254740992",
		0x4430000000000000: "295147905179352830000", 0x44b52d02c7e14af5: "9.999999999999997e+22", 0x44b52d02c7e14af6: "1e+23",
		0x444b1ae4d6e2ef4e: "999999999999999700000", 0x444b1ae4d6e2ef50: "1e+21", 0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7",
		0x3eb0c6f7a0b5ed8d: "0.000001", 0x41b3de4355555555: "333333333.3333333", 0xbecbf647612f3696: "-0.0000033333333333333333",
	} {
		in, err := json.Marshal(math.Float64frombits(bits))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Canonical(in); err != nil || string(got) != want {
			t.Errorf("%x: %s, want %s (%v)", bits, got, want, err)
		}
	}
}

// TestCanonicalRefuses: what has more than one reading has no canonical form.
func TestCanonicalRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing": ``, "two values": `{} {}`, "repeated name": `{"a":1,"a":2}`, "repeated by an escape": `{"a":1,"\u0061":2}`,
		"half a surrogate pair": `"\ud800"`, "bad UTF-8": "\"\xff\"", "NaN": `NaN`, "leading zero": `01`, "beyond doubles": `[1e400]`, "cut": `{"a":`,
	} {
		if got, err := Canonical([]byte(in)); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestNewItem: whatever part of a definition differs, the hash does; how it is written does not matter.
func TestNewItem(t *testing.T) {
	base := `{"name":"get","title":"Get","description":"gets","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"icons":[{"src":"x"}],"_meta":{"k":1},"more":2}`
	same := `{"more":2.0, "_meta":{"k":1},"icons":[{"src":"x"}],"annotations":{"readOnlyHint":true},"outputSchema":{"type":"object"},"inputSchema":{"properties":{"a":{"type":"string"}},"type":"object"},"description":"g\u0065ts","title":"Get","name":"get"}`
	first, err := NewItem(Tool, []byte(base))
	if err != nil || first.Name != "get" || first.Kind != Tool {
		t.Fatal(first, err)
	}
	if second, err := NewItem(Tool, []byte(same)); err != nil || second.SHA256 != first.SHA256 || !bytes.Equal(second.Definition, first.Definition) {
		t.Errorf("the same, written in another way: %v %v", second, err)
	}
	seen := map[string]string{first.SHA256: "base"}
	for _, change := range []struct{ from, to string }{
		{`"title":"Get"`, `"title":"get"`}, {`"gets"`, `"gets "`}, {`"string"`, `"number"`}, {`"outputSchema":{"type":"object"}`, `"outputSchema":{}`},
		{`"readOnlyHint":true`, `"readOnlyHint":false`}, {`"src":"x"`, `"src":"y"`}, {`"k":1`, `"k":2`}, {`"more":2`, `"more":3`}, {`,"more":2`, ``},
	} {
		item, err := NewItem(Tool, []byte(strings.Replace(base, change.from, change.to, 1)))
		if err != nil || seen[item.SHA256] != "" {
			t.Errorf("%s: %v, as %s", change.to, err, seen[item.SHA256])
		}
		seen[item.SHA256] = change.to
	}
	for kind, raw := range map[Kind]string{Template: `{"uriTemplate":"a://{b}","name":"x"}`, Resource: `{"uri":"a://b","name":"x"}`, Prompt: `{"name":"p"}`, Instructions: `"do\nthis"`} {
		item, err := NewItem(kind, []byte(raw))
		if err != nil || item.Name == "x" || item.Name == "" {
			t.Errorf("%s: %+v %v", kind, item, err)
		}
	}
	for name, tc := range map[string]struct {
		kind Kind
		raw  string
	}{
		"no name": {Tool, `{"description":"x"}`}, "empty name": {Tool, `{"name":""}`}, "name that is a number": {Tool, `{"name":1}`},
		"two names for lenient parsers": {Tool, `{"name":"a","Name":"b"}`}, "no object": {Tool, `"a"`}, "instructions that are none": {Instructions, `{"a":1}`},
		"name of a template": {Template, `{"name":"x"}`}, "long name": {Tool, `{"name":"` + strings.Repeat("x", MaxName+1) + `"}`},
		"large": {Tool, `{"name":"a","description":"` + strings.Repeat("x", MaxDefinition) + `"}`}, "deep": {Tool, `{"name":"a","x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`},
	} {
		if item, err := NewItem(tc.kind, []byte(tc.raw)); err == nil {
			t.Errorf("%s: %+v", name, item)
		}
	}
}

func TestSortAndDigest(t *testing.T) {
	a, _ := NewItem(Tool, []byte(`{"name":"a"}`))
	b, _ := NewItem(Prompt, []byte(`{"name":"a"}`))
	items := Sort([]Item{a, b, a})
	if len(items) != 2 || items[0].Kind != Prompt {
		t.Fatal(items)
	}
	if Digest(items) == Digest(items[:1]) || Digest(items) != Digest(Sort([]Item{b, a})) {
		t.Error("the digest is not that of the items")
	}
}

// FuzzCanonical: the canonical form is its own, and has the meaning of the text.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,null,true,"\u00e9"]}`, `"\ud83d\ude00"`, `[1e400]`, `{"b":{},"a":[]}`, `-0.0`, `9007199254740993`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		canonical, err := Canonical(raw)
		if err != nil {
			return
		}
		again, err := Canonical(canonical)
		if err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("not stable: %q %q %v", canonical, again, err)
		}
		var before, after any
		if json.Unmarshal(raw, &before) != nil {
			return // a number beyond what encoding/json takes
		}
		if err := json.Unmarshal(canonical, &after); err != nil {
			t.Fatalf("%q: %v", canonical, err)
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%s became %s", raw, canonical)
		}
	})
}

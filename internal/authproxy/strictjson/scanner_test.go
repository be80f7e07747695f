package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func scan(data []byte, depth int) error {
	s := New(data, depth)
	defer s.Release()
	s.Skip()
	return s.End()
}

// walk reads a value step by step, as Skip must read it at once.
func walk(s *Scanner) {
	switch s.Kind() {
	case '{':
		for s.Enter('{', nil); s.Member(); {
			walk(s)
		}
	case '[':
		for s.Enter('[', nil); s.Element(); {
			walk(s)
		}
	default:
		s.Skip()
	}
}

// walked is scan, step by step.
func walked(data []byte, depth int) error {
	s := New(data, depth)
	defer s.Release()
	walk(s)
	return s.End()
}

func TestScan(t *testing.T) {
	for _, tc := range []struct {
		text string
		want error
	}{
		{`{}`, nil}, {`[]`, nil}, {`""`, nil}, {`0`, nil}, {`-0`, nil}, {`true`, nil}, {`false`, nil}, {`null`, nil},
		{" \t\r\n[ 1 , -2.5e+3 , 1E9, 0.1 ] \n", nil},
		{`{"a":{"a":[{"a":1},{"a":2}]},"b":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀"}`, nil},
		{``, ErrSyntax}, {` `, ErrSyntax}, {`{`, ErrSyntax}, {`[`, ErrSyntax}, {`"`, ErrSyntax}, {`"\`, ErrSyntax},
		{`{]`, ErrSyntax}, {`[}`, ErrSyntax}, {`[1}`, ErrSyntax}, {`{"a":1]`, ErrSyntax}, {`]`, ErrSyntax},
		{`{}{}`, ErrSyntax}, {`{} x`, ErrSyntax}, {`{},`, ErrSyntax}, {"{}\x00", ErrSyntax}, {"{}\f", ErrSyntax},
		{`{,}`, ErrSyntax}, {`{"a":1,}`, ErrSyntax}, {`{"a"}`, ErrSyntax}, {`{"a":}`, ErrSyntax}, {`{a:1}`, ErrSyntax},
		{`{'a':1}`, ErrSyntax}, {`{"a" 1}`, ErrSyntax}, {`{"a":1 "b":2}`, ErrSyntax}, {`{1:2}`, ErrSyntax}, {`{"a"::1}`, ErrSyntax},
		{`[,]`, ErrSyntax}, {`[1,]`, ErrSyntax}, {`[,1]`, ErrSyntax}, {`[1 2]`, ErrSyntax}, {`[1,,2]`, ErrSyntax},
		{`01`, ErrSyntax}, {`+1`, ErrSyntax}, {`-`, ErrSyntax}, {`.5`, ErrSyntax}, {`1.`, ErrSyntax}, {`1e`, ErrSyntax},
		{`1e+`, ErrSyntax}, {`0x10`, ErrSyntax}, {`1_000`, ErrSyntax}, {`NaN`, ErrSyntax}, {`Infinity`, ErrSyntax}, {`-Infinity`, ErrSyntax},
		{`True`, ErrSyntax}, {`tru`, ErrSyntax}, {`truex`, ErrSyntax}, {`nul`, ErrSyntax}, {`/**/{}`, ErrSyntax}, {`{}//`, ErrSyntax},
		{"\"a\nb\"", ErrSyntax}, {"\"\x1f\"", ErrSyntax}, {`"\x41"`, ErrSyntax}, {`"\u12"`, ErrSyntax}, {`"\u12g4"`, ErrSyntax}, {`"\'"`, ErrSyntax}, {`"\U0041"`, ErrSyntax},
		{"\ufeff{}", ErrSyntax}, {"\"\xff\"", ErrUTF8}, {"\"\xc0\xaf\"", ErrUTF8}, {"\"\xed\xa0\x80\"", ErrUTF8}, {"{\"\xff\":1}", ErrUTF8},
		{"\xff\xfe{\x00}\x00", ErrUTF8},
		{"\"a\x00\"", ErrNUL}, {`"a\u0000"`, ErrNUL}, {`{"name\u0000":1}`, ErrNUL},
		{`"\ud800"`, ErrSurrogate}, {`"\udc00"`, ErrSurrogate}, {`"\ud800\ud800"`, ErrSurrogate}, {`"\ud800x"`, ErrSurrogate}, {`"\ud800\n"`, ErrSurrogate}, {`"\udc00\ud800"`, ErrSurrogate},
		{`{"\ud800":1}`, ErrSurrogate},
		{`{"a":1,"a":1}`, ErrDuplicate}, {`{"a":1,"\u0061":2}`, ErrDuplicate}, {`{"\u0061":1,"a":2}`, ErrDuplicate}, {`{"":1,"":2}`, ErrDuplicate},
		{`{"😀":1,"\ud83d\ude00":2}`, ErrDuplicate}, {`{"/":1,"\/":2}`, ErrDuplicate},
		{`[{"x":{"a":1,"b":{"c":1},"a":2}}]`, ErrDuplicate},
		{`{"a":1,"A":2}`, nil}, {`{"a":{"b":1},"b":{"a":1}}`, nil},
		{strings.Repeat("[", 8) + strings.Repeat("]", 8), nil},
		{strings.Repeat("[", 9) + strings.Repeat("]", 9), ErrDepth},
		{strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9), ErrDepth},
		{strings.Repeat("[", 1_000_000), ErrDepth},
	} {
		if err := scan([]byte(tc.text), 8); !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
			t.Errorf("%.60q: %v, want %v", tc.text, err, tc.want)
		}
		if err := walked([]byte(tc.text), 8); !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
			t.Errorf("%.60q step by step: %v, want %v", tc.text, err, tc.want)
		}
	}
}

func object(n int, last string) []byte {
	var b strings.Builder
	b.WriteString("{")
	for i := range n {
		fmt.Fprintf(&b, `"m%d":%d,`, i, i)
	}
	return []byte(b.String() + `"` + last + `":0}`)
}

// The way of finding duplicates changes with the number of members; none may be missed on either side.
func TestDuplicatesInLargeObjects(t *testing.T) {
	for _, n := range []int{1, linear - 1, linear, linear + 1, 100, MaxMembers - 1} {
		if err := scan(object(n, "new"), 1); err != nil {
			t.Errorf("%d members: %v", n, err)
		}
		for _, dup := range []string{"m0", fmt.Sprintf("m%d", n-1), fmt.Sprintf("m%d", n/2), `\u006d0`} {
			if err := scan(object(n, dup), 1); !errors.Is(err, ErrDuplicate) {
				t.Errorf("%d members and %s again: %v", n, dup, err)
			}
		}
	}
	if err := scan(object(MaxMembers, "new"), 1); !errors.Is(err, ErrMembers) {
		t.Errorf("too many members: %v", err)
	}
}

func TestNames(t *testing.T) {
	open, closed := Open("_meta", "name", "taskId"), Closed("name", "id")
	for _, tc := range []struct {
		rule *Names
		text string
		want error
	}{
		{open, `{"name":1,"taskId":2,"_meta":3,"other":4,"io.example/x":5}`, nil},
		{open, `{"\u006eame":1}`, nil},
		{open, `{"name":1,"\u006eame":1}`, ErrDuplicate},
		{open, `{"Name":1}`, ErrVariant}, {open, `{"NAME":1}`, ErrVariant}, {open, `{"name":1,"Name":2}`, ErrVariant},
		{open, `{"\u004eame":1}`, ErrVariant}, {open, `{"task_id":1}`, ErrVariant}, {open, `{"meta":1}`, ErrVariant}, {open, `{"na-me":1}`, ErrVariant},
		{open, `{"x":1,"X":2}`, ErrDuplicate}, {open, `{"x-y":1,"x_Y":2}`, ErrDuplicate},
		{open, `{"ſ":1}`, ErrVariant}, {open, `{"taſkId":1}`, ErrVariant}, {open, `{"tas\u212aId":1}`, ErrVariant}, {open, `{"ıd":1}`, ErrVariant},
		{open, `{"name ":1}`, ErrVariant}, {open, `{" name":1}`, ErrVariant}, {open, `{"name\t":1}`, ErrVariant}, {open, `{"na\u200bme":1}`, ErrVariant},
		{open, `{"name\u0000":1}`, ErrNUL}, {open, `{"name\u007f":1}`, ErrVariant}, {open, `{"na\"me":1}`, ErrVariant}, {open, `{"na\\me":1}`, ErrVariant},
		{closed, `{"id":1,"name":2}`, nil}, {closed, `{"id":1,"other":2}`, ErrUnknown}, {closed, `{"ID":1}`, ErrVariant}, {closed, `{"id":1,"Name":2}`, ErrVariant},
	} {
		s := New([]byte(tc.text), 4)
		for s.Enter('{', tc.rule); s.Member(); {
			s.Skip()
		}
		if err := s.End(); !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", tc.text, err, tc.want)
		}
		s.Release()
	}
}

func TestWalk(t *testing.T) {
	s := New([]byte(` {"a\n": "\u00e9\ud83d\ude00\/", "b": [ {"c": 1}, "x" ], "d": 7} `), 3)
	defer s.Release()
	var got []string
	for s.Enter('{', nil); s.Member(); {
		got = append(got, string(s.Name()))
		switch s.Kind() {
		case '"':
			got = append(got, string(s.String()))
		case '[':
			for s.Enter('[', nil); s.Element(); {
				got = append(got, string(s.Skip()))
			}
		default:
			got = append(got, string(s.Skip()))
		}
	}
	if want := "a\n|é😀/|b|{\"c\": 1}|\"x\"|d|7"; s.End() != nil || strings.Join(got, "|") != want {
		t.Errorf("%v %q", s.End(), got)
	}
}

func TestWrongKind(t *testing.T) {
	for name, walk := range map[string]func(*Scanner){
		"object as array": func(s *Scanner) { s.Enter('[', nil); s.Element() },
		"object as text":  func(s *Scanner) { s.String() },
	} {
		s := New([]byte(`{}`), 1)
		if walk(s); !errors.Is(s.End(), ErrKind) {
			t.Errorf("%s: %v", name, s.Err())
		}
		s.Release()
	}
}

// TestPlain: whatever comes before and after, the first special byte of a string is found.
func TestPlain(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				for _, around := range []string{"a", "\x7f", "\x80", "\xff", " ", "!", "#", "[", "]"} {
					data := []byte(strings.Repeat(around, length))
					data[at] = byte(c)
					want := length
					if special[c] {
						want = at
					}
					if got := plain(data, 0); got != want {
						t.Fatalf("%q: %d, want %d", data, got, want)
					}
				}
			}
		}
	}
}

// A Scanner that is used again has forgotten everything.
func TestReuse(t *testing.T) {
	for _, text := range []string{`{"a":{"b":[`, string(object(50, "m0")), `{"a":1,"a":2}`, "\xff"} {
		if scan([]byte(text), 8) == nil {
			t.Fatalf("%q accepted", text)
		}
		if err := scan([]byte(`{"a":1,"m0":[{"b":2}]}`), 8); err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
	}
}

func TestCompact(t *testing.T) {
	in := "{ \"a b\" : [ 1 ,\n\t\"c \\\" d\\\\\" , { } ] ,\r\n\"\\\\\" : \" \" }"
	want := `{"a b":[1,"c \" d\\",{}],"\\":" "}`
	if got := string(Compact(nil, []byte(in))); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzScan: what the scanner accepts, jsontext in its strict mode and encoding/json accept as the same; what it refuses
// for its syntax, jsontext refuses too.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"\ud83d\ude00",{"b":null}],"c":-1.5e3}`, `{"a":1,"\u0061":2}`, `"\ud800"`, `[[[]]]`, " 1 ", `{"a":1}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const depth = 64
		err := scan(data, depth)
		strict := readAll(data)
		if step := walked(data, depth); !errors.Is(step, err) || !errors.Is(err, step) {
			t.Fatalf("at once: %v, but step by step: %v", err, step)
		}
		once, step := New(data, depth), New(data, depth)
		defer once.Release()
		defer step.Release()
		once.AnyText()
		step.AnyText()
		once.Skip()
		walk(step)
		if one, other := once.End(), step.End(); !errors.Is(one, other) || !errors.Is(other, one) {
			t.Fatalf("of any text at once: %v, but step by step: %v", one, other)
		}
		switch {
		case err == nil && strict != nil:
			t.Fatalf("accepted, but jsontext says %v", strict)
		case err != nil && strict == nil && !errors.Is(err, ErrNUL) && !errors.Is(err, ErrDepth) && !errors.Is(err, ErrMembers):
			t.Fatalf("refused (%v), but jsontext accepts", err)
		}
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatal("accepted, but encoding/json refuses")
		}
		compact := Compact(nil, data)
		var want bytes.Buffer
		if err := json.Compact(&want, data); err != nil || !bytes.Equal(compact, want.Bytes()) {
			t.Fatalf("compact: %q, want %q", compact, want.Bytes())
		}
		s := New(data, depth)
		defer s.Release()
		if s.Kind() == '"' {
			var theirs string
			if err := json.Unmarshal(data, &theirs); err != nil || theirs != string(s.String()) {
				t.Fatalf("%q read as %q", data, theirs)
			}
		}
	})
}

func readAll(data []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if _, err := d.ReadValue(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return fmt.Errorf("trailing: %w", err)
	}
	return nil
}

package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSuite runs the official JSON Schema test suite, as the module jsonschema-go carries it. What the compiler refuses is
// not judged; it must be little.
func TestSuite(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/jsonschema-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	// left are files about what is left to the server or refused as a whole.
	left := map[string]bool{
		"dynamicRef.json": true, "unevaluatedItems.json": true, "unevaluatedProperties.json": true, "anchor.json": true,
		"vocabulary.json": true, "refRemote.json": true, "id.json": true,
	}
	for _, draft := range []string{"draft2020-12", "draft7"} {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "jsonschema", "testdata", draft, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		judged, refused := 0, 0
		for _, file := range files {
			name := filepath.Base(file)
			if left[name] {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var groups []struct {
				Description string
				Schema      json.RawMessage
				Tests       []struct {
					Description string
					Data        json.RawMessage
					Valid       bool
				}
			}
			if err := json.Unmarshal(text, &groups); err != nil {
				t.Fatal(name, err)
			}
			for _, group := range groups {
				s, err := Compile(group.Schema)
				if err != nil {
					refused += len(group.Tests)
					continue
				}
				for _, test := range group.Tests {
					if len(s.Unchecked()) > 0 {
						refused++
						continue
					}
					judged++
					if err := s.Check(test.Data); (err == nil) != test.Valid {
						if known[draft+" "+group.Description] != "" {
							continue
						}
						t.Errorf("%s %s: %s: %s: %v, want valid %v\n%s", draft, name, group.Description, test.Description, err, test.Valid, group.Schema)
					}
				}
			}
		}
		if judged < 700 || refused*8 > judged {
			t.Errorf("%s: %d judged, %d not", draft, judged, refused)
		}
		t.Logf("%s: %d judged, %d not", draft, judged, refused)
	}
}

// known are groups of the suite in which this package is stricter on purpose, and why.
var known = map[string]string{
	"draft2020-12 nul characters in strings":    "no caller may send NUL",
	"draft7 nul characters in strings":          "no caller may send NUL",
	"draft7 ref overrides any sibling keywords": "what stands beside a reference counts, as in later drafts",
}

// TestNamesThatReadAlike: a member that a lenient server takes for a property, past that property's schema, is refused.
func TestNamesThatReadAlike(t *testing.T) {
	s, err := Compile([]byte(`{"properties":{"path":{"pattern":"^/pub/"},"file_mode":true,"to":{"required":["Cc"]}},"patternProperties":{"^x-":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	for text, valid := range map[string]bool{
		`{"path":"/pub/a","paths":1,"x-path":1,"other":{"Path":1}}`: true,
		`{"path":"/pub/a","Path":"/etc"}`:                           false,
		`{"PATH":"/etc"}`:                                           false,
		`{"p_ath":"/etc"}`:                                          false,
		`{"fileMode":1}`:                                            false,
		`{"to":{"Cc":1,"cc":2}}`:                                    false,
		`{"to":{"Cc":1,"bcc":2}}`:                                   true,
	} {
		if got := s.Check([]byte(text)) == nil; got != valid {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	deep := strings.Repeat(`{"not":`, 3000) + `true` + strings.Repeat(`}`, 3000)
	var many strings.Builder
	for i := range maxNodes {
		fmt.Fprintf(&many, `,"p%d":true`, i)
	}
	for name, tc := range map[string]struct {
		schema string
		want   error
	}{
		"no JSON":                          {`{`, ErrSchema},
		"a number":                         {`1`, ErrSchema},
		"a remote reference":               {`{"$ref":"https://example.com/schema"}`, ErrReference},
		"a reference to a file":            {`{"properties":{"a":{"$ref":"file:///etc/passwd"}}}`, ErrReference},
		"a relative reference":             {`{"$ref":"other.json"}`, ErrReference},
		"a reference to nothing":           {`{"$ref":"#/$defs/a"}`, ErrReference},
		"an anchor":                        {`{"$ref":"#a","$defs":{"a":{"$anchor":"a"}}}`, ErrReference},
		"a dynamic reference":              {`{"$dynamicRef":"#a"}`, ErrReference},
		"a base that moves":                {`{"properties":{"a":{"$id":"x"}}}`, ErrReference},
		"a schema that is itself":          {`{"$ref":"#"}`, ErrRecursion},
		"a schema that is itself, by two":  {`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}`, ErrRecursion},
		"a schema that is itself, negated": {`{"not":{"$ref":"#"}}`, ErrRecursion},
		"an unknown type":                  {`{"type":"file"}`, ErrSchema},
		"no type at all":                   {`{"type":[]}`, ErrSchema},
		"a type that is a number":          {`{"type":1}`, ErrSchema},
		"required of numbers":              {`{"required":[1]}`, ErrSchema},
		"a length that is negative":        {`{"minLength":-1}`, ErrSchema},
		"properties that are none":         {`{"properties":[]}`, ErrSchema},
		"members by look-ahead":            {`{"patternProperties":{"(?!a)":true}}`, ErrSchema},
		"a long pattern":                   {`{"pattern":"` + strings.Repeat("a", maxPattern+1) + `"}`, ErrSize},
		"too many schemas":                 {`{"properties":{"x":true` + many.String() + `}}`, ErrSize},
	} {
		if _, err := Compile([]byte(tc.schema)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if s, err := Compile([]byte(deep)); err == nil && s.Check([]byte(`{}`)) == nil {
		t.Log("a deep schema compiles") // and ends
	}
	s, err := Compile([]byte(`{"properties":{"mail":{"type":"string","pattern":"^(?!\\.)a"},"b":{"unevaluatedProperties":false}}}`))
	if err != nil || strings.Join(s.Unchecked(), ",") != "pattern,unevaluatedProperties" {
		t.Errorf("what is left to the server: %v, %v", s, err)
	}
}

// TestCostIsBounded: schemas and values that would cost exponential, or quadratic, time end.
func TestCostIsBounded(t *testing.T) {
	var doubling strings.Builder
	doubling.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
	for i := range 60 {
		fmt.Fprintf(&doubling, `"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	doubling.WriteString(`"d60":false}}`)
	for name, tc := range map[string]struct{ schema, value string }{
		"doubling":   {doubling.String(), `{}`},
		"uniqueness": {`{"uniqueItems":true}`, `[` + strings.Repeat(`{"a":1},`, 100_000) + `1]`},
		"nesting":    {`{"anyOf":[{"type":"array","items":{"$ref":"#"}},{"items":{"$ref":"#"},"type":["array"]}]}`, strings.Repeat("[", 900) + `1` + strings.Repeat("]", 900)},
		"matching":   {`{"items":{"pattern":"(a?){500}a{500}"}}`, `[` + strings.Repeat(`"`+strings.Repeat("a", 400)+`",`, 20_000) + `1]`},
	} {
		s, err := Compile([]byte(tc.schema))
		if err != nil {
			t.Fatal(name, err)
		}
		start := time.Now()
		if err := s.Check([]byte(tc.value)); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %s", name, took)
		}
	}
}

const toolSchema = `{"type":"object","properties":{"namespace":{"type":"string","minLength":1,"maxLength":63,"pattern":"^[a-z0-9-]+$"},"limit":{"type":"integer","minimum":1,"maximum":500},"verbose":{"type":"boolean"},"output":{"enum":["json","yaml"]}},"required":["namespace"],"additionalProperties":false}`

func TestCheckTakesNoAllocation(t *testing.T) {
	s, err := Compile([]byte(toolSchema))
	if err != nil {
		t.Fatal(err)
	}
	arguments := []byte(`{"namespace":"kube-system","limit":100,"verbose":true,"output":"json"}`)
	if n := testing.AllocsPerRun(1000, func() {
		if s.Check(arguments) != nil {
			t.Error("refused")
		}
	}); n > 1 { // with the race detector pools lose what they hold, now and then
		t.Errorf("%v allocations", n)
	}
	for _, bad := range []string{``, `{}`, `{"namespace":""}`, `{"namespace":"A"}`, `{"namespace":1}`, `{"namespace":"a","limit":0}`, `{"namespace":"a","limit":1.5}`,
		`{"namespace":"a","limit":501}`, `{"namespace":"a","verbose":"true"}`, `{"namespace":"a","output":"xml"}`, `{"namespace":"a","other":1}`, `[]`, `"a"`} {
		if s.Check([]byte(bad)) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	s, err := Compile([]byte(toolSchema))
	if err != nil {
		b.Fatal(err)
	}
	arguments := []byte(`{"namespace":"kube-system","limit":100,"verbose":true,"output":"json"}`)
	b.ReportAllocs()
	for b.Loop() {
		if s.Check(arguments) != nil {
			b.Fatal("refused")
		}
	}
}

// FuzzSchema: whatever a server declares and a caller sends, a verdict comes.
func FuzzSchema(f *testing.F) {
	f.Add([]byte(toolSchema), []byte(`{"namespace":"a"}`))
	f.Add([]byte(`{"oneOf":[{"type":"string"},{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"$ref":"#"}}}}`), []byte(`[[["a"]]]`))
	f.Add([]byte(`{"if":{"required":["a"]},"then":{"dependentRequired":{"a":["b"]}},"contains":{"const":1},"uniqueItems":true,"multipleOf":0.1}`), []byte(`{"a":1}`))
	f.Fuzz(func(t *testing.T, schema, value []byte) {
		s, err := Compile(schema)
		if err != nil {
			return
		}
		if err := s.Check(value); err == nil && len(value) > 0 && !json.Valid(value) {
			t.Fatalf("accepted: %q", value)
		}
	})
}

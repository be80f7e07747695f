package listing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

func TestMirrors(t *testing.T) {
	for name, tc := range map[string]struct {
		schema string
		want   []message.Mirror
	}{
		"none":  {`{"type":"object","properties":{"region":{"type":"string"}}}`, nil},
		"one":   {`{"properties":{"region":{"type":"string","x-mcp-header":"region"}}}`, []message.Mirror{{Header: "Mcp-Param-Region", Path: []string{"region"}}}},
		"empty": {`{"properties":{"region":{"x-mcp-header":""}}}`, nil},
		"deep and in order": {`{"properties":{"b":{"x-mcp-header":"B"},"a":{"properties":{"a":{"x-mcp-header":"A-one"},"c":{"x-mcp-header":"A-two"}}}}}`, []message.Mirror{
			{Header: "Mcp-Param-A-One", Path: []string{"a", "a"}}, {Header: "Mcp-Param-A-Two", Path: []string{"a", "c"}}, {Header: "Mcp-Param-B", Path: []string{"b"}}}},
		"an argument of that name": {`{"properties":{"x-mcp-header":{"type":"string"}}}`, nil},
		"not by properties alone":  {`{"x-mcp-header":"A","items":{"x-mcp-header":"B"},"allOf":[{"properties":{"a":{"x-mcp-header":"C"}}}]}`, nil},
		"no text":                  {`{"properties":{"a":{"x-mcp-header":1}}}`, nil},
		"too many":                 {`{"properties":{` + many(maxMirrors+1) + `}}`, []message.Mirror{{}}},
	} {
		if diff := cmp.Diff(tc.want, mirrors([]byte(tc.schema))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if got := mirrors([]byte(`{"properties":{` + many(maxMirrors) + `}}`)); len(got) != maxMirrors {
		t.Errorf("%d of %d", len(got), maxMirrors)
	}
	if m := (&message.Message{Arguments: []byte(`{"a":1}`)}); m.CheckMirrors(nil, []message.Mirror{{}}) == nil {
		t.Error("a tool with too many takes arguments")
	}
	var items []inventory.Item
	for _, tool := range []string{`{"name":"a","inputSchema":{"properties":{"x":{"x-mcp-header":"X"}}}}`, `{"name":"a","inputSchema":{"properties":{"y":{"x-mcp-header":"Y"}}}}`, `{"name":"b"}`} {
		item, err := inventory.NewItem(inventory.Tool, []byte(tool))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
	l := New("p", time.Now(), items, upstream.NewClient())
	if got := l.Mirrors("a"); len(got) != 2 {
		t.Errorf("of a tool with two definitions: %v", got)
	}
	if got := l.Mirrors("b"); got != nil {
		t.Errorf("of a tool without: %v", got)
	}
}

// many are so many arguments that headers repeat.
func many(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"a%d":{"x-mcp-header":"A%d"}`, i, i)
	}
	return strings.Join(all, ",")
}

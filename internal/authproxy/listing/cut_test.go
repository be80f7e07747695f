package listing

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/inventory"
)

func TestCut(t *testing.T) {
	shows := func(kind inventory.Kind, raw []byte) bool { return !bytes.Contains(raw, []byte("bad")) }
	for name, tc := range map[string]struct{ in, want string }{
		"tools":        {`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"bad"},{"name":"c"}],"nextCursor":"x"}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"c"}],"nextCursor":"x"}}`},
		"nothing left": {`{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"bad"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"prompts":[]}}`},
		"resources":    {`{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"bad"}],"resourceTemplates":[{"uriTemplate":"bad"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"bad"}],"resourceTemplates":[]}}`},
		"instructions": {`{"jsonrpc":"2.0","id":1,"result":{"instructions":"bad","capabilities":{}}}`, `{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}`},
		"good ones":    {`{"jsonrpc":"2.0","id":1,"result":{"instructions":"good"}}`, `{"jsonrpc":"2.0","id":1,"result":{"instructions":"good"}}`},
		"an error":     {`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"bad"}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"bad"}}`},
		"a message":    {`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"bad"}}`, `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"bad"}}`},
		"no result":    {`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
	} {
		if got, err := Cut([]byte(tc.in), shows); err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\n%s\n%s", name, err, got, tc.want)
		}
	}
	for _, bad := range []string{``, `[]`, `{"result":[]}`, `{"result":{"tools":{}}}`, `{"result":{"tools":[],"tools":[]}}`, `{"result":{}} x`} {
		if got, err := Cut([]byte(bad), shows); err == nil {
			t.Errorf("%s: %s", bad, got)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b"}],"instructions":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := Cut(data, func(inventory.Kind, []byte) bool { return false })
		if err != nil {
			return
		}
		var m struct {
			Result *struct {
				Tools, Prompts, ResourceTemplates []json.RawMessage
				Instructions                      string
			}
		}
		if err := json.Unmarshal(out, &m); err == nil && m.Result != nil &&
			(len(m.Result.Tools)+len(m.Result.Prompts)+len(m.Result.ResourceTemplates) > 0 || m.Result.Instructions != "") {
			t.Fatalf("%q became %q", data, out)
		}
	})
}

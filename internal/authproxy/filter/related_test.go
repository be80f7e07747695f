package filter

import (
	"strings"
	"testing"
)

// TestRelatedTask: a request of the server about a task that is not the client's is none that a rule allows, a notification about
// one is dropped, and an answer about one is none.
func TestRelatedTask(t *testing.T) {
	about := func(id string) string {
		return `"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"` + id + `"}}`
	}
	for name, test := range map[string]struct {
		in, want string
		asked    bool
	}{
		"a notification":          {`{"jsonrpc":"2.0","method":"notifications/progress","params":{%,"progress":1}}`, `{"jsonrpc":"2.0","method":"notifications/progress","params":{%,"progress":1}}`, false},
		"a request":               {`{"jsonrpc":"2.0","id":7,"method":"ping","params":{%}}`, `{"jsonrpc":"2.0","id":7,"method":"ping","params":{%}}`, true},
		"an answer":               {`{"jsonrpc":"2.0","id":1,"result":{%,"content":[]}}`, `{"jsonrpc":"2.0","id":1,"result":{%,"content":[]}}`, false},
		"of a task, and about it": {`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t1",%}}`, "", false},
	} {
		for _, id := range []string{"t1", "t2"} {
			c := &client{}
			out, err := AnswerTo(c, legacy("tools/call"), askable(t), lowest, now, []byte(strings.Replace(test.in, "%", about(id), 1)))
			want := strings.Replace(test.want, "%", about("h1"), 1)
			if id == "t2" {
				want = ""
			}
			if string(out) != want || (err != nil) != (name == "an answer" && id == "t2") {
				t.Errorf("%s, %s: %s, %v", name, id, out, err)
			}
			if test.asked != (len(c.asked) == 1) || test.asked && c.asked[0].Asks.Kind != "" {
				t.Errorf("%s, %s: asked %+v", name, id, c.asked)
			}
		}
	}
	for _, in := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/Related-Task":{"taskId":"t1"}},"content":[]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/related-task":{"TaskID":"t1"}},"content":[]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/related-task":"t1"},"content":[]}}`,
	} {
		if out, err := AnswerTo(&client{}, legacy("tools/call"), askable(t), lowest, now, []byte(in)); err == nil {
			t.Errorf("%s becomes %s", in, out)
		}
	}
}

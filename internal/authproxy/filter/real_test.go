package filter

import (
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// A whole list as the Go SDK writes it passes, cut and nothing else changed.
func TestAnswerOfTheSDK(t *testing.T) {
	tool := func(name string) *mcp.Tool {
		return &mcp.Tool{Name: name, Title: "Títle <b>", Description: "line\nline\u2028\t\"q\"", Meta: mcp.Meta{"com.example/x": 1},
			Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}, InputSchema: map[string]any{"type": "object", "properties": map[string]any{"Name": map[string]any{}, "name": map[string]any{}}}}
	}
	list, err := json.Marshal(&mcp.ListToolsResult{Tools: []*mcp.Tool{tool("drop"), tool("get_a"), tool("get_b"), tool("Get_c")}, NextCursor: "c"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := Answer(legacy("tools/list"), grants(t), lowest, now, []byte(answered(string(list))))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Result mcp.ListToolsResult }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Result.Tools) != 2 || got.Result.NextCursor != "c" {
		t.Fatalf("%s", out)
	}
	for i, name := range []string{"get_a", "get_b"} {
		want, _ := json.Marshal(tool(name))
		if have, _ := json.Marshal(got.Result.Tools[i]); string(have) != string(want) {
			t.Errorf("%s\nwant %s", have, want)
		}
	}
}

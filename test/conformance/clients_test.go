package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// The clients in TypeScript, of both generations of that SDK, at versions that do not change.
const (
	clientPackage = "@modelcontextprotocol/client@2.4.0"
	sdkPackage    = "@modelcontextprotocol/sdk@1.32.2"
)

// limited is a policy that allows a part of what the server offers.
func limited() policy.Rule {
	return policy.Rule{
		Tools: []string{"test_simple_text", "test_error_handling", "test_tool_with_progress", "test_elicitation", "test_input_required_result_elicitation",
			"test_trigger_tool_change", "test_reconnection"},
		Prompts:        []string{"test_prompt_*"},
		Resources:      []string{"test://static-text", "test://watched-resource", "test://template/*/data"},
		ServerRequests: []policy.ServerRequest{policy.ElicitationForm},
	}
}

// refusal is what a client makes of an error.
type refusal struct {
	Message string
	Result  json.RawMessage
}

// TestConformanceClients: real clients list what they may use, use it, read why they may not use the rest, cancel, subscribe, resume
// and come back, in each era that they speak.
func TestConformanceClients(t *testing.T) {
	node, modules := installed(t, "clients-2.4.0-1.32.2-node-22.23.3", clientPackage, sdkPackage)
	script, err := os.ReadFile(filepath.Join("testdata", "client.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	binary := buildServer(t)
	for name, test := range map[string]struct{ sdk, era string }{
		"client 2.4.0, 2026-07-28": {"v2", "modern"},
		"client 2.4.0, sessions":   {"v2", "legacy"},
		"SDK 1.32.2, sessions":     {"v1", "legacy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			modern := test.era == "modern"
			url, resumable := gatedBy(t, serve(t, binary, modern), limited()), gatedBy(t, resumableServer(t), limited())
			folder := t.TempDir()
			if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "client.mjs"), script, 0o600); err != nil {
				t.Fatal(err)
			}
			client := exec.CommandContext(t.Context(), node, filepath.Join(folder, "client.mjs"), url, resumable, test.sdk, test.era)
			var complaints bytes.Buffer
			client.Stderr = &complaints
			output, err := client.Output()
			if err != nil {
				t.Fatalf("%v\n%s%s", err, output, complaints.String())
			}
			seen := map[string]json.RawMessage{}
			for line := range bytes.Lines(output) {
				var step struct {
					Step string
					Seen json.RawMessage
				}
				if err := json.Unmarshal(line, &step); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				seen[step.Step] = step.Seen
			}
			for step, want := range steps(modern) {
				var got any
				if err := json.Unmarshal(seen[step], &got); err != nil {
					t.Errorf("%s: %v", step, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", step, diff)
				}
			}
			for step, want := range map[string]string{"refused tool": "MCPAccessPolicy", "refused prompt": "MCPAccessPolicy", "refused resource": "MCPAccessPolicy",
				"refused subscription": "MCPAccessPolicy", "cancelled": "enough"} {
				var got refusal
				if err := json.Unmarshal(seen[step], &got); err != nil {
					t.Errorf("%s: %v", step, err)
				}
				if got.Result != nil || !strings.Contains(got.Message, want) {
					t.Errorf("%s: %s, want an error with %q", step, seen[step], want)
				}
			}
		})
	}
}

// resumed is what the tool of a resumableServer says.
const resumed = "The stream was resumed."

// resumableServer is one that keeps its events: it ends the stream of its tool's call before the answer, and says the answer to who
// comes back for it. It returns the server's address.
func resumableServer(t *testing.T) string {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "resumable", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "test_reconnection", Description: "is answered on another stream"},
		func(_ context.Context, r *mcp.CallToolRequest, _ any) (*mcp.CallToolResult, any, error) {
			if r.Extra == nil || r.Extra.CloseSSEStream == nil {
				return nil, nil, errors.New("the call has no stream that can be ended")
			}
			r.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: resumed}}}, nil, nil
		})
	upstream := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)}))
	t.Cleanup(upstream.CloseClientConnections)
	return upstream.Listener.Addr().String()
}

// steps are what a client sees.
func steps(modern bool) map[string]any {
	const hello = "This is a simple text response for testing."
	tools := []any{"test_elicitation", "test_error_handling", "test_input_required_result_elicitation", "test_reconnection", "test_simple_text",
		"test_tool_with_progress", "test_trigger_tool_change"}
	want := map[string]any{
		"connected": "mcp-conformance-test-server", "tools": tools,
		"prompts":                []any{"test_prompt_with_arguments", "test_prompt_with_embedded_resource", "test_prompt_with_image"},
		"resources":              []any{"test://static-text", "test://watched-resource"},
		"templates":              []any{"test://template/{id}/data"},
		"call":                   hello,
		"error of the tool":      "error: this tool intentionally returns an error for testing",
		"prompt":                 "Prompt with arguments: arg1='one', arg2='two'",
		"resource":               "This is the content of the static text resource.",
		"progress":               []any{0.0, 50.0, 100.0},
		"after a cancelled call": hello,
		"updated":                "test://watched-resource",
		"list changed":           "changed",
		"connected again":        hello,
	}
	if modern {
		want["elicited"] = "Hello, ann!"
		want["closed"] = "local"
		return want
	}
	want["elicited"] = "Elicitation result: action=accept, content=map[username:ann]"
	want["resumed"] = resumed
	want["terminated"] = true
	return want
}

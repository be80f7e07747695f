package conformance_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestConformanceGoClient: the Go SDK's client does the same as those in TypeScript.
func TestConformanceGoClient(t *testing.T) {
	binary := buildServer(t)
	for revision, modern := range map[string]bool{"2026-07-28": true, "2025-11-25": false, "2025-06-18": false} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			updated, changed, progressed := make(chan string, 16), make(chan struct{}, 16), make(chan float64, 16)
			elicit := func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				content := map[string]any{"username": "ann"}
				if modern {
					content = map[string]any{"name": "ann"}
				}
				return &mcp.ElicitResult{Action: "accept", Content: content}, nil
			}
			client := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, &mcp.ClientOptions{
				ElicitationHandler:     func(ctx context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) { return elicit(ctx, r) },
				ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { updated <- r.Params.URI },
				ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed <- struct{}{} },
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
					progressed <- r.Params.Progress
				},
			})
			connect := func(url string) *mcp.ClientSession {
				session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url}, &mcp.ClientSessionOptions{ProtocolVersion: revision})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = session.Close() })
				return session
			}
			url := gatedBy(t, serve(t, binary, modern), limited())
			session := connect(url)
			if got := session.InitializeResult().ProtocolVersion; got != revision {
				t.Fatalf("the session speaks %s", got)
			}
			seen, want := map[string]any{}, steps(modern)
			names := func(step string, each func(yield func(string, error) bool)) {
				all := []any{}
				for name, err := range each {
					if err != nil {
						t.Errorf("%s: %v", step, err)
					}
					all = append(all, name)
				}
				seen[step] = all
			}
			names("tools", func(yield func(string, error) bool) {
				for tool, err := range session.Tools(ctx, nil) {
					yield(tool.Name, err)
				}
			})
			names("prompts", func(yield func(string, error) bool) {
				for prompt, err := range session.Prompts(ctx, nil) {
					yield(prompt.Name, err)
				}
			})
			names("resources", func(yield func(string, error) bool) {
				for resource, err := range session.Resources(ctx, nil) {
					yield(resource.URI, err)
				}
			})
			names("templates", func(yield func(string, error) bool) {
				for template, err := range session.ResourceTemplates(ctx, nil) {
					yield(template.URITemplate, err)
				}
			})
			call := func(step string, session *mcp.ClientSession, tool string, arguments map[string]any) {
				t.Helper()
				params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
				params.SetProgressToken(step)
				result, err := session.CallTool(ctx, params)
				if err != nil {
					t.Errorf("%s: %v", step, err)
					return
				}
				said := result.Content[0].(*mcp.TextContent).Text
				if result.IsError {
					said = "error: " + said
				}
				seen[step] = said
			}
			refused := func(step string, err error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), "MCPAccessPolicy") {
					t.Errorf("%s: %v", step, err)
				}
			}
			call("call", session, "test_simple_text", map[string]any{})
			call("error of the tool", session, "test_error_handling", map[string]any{})
			_, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "test_image_content", Arguments: map[string]any{}})
			refused("tool", err)
			prompt, err := session.GetPrompt(ctx, &mcp.GetPromptParams{Name: "test_prompt_with_arguments", Arguments: map[string]string{"arg1": "one", "arg2": "two"}})
			if err != nil {
				t.Fatal(err)
			}
			seen["prompt"] = prompt.Messages[0].Content.(*mcp.TextContent).Text
			_, err = session.GetPrompt(ctx, &mcp.GetPromptParams{Name: "test_simple_prompt"})
			refused("prompt", err)
			resource, err := session.ReadResource(ctx, &mcp.ReadResourceParams{URI: "test://static-text"})
			if err != nil {
				t.Fatal(err)
			}
			seen["resource"] = resource.Contents[0].Text
			_, err = session.ReadResource(ctx, &mcp.ReadResourceParams{URI: "test://static-binary"})
			refused("resource", err)

			call("progress", session, "test_tool_with_progress", map[string]any{})
			seen["progress"] = []any{<-progressed, <-progressed, <-progressed}
			if modern {
				call("elicited", session, "test_input_required_result_elicitation", map[string]any{})
			} else {
				call("elicited", session, "test_elicitation", map[string]any{"message": "who?"})
			}

			// Cancelled while the user is asked, or while the call goes on.
			short, cancelCall := context.WithCancel(ctx)
			slow := &mcp.CallToolParams{Name: "test_elicitation", Arguments: map[string]any{"message": "who?"}}
			before := elicit
			elicit = func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				cancelCall()
				return &mcp.ElicitResult{Action: "cancel"}, nil
			}
			if modern {
				slow = &mcp.CallToolParams{Name: "test_tool_with_progress", Arguments: map[string]any{}}
				slow.SetProgressToken("slow")
				go func() {
					<-progressed
					cancelCall()
				}()
			}
			if result, err := session.CallTool(short, slow); err == nil {
				t.Errorf("cancelled: %+v", result)
			}
			elicit = before
			call("after a cancelled call", session, "test_simple_text", map[string]any{})

			if err := session.Subscribe(ctx, &mcp.SubscribeParams{URI: "test://watched-resource"}); err != nil {
				t.Fatal(err)
			}
			select {
			case seen["updated"] = <-updated:
			case <-ctx.Done():
				t.Error("no update came")
			}
			if err := session.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: "test://watched-resource"}); err != nil {
				t.Error(err)
			}
			// In 2026-07-28 this client does not wait for what becomes of its subscription.
			if err := session.Subscribe(ctx, &mcp.SubscribeParams{URI: "test://static-binary"}); !modern {
				refused("subscription", err)
			}
			call("changes", session, "test_trigger_tool_change", map[string]any{})
			select {
			case <-changed:
				seen["list changed"] = "changed"
			case <-ctx.Done():
				t.Error("no change of the tools came")
			}
			if revision == "2025-11-25" {
				call("resumed", connect(gatedBy(t, resumableServer(t), limited())), "test_reconnection", map[string]any{})
			} else {
				delete(want, "resumed")
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
			call("connected again", connect(url), "test_simple_text", map[string]any{})
			for _, other := range []string{"connected", "closed", "terminated"} {
				delete(want, other)
			}
			delete(seen, "changes")
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

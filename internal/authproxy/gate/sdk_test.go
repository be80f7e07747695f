package gate_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

type greeting struct {
	Name string `json:"name"`
}

// newSDKServer is a real MCP server, on loopback.
func newSDKServer(t testing.TB, options *mcp.StreamableHTTPOptions) *httptest.Server {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "greeter", Version: "1"}, nil)
	say := func(text string) mcp.ToolHandlerFor[greeting, any] {
		return func(_ context.Context, _ *mcp.CallToolRequest, in greeting) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text + in.Name}}}, nil, nil
		}
	}
	mcp.AddTool(server, &mcp.Tool{Name: "greet", Description: "greets"}, say("hello "))
	mcp.AddTool(server, &mcp.Tool{Name: "erase", Description: "erases"}, say("erased "))
	mcp.AddTool(server, &mcp.Tool{Name: "slow", Description: "asks its user first"},
		func(ctx context.Context, r *mcp.CallToolRequest, _ greeting) (*mcp.CallToolResult, any, error) {
			answer, err := r.Session.Elicit(ctx, &mcp.ElicitParams{Message: "who?", RequestedSchema: &jsonschema.Schema{Type: "object"}})
			if err != nil {
				return nil, nil, err
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: answer.Action}}}, nil, nil
		})
	upstream := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options))
	t.Cleanup(upstream.Close)
	return upstream
}

func TestRealServerAndClient(t *testing.T) {
	for name, test := range map[string]struct {
		revision string
		options  *mcp.StreamableHTTPOptions
	}{
		"2026-07-28, streams":   {"2026-07-28", &mcp.StreamableHTTPOptions{Stateless: true}},
		"2026-07-28, JSON":      {"2026-07-28", &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}},
		"2025-11-25, streams":   {"2025-11-25", &mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)}},
		"2025-11-25, JSON":      {"2025-11-25", &mcp.StreamableHTTPOptions{JSONResponse: true}},
		"2025-11-25, stateless": {"2025-11-25", &mcp.StreamableHTTPOptions{Stateless: true}},
		"2025-06-18, streams":   {"2025-06-18", &mcp.StreamableHTTPOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, newSDKServer(t, test.options).Listener.Addr().String(), func(w *world) { w.config.Upstream.Path = "/" })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client := mcp.NewClient(&mcp.Implementation{Name: "tester", Version: "1"}, nil)
			session, err := client.Connect(ctx,
				&mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: w.keyed(w.aliceKey, w.alice)},
				&mcp.ClientSessionOptions{ProtocolVersion: test.revision})
			if err != nil {
				t.Fatalf("%v\n%s", err, w.audit)
			}
			if got := session.InitializeResult().ProtocolVersion; got != test.revision {
				t.Errorf("the session speaks %s\n%s", got, w.audit)
			}
			tools, err := session.ListTools(ctx, nil)
			if err != nil || len(tools.Tools) != 2 || tools.Tools[0].Name != "greet" || tools.Tools[1].Name != "slow" {
				t.Errorf("tools: %+v, %v; want greet and slow", tools, err)
			}
			answer, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "greet", Arguments: greeting{"you"}})
			if err != nil || answer.Content[0].(*mcp.TextContent).Text != "hello you" {
				t.Fatalf("greet: %+v, %v\n%s", answer, err, w.audit)
			}
			allowed := w.audit.last(t)
			if allowed.Decision != audit.Allowed || allowed.Rule != "friends/0" || allowed.Client != "agents/alice" ||
				allowed.KeyID == "" || allowed.CertificateSerial == "" || allowed.Method != "tools/call" ||
				len(allowed.Targets) != 1 || allowed.Targets[0] != (audit.Target{Kind: "tool", Name: "greet"}) || allowed.Status != 200 {
				t.Errorf("the audit line is %+v", allowed)
			}
			if strings.Contains(w.audit.String(), "you") || strings.Contains(w.audit.String(), w.aliceKey[25:]) {
				t.Error("the audit log has an argument or a key")
			}
			if answer, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "erase", Arguments: greeting{"all"}}); err == nil {
				t.Errorf("erase: %+v", answer)
			}
			if denied := w.audit.last(t); denied.Decision != audit.Denied || denied.Reason != "tool" || denied.Status != http.StatusForbidden {
				t.Errorf("the audit line is %+v", denied)
			}
			_ = session.Close()
		})
	}
}

// TestServerAsksItsClient: in a legacy session the server sends a request on a stream, and the client posts its response.
func TestServerAsksItsClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newSDKServer(t, nil).Listener.Addr().String(), askable, func(w *world) { w.config.Upstream.Path = "/" })
	client := mcp.NewClient(&mcp.Implementation{Name: "tester", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{}}, nil
		}})
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: w.keyed(w.aliceKey)},
		&mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	answer, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "slow", Arguments: greeting{"x"}})
	if err != nil || answer.IsError || answer.Content[0].(*mcp.TextContent).Text != "accept" {
		t.Errorf("%+v, %v\n%s", answer, err, w.audit)
	}
}

func TestRealClientWithoutAccess(t *testing.T) {
	w := newWorld(t, newSDKServer(t, nil).Listener.Addr().String(), func(w *world) { w.config.Upstream.Path = "/" })
	for name, httpClient := range map[string]*http.Client{
		"no credential":          w.client(),
		"a key nobody knows":     w.keyed("mcpk_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 52)),
		"another client's key":   w.keyed(w.bobKey, w.alice),
		"a client without rules": w.keyed(w.bobKey, w.bob),
	} {
		for _, revision := range []string{"2026-07-28", "2025-11-25"} {
			client := mcp.NewClient(&mcp.Implementation{Name: "tester", Version: "1"}, nil)
			session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: httpClient, MaxRetries: -1},
				&mcp.ClientSessionOptions{ProtocolVersion: revision})
			if err == nil {
				t.Errorf("%s, %s: connected", name, revision)
				_ = session.Close()
			}
		}
	}
}

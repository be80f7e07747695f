package gate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// askable lets the server ask alice and bob to fill in forms and to open pages of login.example.com.
func askable(w *world) {
	rule := policy.Rule{
		ID: "asked/0", Clients: []string{"agents/alice", "agents/bob"}, Tools: []string{"greet", "slow"}, Prompts: []string{"greet"},
		ServerRequests: []policy.ServerRequest{policy.ElicitationForm, policy.ElicitationURL}, Hosts: []string{"login.example.com"},
	}
	w.config.Policy.Rules = append(w.config.Policy.Rules, rule)
}

// TestServerRequestsInASession: what the server asks without a grant never reaches the client, and the server is told so; what
// it may ask is answered once, by whom it asked, in the session that it asked in.
func TestServerRequestsInASession(t *testing.T) {
	t.Parallel()
	const granted = `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}`
	events := []string{
		`{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}`, `{"jsonrpc":"2.0","id":"r","method":"roots/list"}`,
		`{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","message":"m","url":"https://login.example.com.evil.example/"}}`,
		`{"jsonrpc":"2.0","id":10,"method":"tasks/result","params":{"taskId":"t"}}`, granted, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`,
	}
	sessions := []string{"server-session", "of-bob", "another"}
	upstream := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Mcp-Session-Id") == "":
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Mcp-Session-Id", sessions[0])
			sessions = sessions[1:]
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`)
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "text/event-stream")
			for _, event := range events {
				_, _ = io.WriteString(w, "data: "+event+"\n\n")
			}
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	w := newWorld(t, upstream.address(), askable)
	alice, bob := w.keyed(w.aliceKey), w.keyed(w.bobKey)
	begin := func(c *http.Client) func(*http.Request) {
		_, header, _ := do(t, c, w.post(initialize))
		return set("Mcp-Session-Id", header.Get("Mcp-Session-Id"))
	}
	session, bobs, another := begin(alice), begin(bob), begin(alice)
	status, _, body := do(t, alice, w.verb(http.MethodGet, session))
	if want := "data: " + granted; status != http.StatusOK || strings.Count(body, "data:") != 1 || !strings.Contains(body, want) {
		t.Fatalf("%d %s, want %s alone", status, body, want)
	}
	gatetest.Eventually(t, "the server is told what is not asked", func() bool {
		told := map[string]bool{}
		for _, r := range upstream.seen() {
			if strings.Contains(r.body, `"code":-32601`) && r.header.Get("Mcp-Session-Id") == "server-session" && r.header.Get("Mcp-Protocol-Version") == "2025-11-25" {
				var answer struct{ ID any }
				_ = json.Unmarshal([]byte(r.body), &answer)
				told[fmt.Sprint(answer.ID)] = true
			}
		}
		return len(told) == 4 && told["7"] && told["r"] && told["9"] && told["10"]
	})
	reply := func(id string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"result":{"action":"accept","content":{}}}`
	}
	for name, test := range map[string]struct {
		client  *http.Client
		request *http.Request
		want    int
	}{
		"bob, in alice's session":           {bob, w.post(reply("1"), session), 404},
		"bob, in his own":                   {bob, w.post(reply("1"), bobs), 400},
		"alice, in another session of hers": {alice, w.post(reply("1"), another), 400},
		"what was never asked":              {alice, w.post(reply("2"), session), 400},
		"what was not passed on":            {alice, w.post(reply("7"), session), 400},
		"another spelling of another id":    {alice, w.post(reply(`"1"`), session), 400},
	} {
		before := upstream.bodies(`"action"`)
		status, _, body := do(t, test.client, test.request)
		if status != test.want || upstream.bodies(`"action"`) != before {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _, body := do(t, alice, w.post(reply("1"), session)); status != http.StatusAccepted || upstream.bodies(`"action"`) != 1 {
		t.Errorf("alice answers: %d %s", status, body)
	}
	if status, _, body := do(t, alice, w.post(reply("1"), session)); status != http.StatusBadRequest || upstream.bodies(`"action"`) != 1 {
		t.Errorf("alice answers again: %d %s", status, body)
	}
	do(t, alice, w.verb(http.MethodGet, session))
	if status, _, _ := do(t, alice, w.verb(http.MethodDelete, session)); status != http.StatusNoContent {
		t.Errorf("alice ends: %d", status)
	}
	if status, _, body := do(t, alice, w.post(reply("1"), session)); status != http.StatusBadRequest {
		t.Errorf("an answer after the end: %d %s", status, body)
	}

	var asked []string
	for _, r := range w.audit.all(t, audit.KindServerRequest) {
		if r.Client != "agents/alice" || r.KeyID == "" {
			t.Errorf("whom the server asked is not told: %+v", r)
		}
		asked = append(asked, fmt.Sprint(r.Method, " ", r.Decision, " ", r.Rule, r.Reason))
	}
	if want := []string{"sampling/createMessage denied server-request", "roots/list denied server-request", "elicitation/create denied server-request", "tasks/result denied server-request",
		"elicitation/create allowed asked/0"}; len(asked) != 2*len(want) || strings.Join(asked[:5], "; ") != strings.Join(want, "; ") {
		t.Errorf("the audit log has %q", asked)
	}
	told := w.status(t).ServerRequests
	if len(told) != 4 || told[0].Kind != "ElicitationURL" || told[1].Kind != "Roots" || told[2].Kind != "Sampling" || told[3].Kind != "other" || told[3].Count != 2 {
		t.Errorf("the status says %+v", told)
	}
	if got := w.metric(t, `bartizan_gate_server_requests_total{decision="denied",kind="Sampling"}`); got != "2" {
		t.Errorf("the metric says %q", got)
	}
}

// TestServerAsksWithoutGrant: a real server that may not ask is not left waiting, in either era.
func TestServerAsksWithoutGrant(t *testing.T) {
	t.Parallel()
	for revision, options := range map[string]*mcp.StreamableHTTPOptions{"2025-11-25": nil, "2026-07-28": {Stateless: true}} {
		for name, change := range map[string]func(*world){"denied": func(*world) {}, "granted": askable} {
			t.Run(revision+" "+name, func(t *testing.T) {
				w := newWorld(t, newAsker(t, options), change, func(w *world) { w.config.Upstream.Path = "/" })
				asked := 0
				client := mcp.NewClient(&mcp.Implementation{Name: "tester", Version: "1"}, &mcp.ClientOptions{
					ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
						asked++
						return &mcp.ElicitResult{Action: "accept", Content: map[string]any{}}, nil
					}})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: w.url, HTTPClient: w.keyed(w.aliceKey)}, &mcp.ClientSessionOptions{ProtocolVersion: revision})
				if err != nil {
					t.Fatal(err)
				}
				defer session.Close()
				answer, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "slow", Arguments: greeting{"x"}})
				if ctx.Err() != nil {
					t.Fatal("the call hangs")
				}
				if name == "granted" {
					if err != nil || answer.IsError || asked != 1 || answer.Content[0].(*mcp.TextContent).Text != "accept with the state" {
						t.Errorf("%+v, %v, asked %d times\n%s", answer, err, asked, w.audit)
					}
					return
				}
				if asked != 0 || (err == nil && !answer.IsError) {
					t.Errorf("%+v, %v, asked %d times", answer, err, asked)
				}
			})
		}
	}
}

// newAsker is a real server whose tool slow asks its user first.
func newAsker(t *testing.T, options *mcp.StreamableHTTPOptions) string {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "asker", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "slow", Description: "asks its user first"},
		func(_ context.Context, r *mcp.CallToolRequest, _ greeting) (*mcp.CallToolResult, any, error) {
			if len(r.Params.InputResponses) == 0 {
				return &mcp.CallToolResult{RequestState: "the state", InputRequests: mcp.InputRequestMap{
					"who": &mcp.ElicitParams{Message: "who?", RequestedSchema: &jsonschema.Schema{Type: "object"}}}}, nil, nil
			}
			answer, ok := r.Params.InputResponses["who"].(*mcp.ElicitResult)
			if !ok {
				return nil, nil, fmt.Errorf("no answer")
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: answer.Action + " with " + r.Params.RequestState}}}, nil, nil
		})
	upstream := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options))
	t.Cleanup(upstream.Close)
	return upstream.Listener.Addr().String()
}

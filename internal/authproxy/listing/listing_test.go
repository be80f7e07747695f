package listing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/surroundings"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// sdk is a server of the Go SDK with tools enough for several pages.
func sdk(tools int) *mcp.Server {
	m := mcp.NewServer(&mcp.Implementation{Name: "s", Version: "1"}, &mcp.ServerOptions{Instructions: "be kind", PageSize: 3})
	for i := range tools {
		addTool(m, fmt.Sprintf("tool%d", i), "does something")
	}
	m.AddPrompt(&mcp.Prompt{Name: "ask"}, nil)
	m.AddResource(&mcp.Resource{URI: "file:///a", Name: "a"}, nil)
	m.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "file:///{b}", Name: "b"}, nil)
	return m
}

func addTool(m *mcp.Server, name, description string) {
	m.AddTool(&mcp.Tool{Name: name, Description: description, InputSchema: json.RawMessage(`{"type":"object"}`)},
		func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{}, nil
		})
}

// names are the kinds and names of items.
func names(items []inventory.Item) (all []string) {
	for _, item := range items {
		all = append(all, string(item.Kind)+" "+item.Name)
	}
	return all
}

var everything = []string{"Instructions instructions", "Prompt ask", "Resource file:///a", "ResourceTemplate file:///{b}",
	"Tool tool0", "Tool tool1", "Tool tool2", "Tool tool3", "Tool tool4", "Tool tool5", "Tool tool6"}

// TestListSDK: all pages of a real server in both eras, answered as JSON and as streams, with sessions and without.
func TestListSDK(t *testing.T) {
	for name, options := range map[string]*mcp.StreamableHTTPOptions{
		"sessions, streams": {}, "sessions, JSON": {JSONResponse: true}, "stateless": {Stateless: true},
	} {
		for _, min := range []gateconfig.Revision{gateconfig.Revision20250618, gateconfig.Revision20251125, gateconfig.Revision20260728} {
			m := sdk(7)
			web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return m }, options))
			client := upstream.NewClient()
			items, callers, err := List(t.Context(), client, Server{Address: web.Listener.Addr().String(), Path: "/", MinRevision: min})
			if min == gateconfig.Revision20260728 && !options.Stateless {
				// The SDK offers the stateless revision only where there are no sessions.
				if !errors.Is(err, Refused) {
					t.Errorf("%s, %s: %v", name, min, err)
				}
			} else if got := names(items); err != nil || !slices.Equal(got, everything) {
				t.Errorf("%s, %s: %v\n%q", name, min, err, got)
			}
			for _, c := range callers {
				c.end(t.Context())
			}
			client.Close()
			web.CloseClientConnections()
			web.Close()
		}
	}
}

// scripted answers each method with a result, or a whole body.
type scripted map[string]func(id json.RawMessage, params map[string]any) string

func (s scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params map[string]any  `json:"params"`
	}
	_ = json.Unmarshal(body, &m)
	if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer, ok := s[m.Method]
	if !ok {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, m.ID)
		return
	}
	io.WriteString(w, answer(m.ID, m.Params))
}

func result(text string) func(json.RawMessage, map[string]any) string {
	return func(id json.RawMessage, _ map[string]any) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, text)
	}
}

// TestListIsBounded: a server that answers without end, or with what has two readings, is not listed.
func TestListIsBounded(t *testing.T) {
	hello := result(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}`)
	pages := 0
	for name, tc := range map[string]struct {
		server scripted
		want   error
	}{
		"pages without end": {scripted{"initialize": hello, "tools/list": func(id json.RawMessage, _ map[string]any) string {
			pages++
			return result(fmt.Sprintf(`{"tools":[{"name":"t%d"}],"nextCursor":"%d"}`, pages, pages))(id, nil)
		}}, TooLarge},
		"the same page for ever": {scripted{"initialize": hello, "tools/list": result(`{"tools":[],"nextCursor":"x"}`)}, TooLarge},
		"bytes without end": {scripted{"initialize": hello, "tools/list": func(id json.RawMessage, _ map[string]any) string {
			return result(`{"tools":[],"nextCursor":"x","padding":"`+strings.Repeat("x", 1<<20)+`"}`)(id, nil)
		}}, TooLarge},
		"one answer too large":           {scripted{"initialize": hello, "tools/list": result(`{"x":"` + strings.Repeat("x", maxBytes) + `"}`)}, TooLarge},
		"a tool without a name":          {scripted{"initialize": hello, "tools/list": result(`{"tools":[{"title":"x"}]}`)}, BadAnswer},
		"two lists of tools":             {scripted{"initialize": hello, "tools/list": result(`{"tools":[],"tools":[{"name":"x"}]}`)}, BadAnswer},
		"two lists for lenient readers":  {scripted{"initialize": hello, "tools/list": result(`{"tools":[],"Tools":[{"name":"x"}]}`)}, BadAnswer},
		"an answer to another request":   {scripted{"initialize": hello, "tools/list": func(json.RawMessage, map[string]any) string { return result(`{"tools":[]}`)([]byte("77"), nil) }}, BadAnswer},
		"an error where there are tools": {scripted{"initialize": hello}, Refused},
		"no JSON":                        {scripted{"initialize": func(json.RawMessage, map[string]any) string { return "hello" }}, BadAnswer},
		"no revision":                    {scripted{"initialize": result(`{"capabilities":{}}`)}, BadAnswer},
		"nothing at all":                 {scripted{}, Refused},
		"a revision that is too old":     {scripted{"initialize": result(`{"protocolVersion":"2024-11-05","capabilities":{}}`)}, Refused},
	} {
		web := httptest.NewServer(tc.server)
		items, _, err := List(t.Context(), upstream.NewClient(), Server{Address: web.Listener.Addr().String(), Path: "/", MinRevision: gateconfig.Revision20250618})
		if !errors.Is(err, tc.want) || len(items) > 0 {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		web.Close()
	}
}

// at serves a handler on an address, which may be one that was served before.
func at(t *testing.T, address string, handler http.Handler) *httptest.Server {
	t.Helper()
	var l net.Listener
	gatetest.Eventually(t, "the address is free", func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil
	})
	web := httptest.NewUnstartedServer(handler)
	web.Listener.Close()
	web.Listener = l
	web.Start()
	return web
}

// TestLister: the listing follows the server: a list that changed, a process in its place, one that cannot be listed.
func TestLister(t *testing.T) {
	m := sdk(1)
	serve := func(m *mcp.Server) http.Handler {
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return m }, nil)
	}
	web := at(t, "127.0.0.1:0", serve(m))
	address := web.Listener.Addr().String()
	var observed, failed atomic.Int64
	l := NewLister(Options{
		Server: func() (Server, bool) {
			return Server{Address: address, Path: "/", MinRevision: gateconfig.Revision20250618}, true
		},
		Process: surroundings.ProcessAt, Interval: time.Hour,
		Observe: func(listed *Listed, err error) {
			if observed.Add(1); err != nil {
				failed.Add(1)
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	defer func() { cancel(); <-done }()

	first, err := l.Await(t.Context(), address)
	if err != nil || !slices.Contains(names(first.Items), "Tool tool0") || !l.Tried() {
		t.Fatal(first, err)
	}
	pins := inventory.NewPins(nil)
	for _, item := range first.Items {
		if item.Kind.Pinnable() {
			pins[item.Key()] = []string{item.SHA256}
		}
	}
	judge := func(name string) inventory.Reason {
		listed, _ := l.Current()
		return listed.Judge(pins, inventory.Key{Kind: inventory.Tool, Name: name})
	}
	if judge("tool0") != inventory.Approved || judge("other") != inventory.Unknown {
		t.Error("what was pinned is not approved")
	}

	addTool(m, "tool0", "does something else, too")
	gatetest.Eventually(t, "the changed definition is seen because the server says so", func() bool { return judge("tool0") == inventory.Changed })

	m = sdk(1)
	addTool(m, "hidden", "")
	gatetest.End(web)
	held, _ := l.Current()
	second := at(t, address, serve(m))
	if _, err := held.Client.Do(t.Context(), upstream.Request{Verb: http.MethodPost, Address: address, Path: "/", Body: []byte("{}")}); !errors.Is(err, upstream.Unlisted) {
		t.Errorf("a client for one process talks to another: %v", err)
	}
	gatetest.Eventually(t, "the new process is listed", func() bool { return judge("tool0") == inventory.Approved && judge("hidden") == inventory.Unknown })
	gatetest.End(second)

	third := at(t, address, scripted{})
	defer gatetest.End(third)
	gatetest.Eventually(t, "it is told that there is no listing", func() bool { _, err := l.Current(); return errors.Is(err, Refused) })
	waiting, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if listed, err := l.Await(waiting, address); listed != nil || err == nil {
		t.Error("a listing of another process is taken for this one's")
	}
	if failed.Load() == 0 {
		t.Error("nobody was told of the failure")
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}],"nextCursor":"b"}}`, `{"protocolVersion":"x","instructions":"do"}`, `{"tools":[{"name":"a"},{"name":"a"}]}`, `{"supportedVersions":["a"],"capabilities":{"tools":{}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parse(data); err == nil && m.method == "" && m.failed == (m.result != nil) {
			t.Fatalf("neither an answer nor a message: %q", data)
		}
		_, _ = readHello(data)
		items, _, err := readPage(inventory.Tool, "tools", data)
		for _, item := range items {
			if err == nil && (item.Name == "" || len(item.SHA256) != 64) {
				t.Fatalf("an item without a name: %+v", item)
			}
		}
	})
}

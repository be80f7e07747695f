package stdio

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}`

func modernTool(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"pid","arguments":{},` + modernMeta + `,"progressToken":"mine"}}}`
}

// TestModernServer: a server of both eras is one behind the bridge, with statuses as the revision has them.
func TestModernServer(t *testing.T) {
	w := newWorld(t, "sdk")
	alice, bob := &caller{w: w, name: "agents/alice", modern: true}, &caller{w: w, name: "agents/bob", modern: true}
	_, discovered := alice.post(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{` + modernMeta + `}}}`)
	if len(discovered) != 1 || !strings.Contains(discovered[0], `"supportedVersions"`) || !strings.Contains(discovered[0], `"id":"d"`) {
		t.Errorf("server/discover: %q", discovered)
	}
	status, all := alice.post(modernTool("1"))
	if status != http.StatusOK || len(all) != 2 || !strings.Contains(all[0], `"progressToken":"mine"`) {
		t.Fatalf("%d %q", status, all)
	}
	_, again := alice.post(modernTool(`"2"`))
	_, others := bob.post(modernTool("1"))
	if a, b := content(t, "1", all[1]), content(t, `"2"`, again[1]); a != b || a == content(t, "1", others[1]) {
		t.Errorf("alice %s, alice %s, bob %q", a, b, others)
	}
	if status, all := alice.post(`{"jsonrpc":"2.0","id":3,"method":"no/such","params":{` + modernMeta + `}}}`); status != http.StatusNotFound {
		t.Errorf("an unknown method: %d %q", status, all)
	}
	if status, all := alice.post(strings.ReplaceAll(modernTool("4"), "2026-07-28", "2099-01-01")); status != http.StatusBadRequest || !strings.Contains(all[0], "-32022") {
		t.Errorf("an unknown revision: %d %q", status, all)
	}
	if status, _ := alice.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`); status != http.StatusAccepted {
		t.Errorf("a notification: %d", status)
	}
	if got := w.join("agents/alice").call("5", "pid", ""); got == "" || strings.HasPrefix(got, "error") {
		t.Errorf("the older way: %s", got)
	}
}

// TestSubscriptions: two of one principal under one id, each with its own stream, until it hangs up.
func TestSubscriptions(t *testing.T) {
	w := newWorld(t, "sdk")
	alice := &caller{w: w, name: "agents/alice", modern: true}
	for _, id := range []string{"1", `"x"`} {
		ctx, cancel := context.WithCancel(t.Context())
		response := alice.do(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":`+id+`,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},`+modernMeta+`}}}`)
		line := make([]byte, 1024)
		n, err := response.Body.Read(line)
		if err != nil || !strings.Contains(string(line[:n]), fmt.Sprintf(`"io.modelcontextprotocol/subscriptionId":%s`, id)) {
			t.Errorf("%s: %q %v", id, line[:n], err)
		}
		cancel()
		_ = response.Body.Close()
	}
	eventually(t, "nobody listens any more", func() bool {
		w.bridge.pool.mu.Lock()
		defer w.bridge.pool.mu.Unlock()
		for _, c := range w.bridge.pool.children {
			c.mu.Lock()
			calls, uses := len(c.calls), c.uses
			c.mu.Unlock()
			if calls > 0 || uses > 0 {
				return false
			}
		}
		return true
	})
}

// TestLegacyServer: one that knows sessions alone says so, in the way from which clients fall back.
func TestLegacyServer(t *testing.T) {
	w := newWorld(t, "rude")
	alice := &caller{w: w, name: "agents/alice", modern: true}
	status, all := alice.post(modernTool("1"))
	if status != http.StatusBadRequest || len(all) != 1 || !strings.Contains(all[0], `"code":-32000`) || !strings.Contains(all[0], `"id":1`) {
		t.Errorf("%d %q", status, all)
	}
}

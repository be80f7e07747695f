package gate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// trusting is a server of the stateless revision that goes by headers, and compares nothing. It counts its calls by the region that
// their header names.
type trusting struct {
	mu      sync.Mutex
	regions map[string]int
	calls   int
	// hides says that the server does not tell of its tools.
	hides bool
}

func (s *trusting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if json.Unmarshal(body, &m) != nil || m.ID == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := `"error":{"code":-32601,"message":"no"}`
	switch m.Method {
	case "server/discover":
		answer = `"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`
	case "tools/list":
		s.mu.Lock()
		hides := s.hides
		s.mu.Unlock()
		if hides {
			break
		}
		answer = `"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"slow","inputSchema":{"type":"object"}},` +
			`{"name":"greet","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}`
	case "tools/call":
		answer = `"result":{"resultType":"complete","content":[]}`
		s.mu.Lock()
		s.calls++
		s.regions[r.Header.Get("Mcp-Param-Region")]++
		s.mu.Unlock()
	}
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, m.ID, answer)
}

func (s *trusting) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// TestHeadersRepeatTheArguments: what a policy judged of the arguments is what the headers say that repeat them, so that a server
// or a router which goes by headers does nothing else.
func TestHeadersRepeatTheArguments(t *testing.T) {
	t.Parallel()
	server := &trusting{regions: map[string]int{}}
	web := httptest.NewServer(server)
	t.Cleanup(func() { gatetest.End(web) })
	w := newWorld(t, web.Listener.Addr().String(), func(w *world) {
		w.options.ListInterval = time.Hour
		w.config.Upstream.Path = "/"
		w.config.Policy.Rules = []policy.Rule{
			{ID: "friends/0", Clients: []string{"agents/alice"}, Tools: []string{"greet"}, Expression: `arguments.region in ["west", "wést"]`},
			{ID: "friends/1", Clients: []string{"agents/alice", "agents/bob"}, Tools: []string{"slow"}},
		}
	})
	gatetest.Eventually(t, "the server is listed", func() bool { tools := w.status(t).Tools; return tools != nil && tools.Digest != "" })
	call := func(tool, arguments string, changes ...func(*http.Request)) *http.Request {
		return w.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`, tool, arguments),
			append([]func(*http.Request){set("Mcp-Protocol-Version", "2026-07-28"), set("Mcp-Method", "tools/call"), set("Mcp-Name", tool)}, changes...)...)
	}
	region := func(value string) func(*http.Request) { return set("Mcp-Param-Region", value) }
	const west, east = `{"region":"west"}`, `{"region":"east"}`
	for name, test := range map[string]struct {
		key     string
		request *http.Request
		status  int
		reason  string
	}{
		"as the arguments say":            {w.aliceKey, call("greet", west, region("west")), 200, ""},
		"as they say, in base64":          {w.aliceKey, call("greet", `{"region":"wést"}`, region("=?base64?d8Opc3Q=?=")), 200, ""},
		"another region":                  {w.aliceKey, call("greet", west, region("east")), 400, "header"},
		"another region, in base64":       {w.aliceKey, call("greet", west, region("=?base64?ZWFzdA==?=")), 400, "header"},
		"no header":                       {w.aliceKey, call("greet", west), 400, "header"},
		"a header for nothing":            {w.aliceKey, call("greet", `{}`, region("east")), 400, "header"},
		"a region that may not be":        {w.aliceKey, call("greet", east, region("east")), 403, "expression"},
		"who may not call it":             {w.bobKey, call("greet", west, region("east")), 403, "tool"},
		"what the tool does not declare":  {w.aliceKey, call("slow", west, region("east")), 200, ""},
		"a revision without such headers": {w.aliceKey, w.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":`+west+`}}`, region("east")), 200, ""},
	} {
		before := server.count()
		status, _, body := do(t, w.keyed(test.key), test.request)
		record, passed := w.audit.last(t), server.count()-before
		if status != test.status || record.Reason != test.reason || (passed == 1) != (test.status == 200) || test.status == 400 && record.Decision != audit.Refused {
			t.Errorf("%s: %d %s, %d calls of the server, %+v", name, status, body, passed, record)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	// The one for the east is of the tool that declares nothing.
	if server.regions["west"] != 1 || server.regions["east"] != 1 || server.regions[""] != 1 || server.calls != 4 {
		t.Errorf("the server was called for %v", server.regions)
	}
}

// TestHeadersBeforeTheListing: what headers that repeat arguments have to say is not known until the server is listed. Until then a call
// with such headers waits, and is refused in the end; any other goes on.
func TestHeadersBeforeTheListing(t *testing.T) {
	t.Parallel()
	server := &trusting{regions: map[string]int{}, hides: true}
	web := httptest.NewServer(server)
	t.Cleanup(func() { gatetest.End(web) })
	w := newWorld(t, web.Listener.Addr().String(), func(w *world) {
		w.options.ListInterval = time.Hour
		w.config.Upstream.Path = "/"
	})
	greet := func() *http.Request {
		return w.modernly("tools/call", "greet", `"name":"greet","arguments":{"region":"west"}`)
	}
	east := func(r *http.Request) *http.Request { r.Header.Set("Mcp-Param-Region", "east"); return r }
	for name, test := range map[string]struct {
		key     string
		request *http.Request
		status  int
		reason  string
	}{
		"a header":                        {w.aliceKey, east(greet()), 503, "not-listed"},
		"no header":                       {w.aliceKey, greet(), 200, ""},
		"who may not call it":             {w.bobKey, east(greet()), 403, "no-rule"},
		"a revision without such headers": {w.aliceKey, east(w.post(legacyCall)), 200, ""},
	} {
		before := server.count()
		status, _, body := do(t, w.keyed(test.key), test.request)
		if record, passed := w.audit.last(t), server.count()-before; status != test.status || record.Reason != test.reason || (passed == 1) != (status == 200) {
			t.Errorf("%s: %d %s, %d calls of the server, %+v", name, status, body, passed, record)
		}
	}
	server.mu.Lock()
	server.hides = false
	server.mu.Unlock()
	gatetest.Eventually(t, "the header is compared", func() bool {
		_, _, _ = do(t, w.keyed(w.aliceKey), east(greet()))
		return w.audit.last(t).Reason == "header"
	})
	if server.regions["east"] != 0 {
		t.Errorf("the server was called for %v", server.regions)
	}
}

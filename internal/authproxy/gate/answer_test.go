package gate_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

const good = `{"jsonrpc":"2.0","id":1,"result":{"content":[]}} `

const secret = "s3cr3t-of-the-server"

// TestAnswersOfTheServer: what the caller gets for each kind of answer.
func TestAnswersOfTheServer(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, nil)
	w := newWorld(t, upstream.address())
	reply := func(status int, contentType, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			if contentType != "" {
				w.Header().Set("Content-Type", contentType)
			}
			for i := 0; i < len(headers); i += 2 {
				w.Header().Add(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	const tools = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"greet","inputSchema":{"type":"object"}},{"name":"erase","inputSchema":{"type":"object"}}]}}`
	leak := `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"` + secret + `","data":"` + secret + `"}}`
	call := w.post(legacyCall)
	for name, test := range map[string]struct {
		request *http.Request
		answer  http.HandlerFunc
		status  int
		want    string // in the body
		reason  string
	}{
		"good":                  {call, reply(200, "application/json", good), 200, strings.TrimSpace(good), ""},
		"with charset":          {call, reply(200, "application/json; charset=utf-8", good), 200, strings.TrimSpace(good), ""},
		"an event":              {call, reply(200, "text/event-stream", "event: message\ndata: "+good+"\n\n"), 200, strings.TrimSpace(good), ""},
		"list":                  {w.post(legacyList), reply(200, "application/json", tools), 200, "greet", ""},
		"list as event":         {w.post(legacyList), reply(200, "text/event-stream", "data: "+tools+"\n\n"), 200, "greet", ""},
		"list, bad":             {w.post(legacyList), reply(200, "application/json", strings.Replace(tools, `"tools"`, `"tools":[],"tools"`, 1)), 502, "owner", "upstream-answer"},
		"list, bad event":       {w.post(legacyList), reply(200, "text/event-stream", "data: "+tools+tools+"\n\n"), 200, `"id":1,"error"`, ""},
		"call, not JSON":        {call, reply(200, "application/json", secret), 502, "owner", "upstream-answer"},
		"call, two answers":     {call, reply(200, "application/json", good+good), 502, "owner", "upstream-answer"},
		"call, no answer":       {call, reply(200, "application/json", `{"jsonrpc":"2.0","method":"notifications/progress"}`), 502, "owner", "upstream-answer"},
		"call, batch":           {call, reply(200, "application/json", "["+good+"]"), 502, "owner", "upstream-answer"},
		"call, another id":      {call, reply(200, "application/json", strings.Replace(good, `"id":1`, `"id":2`, 1)), 502, "owner", "upstream-answer"},
		"call, bad event":       {call, reply(200, "text/event-stream", "data: "+secret+"\n\n"), 200, `"id":1,"error"`, ""},
		"call, event of other":  {call, reply(200, "text/event-stream", "data: "+strings.Replace(good, `"id":1`, `"id":2`, 1)+"\n\n"), 200, `"id":1,"error"`, ""},
		"call, no event":        {call, reply(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n"), 200, `"id":1,"error"`, ""},
		"call, error":           {call, reply(200, "application/json", leak), 200, `"code":-32602,"message":"the server does not accept the parameters"}`, ""},
		"call, error event":     {call, reply(200, "text/event-stream", "data: "+leak+"\n\n"), 200, `"code":-32602,"message":"the server does not accept the parameters"}`, ""},
		"list of another id":    {w.post(legacyList), reply(200, "application/json", strings.Replace(tools, `"id":1`, `"id":2`, 1)), 502, "owner", "upstream-answer"},
		"redirect":              {call, reply(302, "", "", "Location", "https://evil.example/"), 502, "owner", "upstream-status"},
		"permanent redirect":    {call, reply(308, "", "", "Location", "/other"), 502, "owner", "upstream-status"},
		"not modified":          {call, reply(304, "", ""), 502, "owner", "upstream-status"},
		"demands credentials":   {call, reply(401, "application/json", leak, "WWW-Authenticate", "Bearer realm=evil"), 502, "owner", "upstream-status"},
		"forbidden":             {call, reply(403, "text/plain", secret), 502, "owner", "upstream-status"},
		"proxy credentials":     {call, reply(407, "", ""), 502, "owner", "upstream-status"},
		"gateway":               {call, reply(502, "text/html", secret), 502, "owner", "upstream-status"},
		"teapot":                {call, reply(418, "", ""), 502, "owner", "upstream-status"},
		"created":               {call, reply(201, "application/json", good), 502, "owner", "upstream-status"},
		"partial":               {call, reply(206, "application/json", good), 502, "owner", "upstream-status"},
		"accepted":              {call, reply(202, "", ""), 502, "owner", "upstream-answer"},
		"HTML":                  {call, reply(200, "text/html", "<script>"), 502, "owner", "upstream-content-type"},
		"no type":               {call, reply(200, "", good), 502, "owner", "upstream-content-type"},
		"other charset":         {call, reply(200, "application/json; charset=utf-16", good), 502, "owner", "upstream-content-type"},
		"gzip":                  {call, reply(200, "application/json", good, "Content-Encoding", "gzip"), 502, "owner", "upstream-content-encoding"},
		"two types":             {call, reply(200, "application/json", good, "Content-Type", "text/html"), 502, "owner", "upstream-answer"},
		"error":                 {call, reply(400, "application/json", leak), 400, `"code":-32602`, "server-refused"},
		"error, plain text":     {call, reply(400, "text/plain", secret), 400, `"id":1,"error"`, "server-refused"},
		"error, duplicate code": {call, reply(400, "application/json", `{"jsonrpc":"2.0","error":{"code":-32602,"code":1}}`), 400, `-31502`, "server-refused"},
		"internal error":        {call, reply(500, "text/plain", secret), 500, `"id":1,"error"`, "server-refused"},
		"legacy to a probe":     {call, reply(400, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"x"}}`), 400, "-32000", "server-refused"},
		"versions": {call, reply(400, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"x","data":{"supported":["2025-11-25"],"requested":"x"}}}`),
			400, `"data":{"supported":["2025-11-25"],"requested":"x"}`, "server-refused"},
		"many headers": {call, reply(200, "application/json", good, "Set-Cookie", "a="+secret, "Server", secret, "Location", "https://evil",
			"Access-Control-Allow-Origin", "*", "Refresh", "0", "Mcp-Session-Id", "stolen", "X-Powered-By", secret, "Link", "x", "Cache-Control", "public"), 200, strings.TrimSpace(good), ""},
		"large headers":          {call, reply(200, "application/json", good, "X-A", strings.Repeat("a", 100<<10)), 502, "owner", "upstream-broken"},
		"notification":           {w.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), reply(200, "application/json", leak), 202, "", ""},
		"notification, accepted": {w.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), reply(202, "text/plain", secret), 202, "", ""},
	} {
		upstream.answer = test.answer
		request := test.request.Clone(t.Context())
		request.Body, _ = test.request.GetBody()
		status, header, body := do(t, w.keyed(w.aliceKey), request)
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: %d %s; want %d with %s", name, status, body, test.status, test.want)
		}
		if record := w.audit.last(t); record.Reason != test.reason || record.Status != status ||
			(record.Decision == audit.Failed) != strings.HasPrefix(test.reason, "upstream-") {
			t.Errorf("%s: the audit line is %+v", name, record)
		}
		if all := body + strings.Join(strings.Fields(header.Get("Server")), ""); strings.Contains(all, secret) || strings.Contains(body, "erase") {
			t.Errorf("%s: the answer leaks: %s", name, body)
		}
		for name := range header {
			switch name {
			case "Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "X-Accel-Buffering", "Date":
			default:
				t.Errorf("the answer has the header %s: %s", name, header.Get(name))
			}
		}
		if body != "" && status != http.StatusOK && !json.Valid([]byte(body)) {
			t.Errorf("%s: not JSON: %s", name, body)
		}
	}
	if strings.Contains(w.audit.String()+w.log.String(), secret) {
		t.Error("a log has what the server said")
	}
}

// TestServersThatBreakOff speak no or half HTTP.
func TestServersThatBreakOff(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		says   string
		status int // 0: the answer is cut off
	}{
		"nothing":          {"", 502},
		"garbage":          {"hello\r\n\r\n", 502},
		"switches":         {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 502},
		"two lengths":      {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 502},
		"half a body":      {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", 502},
		"half a chunk":     {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", 502},
		"half an event":    {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}", 0},
		"two answers":      {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + good + "\n\ndata: " + good + "\n\n", 0},
		"and a request":    {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + good + "\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n\n", 0},
		"half a refusal":   {"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{", 502},
		"a second answer":  {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 49\r\n\r\n" + good + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200},
		"early, 100s":      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 49\r\n\r\n" + good, 200},
		"smuggled trailer": {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n31\r\n" + good + "\r\n0\r\nSet-Cookie: a=b\r\n\r\n", 200},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		// A server that closes while the next request is on its way is another matter.
		closed := make(chan struct{}, 2)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					if n, _ := conn.Read(make([]byte, 4096)); n > 0 {
						_, _ = io.WriteString(conn, test.says)
						// Closing with something unread would take the answer back.
						_ = conn.(*net.TCPConn).CloseWrite()
						closed <- struct{}{}
						_ = conn.SetReadDeadline(time.Now().Add(time.Second))
						_, _ = io.Copy(io.Discard, conn)
					}
				}()
			}
		}()
		w := newWorld(t, l.Addr().String())
		for range 2 {
			response, err := w.keyed(w.aliceKey).Do(w.post(legacyCall))
			<-closed
			if err != nil {
				// The answer was cut off before its head was sent.
				if test.status != 0 {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			switch {
			case test.status == 0 && err == nil:
				t.Errorf("%s: the caller does not see that the answer is cut off: %q", name, body)
			case test.status != 0 && (err != nil || response.StatusCode != test.status || strings.Contains(string(body), "evil") || len(response.Trailer) > 0):
				t.Errorf("%s: %d %q %v, %v", name, response.StatusCode, body, response.Trailer, err)
			}
		}
	}
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unused(t))
	status, _, body := do(t, w.keyed(w.aliceKey), w.post(legacyCall))
	if record := w.audit.last(t); status != http.StatusServiceUnavailable || !strings.Contains(body, "Try again") || record.Reason != "upstream-unreachable" {
		t.Errorf("%d %s, %+v", status, body, record)
	}
}

// TestPostsAreSentOnce: a server that answers nothing may have done what it was asked.
func TestPostsAreSentOnce(t *testing.T) {
	t.Parallel()
	first := true
	upstream := newRecorder(t, nil)
	upstream.answer = func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			result(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	w := newWorld(t, upstream.address())
	c := w.keyed(w.aliceKey)
	do(t, c, w.post(legacyCall))
	if status, _, body := do(t, c, w.post(legacyCall)); status != http.StatusBadGateway {
		t.Errorf("%d %s", status, body)
	}
	if n := len(upstream.seen()); n != 2 {
		t.Errorf("the server saw %d requests; want 2", n)
	}
}

// TestModernRequestsHaveNoSession: the Go SDK obeys these headers in every era.
func TestModernRequestsHaveNoSession(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Mcp-Session-Id", "x")
		_, _ = io.WriteString(w, "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[],\"resultType\":\"complete\"}}\n\n")
	})
	w := newWorld(t, upstream.address())
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
	status, header, body := do(t, w.keyed(w.aliceKey), w.post(call, set("Mcp-Protocol-Version", "2026-07-28"), set("Mcp-Method", "tools/call"),
		set("Mcp-Name", "=?base64?Z3JlZXQ=?="), set("Mcp-Session-Id", "x"), set("Last-Event-Id", "1")))
	if status != http.StatusOK || header.Get("Mcp-Session-Id") != "" || strings.Contains(body, "id: 1") {
		t.Fatalf("%d %v %s", status, header, body)
	}
	got := upstream.seen()[0].header
	want := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"greet"},
		"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"}, "Content-Length": got["Content-Length"]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

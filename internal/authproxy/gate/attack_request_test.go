package gate_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
)

// raw sends bytes over TLS and returns the first answer's status, or 0 when there was none.
func (w *world) raw(t testing.TB, text string) int {
	t.Helper()
	conn, err := tls.Dial("tcp", w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	return response.StatusCode
}

func (w *world) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(w.url, "https://"), "/mcp")
}

// TestRequestsThatAreRefused: none of them reaches the server.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	head := func(line string, headers ...string) string {
		fixed := []string{"Host: " + host, "Authorization: Bearer " + w.aliceKey, "Content-Type: application/json",
			"Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2025-11-25"}
		for _, header := range headers {
			name, _, _ := strings.Cut(header, ":")
			fixed = slices.DeleteFunc(fixed, func(f string) bool {
				return strings.HasPrefix(f, name+":") && !strings.HasPrefix(header, "+")
			})
			if !strings.HasSuffix(header, ": -") {
				fixed = append(fixed, strings.TrimPrefix(header, "+"))
			}
		}
		return line + " HTTP/1.1\r\n" + strings.Join(fixed, "\r\n") + "\r\n"
	}
	post := func(headers ...string) string {
		return head("POST /mcp", append(headers, fmt.Sprintf("Content-Length: %d", len(legacyCall)))...) + "\r\n" + legacyCall
	}
	at := func(target string) string {
		return head("POST "+target, fmt.Sprintf("Content-Length: %d", len(legacyCall))) + "\r\n" + legacyCall
	}
	if got := w.raw(t, post()); got != http.StatusOK || len(upstream.seen()) != 1 {
		t.Fatalf("the request that all others differ from: %d\n%s", got, w.audit)
	}
	for name, test := range map[string]struct {
		text string
		want int
	}{
		"other host":                 {post("Host: evil.example"), 403},
		"host with port":             {post("Host: " + host + ":1"), 403},
		"no host":                    {post("Host: -"), 400},
		"two hosts":                  {post("+Host: evil.example"), 400},
		"loopback by name":           {post("Host: localhost"), 403},
		"host in an absolute URL":    {at("https://" + host + "/mcp"), 404},
		"other origin":               {post("Origin: https://evil.example"), 403},
		"null origin":                {post("Origin: null"), 403},
		"origin, other case":         {post("Origin: https://App.example"), 403},
		"two origins":                {post("Origin: https://app.example", "+Origin: https://evil.example"), 403},
		"other path":                 {at("/"), 404},
		"longer path":                {at("/mcp/"), 404},
		"other case":                 {at("/MCP"), 404},
		"encoded path":               {at("/%6dcp"), 404},
		"encoded slash":              {at("/mcp%2f"), 404},
		"dot segments":               {at("/x/../mcp"), 404},
		"double slash":               {at("//mcp"), 404},
		"semicolon":                  {at("/mcp;x=1"), 404},
		"the server's own path":      {at("/upstream"), 404},
		"query":                      {at("/mcp?a=b"), 400},
		"empty query":                {at("/mcp?"), 400},
		"fragment":                   {at("/mcp#x"), 404},
		"metadata":                   {at("/.well-known/oauth-protected-resource"), 404},
		"PUT":                        {head("PUT /mcp", "Content-Length: 0") + "\r\n", 405},
		"OPTIONS":                    {head("OPTIONS /mcp") + "\r\n", 405},
		"HEAD":                       {head("HEAD /mcp") + "\r\n", 405},
		"TRACE":                      {head("TRACE /mcp") + "\r\n", 405},
		"CONNECT":                    {"CONNECT 127.0.0.1:8080 HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 403},
		"PRI":                        {"PRI * HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 405},
		"upgrade to websocket":       {post("Connection: Upgrade", "Upgrade: websocket"), 400},
		"upgrade to h2c":             {post("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"), 400},
		"upgrade without Connection": {post("Upgrade: websocket"), 400},
		"Connection names a header":  {post("Connection: close, Authorization"), 400},
		"Connection names Mcp-Name":  {post("Connection: Mcp-Name"), 400},
		"underscore variant":         {post("Mcp_Session_Id: x"), 400},
		"underscore Authorization":   {post("X_Api_Key: x"), 400},
		"repeated version":           {post("+MCP-Protocol-Version: 2025-06-18"), 400},
		"repeated session":           {post("Mcp-Session-Id: a", "+Mcp-Session-Id: b"), 400},
		"unknown version":            {post("MCP-Protocol-Version: 2024-11-05"), 400},
		"no version":                 {post("MCP-Protocol-Version: -"), 400},
		"repeated content type":      {post("+Content-Type: text/plain"), 400},
		"no content type":            {post("Content-Type: -"), 415},
		"form":                       {post("Content-Type: application/x-www-form-urlencoded"), 415},
		"text":                       {post("Content-Type: text/plain"), 415},
		"other charset":              {post("Content-Type: application/json; charset=utf-16"), 415},
		"other parameter":            {post("Content-Type: application/json; x=y"), 415},
		"gzip":                       {post("Content-Encoding: gzip"), 415},
		"identity":                   {post("Content-Encoding: identity"), 415},
		"JSON alone accepted":        {post("Accept: application/json"), 406},
		"declared trailer":           {head("POST /mcp", "Trailer: Authorization", "Transfer-Encoding: chunked") + "\r\n0\r\n\r\n", 400},
		"undeclared trailer": {head("POST /mcp", "Transfer-Encoding: chunked") +
			fmt.Sprintf("\r\n%x\r\n%s\r\n0\r\nX-Api-Key: x\r\n\r\n", len(legacyCall), legacyCall), 400},
		"two lengths":        {strings.Replace(post(), "Content-Length", "Content-Length: 1\r\nContent-Length", 1), 400},
		"negative length":    {head("POST /mcp", "Content-Length: -1") + "\r\n", 400},
		"other encoding":     {head("POST /mcp", "Transfer-Encoding: identity") + "\r\n", 501},
		"bad chunk":          {head("POST /mcp", "Transfer-Encoding: chunked") + "\r\nzz\r\n", 408},
		"space before colon": {post("X-Api-Key : x"), 400},
		"folded header":      {post("X-A: b\r\n c"), 200},
		"bare LF":            {strings.ReplaceAll(post("X-A: b"), "X-A: b\r\n", "X-A: b\n\n"), 400},
		"large headers":      {post("X-A: " + strings.Repeat("a", 64<<10)), 431},
		"large body, length": {head("POST /mcp", "Content-Length: 1000000") + "\r\n{}", 413},
		"large body, chunks": {head("POST /mcp", "Transfer-Encoding: chunked") + "\r\n20000\r\n" + strings.Repeat("a", 0x20000) + "\r\n0\r\n\r\n", 413},
		"GET with a body":    {head("GET /mcp", "Accept: text/event-stream", "Content-Length: 2") + "\r\n{}", 400},
		"GET for HTML":       {head("GET /mcp", "Accept: text/html") + "\r\n", 406},
		"GET, modern":        {head("GET /mcp", "MCP-Protocol-Version: 2026-07-28") + "\r\n", 405},
		"DELETE, modern":     {head("DELETE /mcp", "MCP-Protocol-Version: 2026-07-28") + "\r\n", 405},
		"GET, old":           {head("GET /mcp", "MCP-Protocol-Version: 2024-11-05") + "\r\n", 400},
		"HTTP/1.0":           {strings.Replace(post(), "HTTP/1.1", "HTTP/1.0", 1), 200},
	} {
		before := len(upstream.seen())
		got := w.raw(t, test.text)
		if got != test.want {
			t.Errorf("%s: %d; want %d", name, got, test.want)
		}
		if passed := len(upstream.seen()) - before; (passed > 0) != (test.want == http.StatusOK) {
			t.Errorf("%s: %d requests reached the server", name, passed)
		}
	}
}

// TestBodiesThatAreRefused spot-checks that the strict message pass stands before the server.
func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	c := w.keyed(w.aliceKey)
	for name, test := range map[string]struct {
		body string
		want int
	}{
		"empty":              {"", 400},
		"not JSON":           {"hello", 400},
		"batch":              {"[" + legacyCall + "]", 400},
		"two messages":       {legacyCall + legacyCall, 400},
		"duplicate name":     {strings.Replace(legacyCall, `"name":"greet"`, `"name":"greet","name":"erase"`, 1), 400},
		"case-fold twin":     {strings.Replace(legacyCall, `"name":"greet"`, `"name":"greet","Name":"erase"`, 1), 400},
		"duplicate method":   {strings.Replace(legacyCall, `"method"`, `"method":"ping","method"`, 1), 400},
		"other tool":         {strings.Replace(legacyCall, "greet", "erase", 1), 403},
		"tool by other case": {strings.Replace(legacyCall, "greet", "Greet", 1), 403},
		"unknown method":     {`{"jsonrpc":"2.0","id":1,"method":"tools/erase"}`, 404},
		"no tool":            {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, 400},
		"response":           {`{"jsonrpc":"2.0","id":1,"result":{}}`, 400},
		"too deep":           {strings.Replace(legacyCall, `"x"`, strings.Repeat("[", 40)+strings.Repeat("]", 40), 1), 400},
	} {
		if status, _, body := do(t, c, w.post(test.body)); status != test.want || !strings.Contains(body, `"error"`) {
			t.Errorf("%s: %d %s; want %d", name, status, body, test.want)
		}
	}
	if seen := upstream.seen(); len(seen) > 0 {
		t.Errorf("the server saw %+v", seen)
	}
}

// TestNothingOfTheCallerReachesTheServer: the request is built anew.
func TestNothingOfTheCallerReachesTheServer(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	hostile := http.Header{
		"Authorization": {"Bearer " + w.aliceKey}, "Cookie": {"session=1"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-User": {"root"},
		"Forwarded": {"for=1.2.3.4"}, "X-Real-Ip": {"1.2.3.4"}, "X-Remote-User": {"root"}, "X-Grafana-Url": {"http://evil"},
		"Impersonate-User": {"root"}, "Proxy-Authorization": {"Basic eA=="}, "Accept-Encoding": {"gzip"}, "Expect": {"100-continue"},
		"X-Http-Method-Override": {"DELETE"}, "X-Original-Url": {"/admin"}, "Range": {"bytes=0-1"}, "If-None-Match": {"*"},
		"User-Agent": {"evil"}, "Referer": {"https://evil"}, "Origin": {"https://app.example"}, "Accept-Language": {"en"},
		"Content-Type": {"application/json; charset=UTF-8"}, "Accept": {"*/*"}, "Te": {"trailers"}, "Last-Event-Id": {"7"},
		"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "Tracestate": {"a=b"}, "Baggage": {"user=root"},
		"Mcp-Method": {"tools/call"}, "Mcp-Name": {"greet"}, "X-Mcp-Anything": {"1"},
	}
	for _, c := range []*http.Client{w.client(), w.client(w.alice)} {
		status, header, body := do(t, c, w.post(legacyCall, func(r *http.Request) { maps.Copy(r.Header, hostile) }))
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		if header.Get("Cache-Control") != "no-store" {
			t.Errorf("the answer may be cached: %v", header)
		}
	}
	want := recorded{verb: "POST", uri: "/upstream", host: upstream.address(), body: legacyCall, header: http.Header{
		"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(legacyCall))},
		"Mcp-Protocol-Version": {"2025-11-25"},
		"Traceparent":          {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "Tracestate": {"a=b"},
	}}
	for _, got := range upstream.seen() {
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(recorded{})); diff != "" {
			t.Error(diff)
		}
	}
	if record := w.audit.last(t); record.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("the audit line is %+v", record)
	}
}

func TestBadTraceContextIsLeftBehind(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, result)
	w := newWorld(t, upstream.address())
	for _, parent := range []string{"", "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
		"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		if status, _, _ := do(t, w.keyed(w.aliceKey), w.post(legacyCall, set("Traceparent", parent), set("Tracestate", "a=b"))); status != http.StatusOK {
			t.Errorf("%q: %d", parent, status)
		}
	}
	for _, seen := range upstream.seen() {
		if seen.header.Get("Traceparent") != "" || seen.header.Get("Tracestate") != "" {
			t.Errorf("the server saw %v", seen.header)
		}
	}
}

func TestSlowCallersAreCutOff(t *testing.T) {
	t.Parallel()
	upstream := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := strings.Repeat("x", 1<<20)
		for range 256 {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	w := newWorld(t, upstream.address(), func(w *world) {
		w.options.Timeouts = listener.Timeouts{Header: time.Second, Body: time.Second, Write: time.Second, Idle: time.Second}
	})
	head := "POST /mcp HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + w.aliceKey +
		"\r\nContent-Type: application/json\r\nAccept: */*\r\nMCP-Protocol-Version: 2025-11-25\r\n"
	for name, text := range map[string]string{
		"nothing":       "",
		"half a head":   head,
		"half a body":   head + "Content-Length: 100\r\n\r\n{",
		"refused, body": strings.Replace(head, w.aliceKey, "x", 1) + "Content-Length: 100\r\n\r\n{",
	} {
		conn, err := tls.Dial("tcp", w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("%s: the connection is still open", name)
		}
	}
	t.Run("no handshake", func(t *testing.T) {
		conn, err := net.Dial("tcp", w.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Error("the connection is still open")
		}
	})
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run("does not read, "+protocol, func(t *testing.T) {
			c := w.keyed(w.aliceKey)
			if protocol == "http/1.1" {
				c.Transport.(withKey).next.(withHost).next.(*http.Transport).ForceAttemptHTTP2 = false
			}
			response, err := c.Do(w.post(legacyCall))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			gatetest.Eventually(t, "the answer is given up", func() bool {
				return w.metric(t, `bartizan_gate_requests_in_flight`) == "0"
			})
		})
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func TestOnlyTLS13(t *testing.T) {
	t.Parallel()
	w := newWorld(t, unused(t))
	conn, err := tls.Dial("tcp", w.address(), &tls.Config{RootCAs: w.serving.Pool(), ServerName: host, MaxVersion: tls.VersionTLS12})
	if err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is accepted")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	plain, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.address()+"/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultTransport.RoundTrip(plain); err == nil {
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP: %d", response.StatusCode)
		}
		_ = response.Body.Close()
	}
}

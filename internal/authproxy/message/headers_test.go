package message

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

const (
	modernCall   = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get",` + modernMeta + `}}`
	modernOdd    = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":" gét\n",` + modernMeta + `}}`
	modernFake   = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"=?base64?Z2V0?=",` + modernMeta + `}}`
	modernRead   = `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a",` + modernMeta + `}}`
	modernList   = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modernMeta + `}}`
	bareNotice   = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
	legacyCall   = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get"}}`
	legacyAnswer = `{"jsonrpc":"2.0","id":1,"result":{}}`
)

func initialize(revision string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + revision + `","capabilities":{}}}`
}

func b64(s string) string { return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }

// header makes headers from names and values by turns, canonical as net/http makes them.
func header(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "X-Other": {"a", "b"}, "X_under": {"c"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestCheckHeaders(t *testing.T) {
	const v, m, n = "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"
	const newest, second, first = gateconfig.Revision20260728, gateconfig.Revision20251125, gateconfig.Revision20250618
	modern := func(rest ...string) http.Header { return header(append([]string{v, string(newest)}, rest...)...) }
	for _, tc := range []struct {
		name, body string
		h          http.Header
		min        gateconfig.Revision
		want       http.Header
		reason     string
	}{
		{"modern", modernCall, modern(m, "tools/call", n, "get"), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {"get"}}, ""},
		{"modern in base64", modernCall, modern(m, "tools/call", n, b64("get")), newest, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {"get"}}, ""},
		{"a name that needs base64", modernOdd, modern(m, "tools/call", n, b64(" gét\n")), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {b64(" gét\n")}}, ""},
		{"a name that looks like base64", modernFake, modern(m, "tools/call", n, b64("=?base64?Z2V0?=")), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {b64("=?base64?Z2V0?=")}}, ""},
		{"a name that looks like base64, plain", modernFake, modern(m, "tools/call", n, "=?base64?Z2V0?="), first, nil, "header"},
		{"read", modernRead, modern(m, "resources/read", n, "file:///a"), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"resources/read"}, HeaderName: {"file:///a"}}, ""},
		{"list", modernList, modern(m, "tools/list"), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/list"}}, ""},
		{"a name where none belongs is dropped", modernList, modern(m, "tools/list", n, "get"), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/list"}}, ""},
		{"params", modernCall, modern(m, "tools/call", n, "get", "Mcp-Param-Region", "west", "Mcp-Param-X", b64("é")), first,
			http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {"get"}, "Mcp-Param-Region": {"west"}, "Mcp-Param-X": {b64("é")}}, ""},
		{"params go with a tool only", modernList, modern(m, "tools/list", "Mcp-Param-Region", "west"), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/list"}}, ""},
		{"a notification takes the header's revision", bareNotice, modern(), newest, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"notifications/cancelled"}}, ""},
		{"session and resumption are not passed on", modernCall, modern(m, "tools/call", n, "get", "Mcp-Session-Id", "s", "Last-Event-Id", "1"), first, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {"get"}}, ""},

		{"no version", modernCall, header(m, "tools/call", n, "get"), first, nil, "header"},
		{"no method", modernCall, modern(n, "get"), first, nil, "header"},
		{"no name", modernCall, modern(m, "tools/call"), first, nil, "header"},
		{"another version", modernCall, header(v, "2025-11-25", m, "tools/call", n, "get"), first, nil, "header"},
		{"another method", modernCall, modern(m, "tools/list", n, "get"), first, nil, "header"},
		{"method in another case", modernCall, modern(m, "Tools/Call", n, "get"), first, nil, "header"},
		{"another name", modernCall, modern(m, "tools/call", n, "delete"), first, nil, "header"},
		{"name in another case", modernCall, modern(m, "tools/call", n, "GET"), first, nil, "header"},
		{"another name in base64", modernCall, modern(m, "tools/call", n, b64("delete")), first, nil, "header"},
		{"broken base64", modernCall, modern(m, "tools/call", n, "=?base64?Z2V0!?="), first, nil, "header"},
		{"base64 without padding", modernCall, modern(m, "tools/call", n, "=?base64?Z2V0Zg?="), first, nil, "header"},
		{"base64 with stray bits", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"g",` + modernMeta + `}}`, modern(m, "tools/call", n, "=?base64?Zx==?="), first, nil, "header"},
		{"base64 in another case", modernCall, modern(m, "tools/call", n, "=?BASE64?Z2V0?="), first, nil, "header"},
		{"markers that overlap", modernCall, modern(m, "tools/call", n, "=?base64?="), first, nil, "header"},
		{"method in base64", modernCall, modern(m, b64("tools/call"), n, "get"), first, nil, "header"},
		{"repeated", modernCall, modern(m, "tools/call", n, "get", n, "get"), first, nil, "headers"},
		{"repeated version", modernCall, modern(v, "2026-07-28", m, "tools/call", n, "get"), first, nil, "headers"},
		{"repeated in one line", modernCall, modern(m, "tools/call", n, "get, get"), first, nil, "header"},
		{"repeated param", modernCall, modern(m, "tools/call", n, "get", "Mcp-Param-A", "1", "Mcp-Param-A", "2"), first, nil, "headers"},
		{"param with broken base64", modernCall, modern(m, "tools/call", n, "get", "Mcp-Param-A", "=?base64?#?="), first, nil, "headers"},
		{"param without a name", modernCall, modern(m, "tools/call", n, "get", "Mcp-Param-", "1"), first, nil, "headers"},
		{"param that is not ASCII", modernCall, modern(m, "tools/call", n, "get", "Mcp-Param-A", "é"), first, nil, "headers"},
		{"with underscores", modernCall, modern(m, "tools/call", n, "get", "Mcp_Name", "delete"), first, nil, "headers"},
		{"with one underscore", modernCall, modern(m, "tools/call", n, "get", "Mcp-Protocol_Version", "x"), first, nil, "headers"},
		{"empty", modernCall, modern(m, "tools/call", n, ""), first, nil, "headers"},
		{"control characters", modernCall, modern(m, "tools/call", n, "get\x00"), first, nil, "headers"},
		{"not ASCII", modernOdd, modern(m, "tools/call", n, " gét\n"), first, nil, "headers"},
		{"named by Connection", modernCall, modern(m, "tools/call", n, "get", "Connection", "close, mcp-name"), first, nil, "headers"},
		{"not canonical", modernCall, http.Header{HeaderRevision: {"2026-07-28"}, HeaderMethod: {"tools/call"}, HeaderName: {"get"}, "mcp-name": {"delete"}}, first, nil, "headers"},

		{"modern header without _meta", legacyCall, modern(m, "tools/call", n, "get"), first, nil, "meta"},
		{"modern header with an answer", legacyAnswer, modern(), first, nil, "response"},
		{"modern header with initialize", initialize("2025-11-25"), modern(m, "initialize"), first, nil, "meta"},
		{"unknown revision", strings.Replace(modernList, "2026-07-28", "2030-01-01", 1), header(v, "2030-01-01", m, "tools/list"), first, nil, "revision"},
		{"legacy revision in _meta", strings.Replace(modernList, "2026-07-28", "2025-11-25", 1), header(v, "2025-11-25", m, "tools/list"), first, nil, "revision"},

		{"legacy", legacyCall, header(v, "2025-11-25"), second, http.Header{HeaderRevision: {"2025-11-25"}}, ""},
		{"legacy, headers that agree", legacyCall, header(v, "2025-06-18", m, "tools/call", n, "get"), first, http.Header{HeaderRevision: {"2025-06-18"}}, ""},
		{"legacy, a method that does not", legacyCall, header(v, "2025-11-25", m, "tools/list"), first, nil, "header"},
		{"legacy, a name that does not", legacyCall, header(v, "2025-11-25", n, "other"), first, nil, "header"},
		{"legacy in a session", legacyCall, header("Mcp-Session-Id", "s"), first, http.Header{}, ""},
		{"legacy with neither", legacyCall, header(), first, nil, "revision"},
		{"legacy answer", legacyAnswer, header(v, "2025-11-25"), first, http.Header{HeaderRevision: {"2025-11-25"}}, ""},
		{"legacy too old", legacyCall, header(v, "2025-06-18"), second, nil, "revision"},
		{"batches' revision", legacyCall, header(v, "2025-03-26"), first, nil, "revision"},
		{"unknown revision in the header", legacyCall, header(v, "1900-01-01"), first, nil, "revision"},
		{"unknown later revision in the header", legacyCall, header(v, "2030-01-01"), first, nil, "revision"},
		{"modern only", legacyCall, header(v, "2025-11-25", "Mcp-Session-Id", "s"), newest, nil, "revision"},
		{"modern only, session", legacyCall, header("Mcp-Session-Id", "s"), newest, nil, "revision"},

		{"initialize", initialize("2025-11-25"), header(), second, http.Header{}, ""},
		{"initialize for a later one", initialize("2030-01-01"), header(), second, http.Header{}, ""},
		{"initialize for an older one", initialize("2025-06-18"), header(), second, nil, "revision"},
		{"initialize for the oldest", initialize("2024-11-05"), header(), first, nil, "revision"},
		{"initialize where sessions are not offered", initialize("2025-11-25"), header(), newest, nil, "revision"},
		{"initialize for a later one where sessions are not offered", initialize("2030-01-01"), header(), newest, nil, "revision"},
		{"initialize with a header", initialize("2025-11-25"), header(v, "2025-11-25"), second, http.Header{HeaderRevision: {"2025-11-25"}}, ""},
		{"initialize with an unknown header", initialize("2025-11-25"), header(v, "2025-03-26"), first, nil, "revision"},
	} {
		msg, err := Read([]byte(tc.body), limits)
		if err != nil {
			t.Errorf("%s: %s", tc.name, err.Reason)
			continue
		}
		got, err := msg.CheckHeaders(tc.h, tc.min)
		reason := ""
		if err != nil {
			reason = err.Reason
		}
		if reason != tc.reason {
			t.Errorf("%s: refused for %q, want %q", tc.name, reason, tc.reason)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, diff)
		}
	}
}

func TestUnsupportedData(t *testing.T) {
	for _, tc := range []struct {
		body, header string
		min          gateconfig.Revision
		want         string
	}{
		{legacyCall, "1900-01-01", gateconfig.Revision20251125, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"` + unsupported.Message + `","data":{"supported":["2026-07-28","2025-11-25"],"requested":"1900-01-01"}}}`},
		{legacyCall, "<script>", gateconfig.Revision20260728, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"` + unsupported.Message + `","data":{"supported":["2026-07-28"],"requested":""}}}`},
	} {
		m, err := Read([]byte(tc.body), limits)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.CheckHeaders(header("MCP-Protocol-Version", tc.header), tc.min)
		if got := string(err.JSON(m.ID)); got != tc.want {
			t.Errorf("%s\nwant %s", got, tc.want)
		}
	}
}

func BenchmarkCheckHeaders(b *testing.B) {
	m, err := Read([]byte(modernCall), limits)
	if err != nil {
		b.Fatal(err)
	}
	h := header("MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "get", "Accept", "application/json", "User-Agent", "x", "Content-Length", "300", "Authorization", "Bearer x")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.CheckHeaders(h, gateconfig.Revision20250618); err != nil {
			b.Fatal(err)
		}
	}
}

package listener_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/listener"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// FuzzCheck: what passes is addressed to the endpoint, has one reading and comes from no other page.
func FuzzCheck(f *testing.F) {
	g := &config.Generation{Config: gateconfig.Config{Endpoint: gateconfig.Endpoint{
		Path: "/mcp", Hosts: []string{"gate.test"}, Origins: []string{"https://app.example"}}}}
	f.Add("POST /mcp HTTP/1.1\r\nHost: gate.test\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n")
	f.Add("GET https://gate.test/mcp HTTP/1.1\r\nHost: gate.test\r\nConnection: close, x\r\n\r\n")
	f.Add("DELETE /mcp HTTP/1.1\r\nHost: gate.test\r\nOrigin: null\r\nMcp_Name: x\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		if refusal := listener.Check(r, g); refusal != nil {
			if refusal.Status < 400 || refusal.Text == "" || refusal.Reason == "" {
				t.Errorf("the refusal is %+v", refusal)
			}
			return
		}
		origins := r.Header["Origin"]
		if !strings.EqualFold(r.Host, "gate.test") || r.RequestURI != "/mcp" || len(origins) > 1 ||
			(len(origins) == 1 && origins[0] != "https://app.example") || r.Header.Get("Upgrade") != "" || len(r.Trailer) > 0 ||
			len(r.Header["Mcp-Session-Id"]) > 1 {
			t.Errorf("passed: %q", text)
		}
	})
}

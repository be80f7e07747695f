package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// gate is a stand-in: it knows one key, and refuses one tool.
func gate(t *testing.T) (url, ca string) {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type nothing struct{}
	for _, name := range []string{"good", "forbidden"} {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, nothing) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil, nil
		})
	}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "Bearer late":
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":null,"error":{"code":3,"message":"too many"}}`))
		case r.Header.Get("Authorization") != "Bearer right":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no key"}}`))
		case r.Header.Get("Mcp-Name") == "forbidden":
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"no grant"}}`))
		default:
			handler.ServeHTTP(w, r)
		}
	}))
	web.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	ca = filepath.Join(t.TempDir(), "ca.crt")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	return web.URL, ca
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOutcomes(t *testing.T) {
	url, ca := gate(t)
	folder := t.TempDir()
	right, wrong, late := filepath.Join(folder, "right"), filepath.Join(folder, "wrong"), filepath.Join(folder, "late")
	write(t, right, "right\n")
	write(t, wrong, "wrong")
	write(t, late, "late")
	tests := map[string]struct {
		arguments []string
		outcome   result.Outcome
		message   string
	}{
		"list":              {[]string{"list", "--url", url, "--ca", ca, "--key-file", right}, result.OK, ""},
		"call":              {[]string{"call", "--url", url, "--ca", ca, "--key-file", right, "--tool", "good"}, result.OK, ""},
		"legacy":            {[]string{"call", "--url", url, "--ca", ca, "--key-file", right, "--tool", "good", "--revision", "2025-11-25"}, result.OK, ""},
		"no grant":          {[]string{"call", "--url", url, "--ca", ca, "--key-file", right, "--tool", "forbidden"}, result.Forbidden, "no grant"},
		"no key":            {[]string{"list", "--url", url, "--ca", ca}, result.Unauthorized, "no key"},
		"wrong key":         {[]string{"list", "--url", url, "--ca", ca, "--key-file", wrong}, result.Unauthorized, "no key"},
		"too many":          {[]string{"list", "--url", url, "--ca", ca, "--key-file", late}, result.Throttled, "too many"},
		"unknown authority": {[]string{"list", "--url", url, "--key-file", right}, result.TLSRefused, "certificate"},
		"nobody listens":    {[]string{"list", "--url", "https://127.0.0.1:1", "--ca", ca}, result.NoConnection, "refused"},
		"dial":              {[]string{"dial", "--address", strings.TrimPrefix(url, "https://")}, result.OK, ""},
		"dial nobody":       {[]string{"dial", "--address", "127.0.0.1:1"}, result.NoConnection, "refused"},
		"no command":        {nil, result.Usage, "usage"},
		"unknown flag":      {[]string{"list", "--nonsense"}, result.Usage, "nonsense"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := run(ctx, test.arguments)
			if got.Outcome != test.outcome || !strings.Contains(got.Message, test.message) {
				t.Errorf("got %+v, want outcome %s with %q", got, test.outcome, test.message)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	url, ca := gate(t)
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "right")
	arguments := []string{"load", "--url", url, "--ca", ca, "--key-file", key, "--for", "300ms", "--pause", "1ms", "--parallel", "2"}
	good := run(t.Context(), append(arguments, "--tool", "good"))
	if good.Outcome != result.OK || good.Load.Calls < 2 || good.Load.Failures != 0 || good.Load.Answers["done"] != good.Load.Calls {
		t.Errorf("load of a tool that answers: %+v", good.Load)
	}
	if good.Load.Connections != 2 || good.Load.Serial == "" {
		t.Errorf("two workers opened %d connections, serial %q", good.Load.Connections, good.Load.Serial)
	}
	bad := run(t.Context(), append(arguments, "--tool", "forbidden"))
	if bad.Outcome != result.Failed || bad.Load.Failures != bad.Load.Calls || bad.Load.Examples[0].Outcome != result.Forbidden {
		t.Errorf("load of a refused tool: %+v", bad.Load)
	}
}

func TestTryKeys(t *testing.T) {
	url, ca := gate(t)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "me"), 0o700); err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := pair(t)
	for name, content := range map[string]string{"ca.crt": string(bundle), "api-key": "any", "tls.crt": certificate, "tls.key": key} {
		write(t, filepath.Join(root, "me", name), content)
	}
	got := tryKeys(t.Context(), settings{url: url, root: root, timeout: time.Minute}, strings.NewReader("me right\nme mcpk_wrong_x\n"))
	if got.Outcome != result.OK || len(got.Keys) != 2 || got.Keys["right"] != result.OK || got.Keys["wrong"] != result.Unauthorized {
		t.Errorf("got %+v", got)
	}
	if got := tryKeys(t.Context(), settings{url: url, root: root, timeout: time.Minute}, strings.NewReader("nonsense")); got.Outcome != result.Usage {
		t.Errorf("a line that is none: %+v", got)
	}
}

// TestReread: files that change are read again where that is asked for, and only there.
func TestReread(t *testing.T) {
	url, ca := gate(t)
	for reread, want := range map[bool]result.Outcome{true: result.OK, false: result.Unauthorized} {
		key := filepath.Join(t.TempDir(), "key")
		write(t, key, "wrong")
		c, err := newConnection(settings{url: url, caFile: ca, keyFile: key, reread: reread, timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		write(t, key, "right")
		got := result.Result{Outcome: result.OK}
		if session, err := c.open(t.Context()); err != nil {
			got = c.failure(err)
		} else {
			c.drop(session)
		}
		if got.Outcome != want {
			t.Errorf("reread %t: %+v, want %s", reread, got, want)
		}
	}
}

// TestWatch: what works is said once, and so is what does not.
func TestWatch(t *testing.T) {
	url, ca := gate(t)
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "right")
	var out bytes.Buffer
	watch(t.Context(), settings{url: url, caFile: ca, keyFile: key, tool: "good", args: "{}", revision: legacyRevision,
		timeout: time.Minute, duration: 2 * time.Second, pause: time.Millisecond}, &out)
	said := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var change result.Change
		if err := json.Unmarshal([]byte(line), &change); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		said[change.What+" "+string(change.Outcome)]++
	}
	// The stand-in has no sessions, so no stream either.
	if want := map[string]int{"kept ok": 1, "fresh ok": 1, "session failed": 1}; !maps.Equal(said, want) {
		t.Errorf("said %v, want %v", said, want)
	}
}

// pair is a certificate that nobody vouches for, and its key.
func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

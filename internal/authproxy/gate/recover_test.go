package gate

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestDefectsHaveALine: a request that a defect of the gate ends is in the audit log, without what it was panicked with.
func TestDefectsHaveALine(t *testing.T) {
	var lines bytes.Buffer
	g, err := New(Options{Server: gateconfig.Object{Namespace: "team-a", Name: "pods"}, Audit: &lines, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.log.Begin(nil); err != nil {
		t.Fatal(err)
	}
	x := newExchange(g, httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/mcp", nil))
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("it goes on with %v", v)
			}
		}()
		defer x.recover()
		panic("EVIL")
	}()
	g.log.Close()
	if text := lines.String(); !strings.Contains(text, `"decision":"failed","reason":"aborted"`) || strings.Contains(text, "EVIL") {
		t.Errorf("%s", text)
	}
}

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/stacklok/toolhive/pkg/auth"
	"github.com/stacklok/toolhive/pkg/authz"
	"github.com/stacklok/toolhive/pkg/authz/authorizers"
)

// filter has ToolHive filter an answer again and again, and prints the nanoseconds that one takes and the bytes that are left of it.
func filter(authorizer authorizers.Authorizer, user, file string, count int) error {
	answer, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var request *http.Request
	auth.LocalUserMiddleware(user)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { request = r })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/mcp", nil))
	var out discard
	start := time.Now()
	for range count {
		out = discard{header: http.Header{"Content-Type": {"application/json"}}}
		w := authz.NewResponseFilteringWriter(&out, authorizer, request, "tools/list", authz.NewAnnotationCache(), nil)
		if _, err := w.Write(answer); err != nil {
			return err
		}
		if err := w.FlushAndFilter(); err != nil {
			return err
		}
	}
	if out.status != http.StatusOK || out.text.Len() == 0 {
		return fmt.Errorf("the filter answered with %d and %d bytes", out.status, out.text.Len())
	}
	fmt.Println(time.Since(start).Nanoseconds()/int64(count), out.text.Len())
	return nil
}

// discard is an answer that nobody gets.
type discard struct {
	header http.Header
	status int
	text   bytes.Buffer
}

func (d *discard) Header() http.Header    { return d.header }
func (d *discard) WriteHeader(status int) { d.status = status }
func (d *discard) Write(p []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	return d.text.Write(p)
}

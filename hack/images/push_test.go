package main

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// A pushed image has the digest that build prints, so that what is deployed by it can be pulled.
func TestPushKeepsTheDigest(t *testing.T) {
	web := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(web.Close)
	folder := t.TempDir()
	file := filepath.Join(folder, "program")
	if err := os.WriteFile(file, []byte("content"), 0o755); err != nil {
		t.Fatal(err)
	}
	repository := strings.TrimPrefix(web.URL, "http://") + "/team/program"
	var printed strings.Builder
	if err := run([]string{"build", "--name", repository + ":demo", "--file", file + ":/program", "--out", filepath.Join(folder, "a.tar"), "--push"}, &printed); err != nil {
		t.Fatal(err)
	}
	reference, err := name.NewDigest(strings.TrimSpace(printed.String()))
	if err != nil {
		t.Fatalf("printed %q: %v", printed.String(), err)
	}
	if _, err := remote.Head(reference); err != nil {
		t.Errorf("the registry does not have %s: %v", reference, err)
	}
}

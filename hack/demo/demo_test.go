package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// What the local demo writes must be what a gate obeys.
func TestLocalConfigIsObeyed(t *testing.T) {
	ca, err := newAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	document, generation, err := gateconfig.Seal(localConfig(ca, key, 8080))
	if err != nil {
		t.Fatal(err)
	}
	if config, err := gateconfig.Parse(document); err != nil || config.Generation != generation {
		t.Errorf("the gate would refuse it: %v", err)
	}
	if bytes.Contains(document, []byte(key.Text)) {
		t.Error("the key itself is in the configuration")
	}
}

func TestUnpack(t *testing.T) {
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	writer := tar.NewWriter(compressed)
	for name, content := range map[string]string{"package/other": "no", "package/bin/server": "yes"} {
		if err := writer.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server")
	if err := unpack(bytes.NewReader(archive.Bytes()), "package/bin/server", file); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "yes" {
		t.Errorf("unpacked %q, %v", content, err)
	}
	if err := unpack(bytes.NewReader(archive.Bytes()), "package/bin/missing", file+"2"); err == nil {
		t.Error("a missing member was not reported")
	}
}

// A check that does not end as it must makes the demo fail, and says which it was.
func TestSummary(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := newScreen(out)
	s.seen("good", "this", "that", true)
	if err := s.summary(); err != nil {
		t.Errorf("all went well, and yet: %v", err)
	}
	s.seen("bad", "this", strings.Repeat("a long story ", 30), false)
	if err := s.summary(); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("got %v, want an error that names the check", err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if len([]rune(line)) > width {
			t.Errorf("a line is longer than %d: %q", width, line)
		}
		if strings.Contains(line, "\033") {
			t.Errorf("terminal sequences in a file: %q", line)
		}
	}
}

package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestArchiveNames(t *testing.T) {
	const (
		index  = `{"manifests":[{"annotations":{"io.containerd.image.name":"registry.example/a:1","org.opencontainers.image.ref.name":"1"}}]}`
		docker = `[{"RepoTags":["b:2","a:1","b:2"]}]`
	)
	for _, test := range []struct {
		name   string
		files  map[string]string
		gzip   bool
		want   []string
		refuse string
	}{
		{name: "OCI", files: map[string]string{"index.json": index}, want: []string{"registry.example/a:1"}},
		{name: "docker save", files: map[string]string{"manifest.json": docker}, want: []string{"a:1", "b:2"}},
		{name: "both", files: map[string]string{"index.json": index, "manifest.json": docker}, want: []string{"registry.example/a:1"}},
		{name: "both, the first without a name", files: map[string]string{"index.json": `{"manifests":[{}]}`, "manifest.json": docker}, want: []string{"a:1", "b:2"}},
		{name: "compressed", files: map[string]string{"index.json": index}, gzip: true, want: []string{"registry.example/a:1"}},
		{name: "no image", files: map[string]string{"readme": "hello"}, refuse: "no image with a name"},
		{name: "no JSON", files: map[string]string{"index.json": "{"}, refuse: "index.json"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var archive bytes.Buffer
			writer := tar.NewWriter(&archive)
			for name, content := range test.files {
				if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
					t.Fatal(err)
				}
				if _, err := writer.Write([]byte(content)); err != nil {
					t.Fatal(err)
				}
			}
			if err := writer.Close(); err != nil {
				t.Fatal(err)
			}
			if test.gzip {
				var compressed bytes.Buffer
				zip := gzip.NewWriter(&compressed)
				if _, err := zip.Write(archive.Bytes()); err != nil {
					t.Fatal(err)
				}
				if err := zip.Close(); err != nil {
					t.Fatal(err)
				}
				archive = compressed
			}
			path := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := archiveNames(path)
			if test.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), test.refuse) {
					t.Errorf("error %v", err)
				}
			} else if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(strings.Repeat("no archive ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := archiveNames(path); err == nil || !strings.Contains(err.Error(), "no tar archive") {
		t.Errorf("error %v", err)
	}
}

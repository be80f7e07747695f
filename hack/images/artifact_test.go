package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestArtifact(t *testing.T) {
	folder := t.TempDir()
	for file, content := range map[string]string{"Chart.yaml": "name: x\n", "templates/a.yaml": "a: b\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	for kind, want := range map[string][]string{
		"flux": {"Chart.yaml", "templates/a.yaml"},
		"helm": {"chart/Chart.yaml", "chart/templates/a.yaml"},
	} {
		var first, second bytes.Buffer
		repository := strings.TrimPrefix(server.URL, "http://") + "/" + kind
		for _, out := range []*bytes.Buffer{&first, &second} {
			if err := run([]string{"artifact", "--kind", kind, "--name", repository + ":main", "--from", folder, "--revision", "main@1"}, out); err != nil {
				t.Fatal(err)
			}
		}
		if first.String() != second.String() || !strings.HasPrefix(first.String(), repository+"@sha256:") {
			t.Errorf("%s: printed %q, then %q", kind, &first, &second)
		}
		reference, err := name.ParseReference(repository + ":main")
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(reference)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if manifest.Annotations["org.opencontainers.image.revision"] != "main@1" || len(manifest.Layers) != 1 ||
			manifest.Config.MediaType != artifactKinds[kind].config || manifest.Layers[0].MediaType != artifactKinds[kind].layer {
			t.Errorf("%s: %+v", kind, manifest)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		packed, err := layers[0].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if got := names(t, packed); !slices.Equal(got, want) {
			t.Errorf("%s has %q, not %q", kind, got, want)
		}
	}
}

func names(t *testing.T, packed io.Reader) (found []string) {
	t.Helper()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, header.Name)
	}
}

func TestArtifactRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		`--kind is "zip"`:     {"artifact", "--kind", "zip", "--name", "localhost:1/a:b", "--from", t.TempDir()},
		"no such file":        {"artifact", "--kind", "flux", "--name", "localhost:1/a:b", "--from", "missing"},
		"is not a flag":       {"artifact", "more"},
		"missing port":        {"registry", "--listen", "127.0.0.1"},
		"there is no command": {"serve"},
	} {
		if err := run(args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := serveRegistry(t.Context(), taken.Addr().String(), io.Discard); err == nil {
		t.Error("a taken address is no error")
	}
}

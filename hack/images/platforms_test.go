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
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Images for several architectures have one digest, the same in the archive and in the registry, and each has its own program.
func TestArchitectures(t *testing.T) {
	web := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(web.Close)
	folder := t.TempDir()
	for _, architecture := range []string{"amd64", "arm64"} {
		if err := os.WriteFile(filepath.Join(folder, architecture), []byte("program for "+architecture), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	repository := strings.TrimPrefix(web.URL, "http://") + "/team/program"
	arguments := []string{"--name", repository + ":v1", "--arch", "amd64", "--arch", "arm64", "--file", folder + "/{arch}:/program", "--entrypoint", "/program"}
	printed, archive := build(t, append(arguments, "--push")...)
	again, second := build(t, arguments...)
	if printed != again {
		t.Errorf("the digest is %s at first and then %s", printed, again)
	}
	if a, b := read(t, archive), read(t, second); a != b {
		t.Error("the archives differ")
	}
	reference, err := name.NewDigest(printed)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(unpack(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	top, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	archived, err := top.ImageIndex(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(reference.DigestStr(), "sha256:")})
	if err != nil {
		t.Fatal(err)
	}
	for where, index := range map[string]v1.ImageIndex{"registry": pushed, "archive": archived} {
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(manifest.Manifests) != 2 {
			t.Fatalf("%s: %d images", where, len(manifest.Manifests))
		}
		for i, want := range []string{"amd64", "arm64"} {
			image, err := index.Image(manifest.Manifests[i].Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			layers, err := image.Layers()
			if err != nil {
				t.Fatal(err)
			}
			content, err := layers[0].Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			if got := string(files(t, content)["program"].content); got != "program for "+want || config.Architecture != want {
				t.Errorf("%s: %s has the program %q of %s", where, want, got, config.Architecture)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

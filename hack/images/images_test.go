package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(t *testing.T, args ...string) (printed, archive string) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "image.tar")
	var out bytes.Buffer
	if err := run(append([]string{"build", "--out", archive}, args...), &out); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), archive
}

// unpack writes the archive's files into a folder, as the OCI layout that it is.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files(t, open(t, archive)) {
		if hash, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && fmt.Sprintf("%x", sha256.Sum256(content.content)) != hash {
			t.Errorf("%s does not have its digest", name)
		}
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content.content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func open(t *testing.T, path string) io.Reader {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(raw)
}

type packed struct {
	mode    int64
	folder  bool
	content []byte
}

func files(t *testing.T, reader io.Reader) map[string]packed {
	t.Helper()
	found := map[string]packed{}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(time.Unix(0, 0)) || header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s depends on the time or the user: %v", header.Name, header)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = packed{mode: header.Mode, folder: header.Typeflag == tar.TypeDir, content: content}
	}
}

// image reads the archive back with the library's reader of OCI layouts.
func image(t *testing.T, archive, printed string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(unpack(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(printed, "@")
	hash, err := v1.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(hash)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestBuild(t *testing.T) {
	printed, archive := build(t, "--name", "registry.example:5000/team/app:v1", "--file", program(t)+":/usr/bin/app", "--file", program(t)+":/data/x:0640",
		"--entrypoint", "/usr/bin/app", "--entrypoint", "serve", "--cmd", "now", "--env", "A=b", "--label", "l=m")
	if !strings.HasPrefix(printed, "registry.example:5000/team/app@sha256:") {
		t.Fatalf("printed %q", printed)
	}
	image := image(t, archive, printed)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(config.Config)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Cmd":["now"],"Entrypoint":["/usr/bin/app","serve"],"Env":["A=b"],"Labels":{"l":"m"},"User":"65532:65532","WorkingDir":"/"}`
	if string(got) != want {
		t.Errorf("the configuration is %s", got)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(layers, err)
	}
	reader, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	content := files(t, reader)
	for name, mode := range map[string]int64{
		"usr/": 0o755, "usr/bin/": 0o755, "usr/bin/app": 0o755, "data/x": 0o640, "tmp/": 0o1777, "etc/passwd": 0o644, "etc/group": 0o644,
	} {
		if file, ok := content[name]; !ok || file.mode != mode || file.folder != strings.HasSuffix(name, "/") {
			t.Errorf("%s: %+v", name, file)
		}
	}
	if !strings.Contains(string(content["etc/passwd"].content), "nonroot:x:65532:65532:") {
		t.Errorf("passwd is %s", content["etc/passwd"].content)
	}
}

func TestTheSameInputGivesTheSameArchive(t *testing.T) {
	app := program(t)
	first, one := build(t, "--name", "a:b", "--file", app+":/app", "--label", "x=1", "--label", "y=2")
	if err := os.Chtimes(app, time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	second, two := build(t, "--name", "a:b", "--label", "y=2", "--label", "x=1", "--file", app+":/app")
	if first != second {
		t.Errorf("%s and %s", first, second)
	}
	a, _ := io.ReadAll(open(t, one))
	b, _ := io.ReadAll(open(t, two))
	if !bytes.Equal(a, b) {
		t.Error("the archives differ")
	}
	other, _ := build(t, "--name", "a:b", "--file", app+":/app:0500")
	if other == first {
		t.Error("another mode gives the same digest")
	}
}

func TestFoldersAreTakenWhole(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "sub", "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := collect(Spec{User: "0:0", Files: []string{folder + ":/srv"}})
	if err != nil {
		t.Fatal(err)
	}
	if e := entries["srv/sub/file"]; string(e.content) != "x" || e.mode != 0o644 {
		t.Errorf("%+v", e)
	}
	if e := entries["srv/sub"]; !e.folder || e.mode != 0o755 {
		t.Errorf("%+v", e)
	}
}

func TestRefusals(t *testing.T) {
	app := program(t)
	for _, test := range []struct {
		name, says string
		args       []string
	}{
		{"no command", `no command "push"`, []string{"push"}},
		{"no archive", "--out is missing", []string{"build", "--name", "a:b"}},
		{"no name", "--name", []string{"build", "--out", "x"}},
		{"no tag", "--name", []string{"build", "--out", "x", "--name", "registry.example:5000/app"}},
		{"upper case", "--name", []string{"build", "--out", "x", "--name", "App:v1"}},
		{"a user's name", "--user", []string{"build", "--out", "x", "--name", "a:b", "--user", "root"}},
		{"no place", "SOURCE:PATH", []string{"build", "--out", "x", "--name", "a:b", "--file", app}},
		{"a relative place", "SOURCE:PATH", []string{"build", "--out", "x", "--name", "a:b", "--file", app + ":app"}},
		{"the root as place", "SOURCE:PATH", []string{"build", "--out", "x", "--name", "a:b", "--file", app + ":/"}},
		{"a mode that is not octal", "octal", []string{"build", "--out", "x", "--name", "a:b", "--file", app + ":/app:rwx"}},
		{"a missing file", "no such file", []string{"build", "--out", "x", "--name", "a:b", "--file", app + "-none:/app"}},
		{"a file as a folder", "a file and a folder", []string{"build", "--out", "x", "--name", "a:b", "--file", app + ":/app", "--file", app + ":/app/x"}},
		{"no variable", "--env", []string{"build", "--out", "x", "--name", "a:b", "--env", "A"}},
		{"no label", "--label", []string{"build", "--out", "x", "--name", "a:b", "--label", "A"}},
		{"an argument that is no flag", "not a flag", []string{"build", "--out", "x", "--name", "a:b", "more"}},
		{"an unknown flag", "--help", []string{"build", "--pull"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := run(test.args, io.Discard); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
			if _, err := os.Stat("x"); err == nil {
				t.Error("it wrote an archive all the same")
			}
		})
	}
}

func TestCutTag(t *testing.T) {
	for _, test := range []struct{ name, repository, tag string }{
		{"a:b", "a", "b"}, {"h:5000/a", "h:5000/a", ""}, {"h:5000/a:b", "h:5000/a", "b"}, {"a", "a", ""},
	} {
		if repository, tag, _ := cutTag(test.name); repository != test.repository || tag != test.tag {
			t.Errorf("%s: %q %q", test.name, repository, tag)
		}
	}
}

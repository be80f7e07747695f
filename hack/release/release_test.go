package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// TestValuesNameTheImages: the chart of a release installs the images of that release, without a value.
func TestValuesNameTheImages(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", chartFolder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	gate := strings.ReplaceAll(digest, "1", "2")
	r := release{images: map[string]string{"manager": "registry.example/a/manager@" + digest, "authproxy": "registry.example/a/authproxy@" + gate}}
	content, err = r.values(content)
	if err != nil {
		t.Fatal(err)
	}
	type image struct{ Repository, Digest string }
	var values struct{ Images struct{ Manager, Gate image } }
	if err := yaml.Unmarshal(content, &values); err != nil {
		t.Fatal(err)
	}
	if values.Images.Manager != (image{"registry.example/a/manager", digest}) || values.Images.Gate != (image{"registry.example/a/authproxy", gate}) {
		t.Errorf("the images are %+v", values.Images)
	}
	if _, err := r.values(content); err == nil {
		t.Error("values that name no placeholder are accepted")
	}
}

func TestVersioned(t *testing.T) {
	got := string(versioned([]byte("apiVersion: v2\nversion: 0.1.0\nappVersion: 0.1.0\nkubeVersion: x\n"), "1.2.3"))
	if want := "apiVersion: v2\nversion: 1.2.3\nappVersion: 1.2.3\nkubeVersion: x\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVersionsAreChecked(t *testing.T) {
	for _, version := range []string{"", "dev", "1.2", "v1.2.3; rm", "v1.2.3\n"} {
		if err := run(context.Background(), []string{"--version", version, "--out", filepath.Join(t.TempDir(), "out")}); err == nil || !strings.Contains(err.Error(), "is not a version") {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// TestBill: every module that is linked is named, replaced ones by what replaces them, and everything by one identifier.
func TestBill(t *testing.T) {
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("somewhere", 3600))
	b := bill("manager_linux_amd64", "1.2.3", strings.Repeat("a", 64), made, &debug.BuildInfo{
		GoVersion: "go1.26.8", Main: debug.Module{Path: "example.com/main"},
		Deps: []*debug.Module{{Path: "example.com/a", Version: "v1.0.0"}, {Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/c", Version: "v2.0.0"}}},
	})
	if b.Creation.Created != "2026-01-02T02:04:05Z" {
		t.Errorf("created %s", b.Creation.Created)
	}
	var names []string
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range b.Packages {
		names = append(names, p.Name+" "+p.Version)
		if ids[p.ID] {
			t.Errorf("%s is there twice", p.ID)
		}
		ids[p.ID] = true
	}
	if got, want := strings.Join(names, ", "), "manager_linux_amd64 1.2.3, stdlib 1.26.8, example.com/a v1.0.0, example.com/c v2.0.0"; got != want {
		t.Errorf("the packages are %s, want %s", got, want)
	}
	for _, r := range b.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("%v names what is not there", r)
		}
	}
	if len(b.Relationships) != len(b.Packages) {
		t.Errorf("%d relationships of %d packages", len(b.Relationships), len(b.Packages))
	}
}

// TestProvenance: it names every image and every file by its digest, and the commit that they are made of.
func TestProvenance(t *testing.T) {
	r := release{version: "1.2.3", registry: "registry.example/a", architectures: []string{"amd64"}, out: t.TempDir(),
		images: map[string]string{"manager": "registry.example/a/manager@" + digest, "authproxy": "registry.example/a/authproxy@" + digest}}
	if err := os.WriteFile(filepath.Join(r.out, "install.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := r.statement("0123abcd")
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, subject := range s.Subject {
		subjects = append(subjects, subject.Name+" "+subject.Digest["sha256"])
	}
	want := "registry.example/a/manager " + digest[7:] + ", registry.example/a/authproxy " + digest[7:] +
		", install.yaml e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := strings.Join(subjects, ", "); got != want {
		t.Errorf("the subjects are %s, want %s", got, want)
	}
	if of := s.Predicate.Definition.Dependencies; len(of) != 1 || of[0].Digest["gitCommit"] != "0123abcd" {
		t.Errorf("made of %+v", of)
	}
	delete(r.images, "manager")
	if _, err := r.statement("0123abcd"); err == nil {
		t.Error("an image without a digest is accepted")
	}
}

// TestChecksums: what SECURITY.md says finds a file that is not the one that was released.
func TestChecksums(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile("(?ms)^<!-- run by: TestChecksums -->\n```sh\n(.*?)^```$").FindSubmatch(page)
	if command == nil {
		t.Fatal("SECURITY.md has no such command")
	}
	r := release{out: t.TempDir()}
	check := func() error {
		shell := exec.CommandContext(t.Context(), "sh", "-c", string(command[1]))
		shell.Dir = r.out
		return shell.Run()
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.out, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("manager", "one")
	write("not-downloaded", "another")
	if err := r.checksums(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.out, "not-downloaded")); err != nil {
		t.Fatal(err)
	}
	if err := check(); err != nil {
		t.Errorf("the files that were released: %v", err)
	}
	write("manager", "eno")
	if check() == nil {
		t.Error("another file was not noticed")
	}
}

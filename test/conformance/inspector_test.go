package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestConformanceInspector: the MCP Inspector's command line works in both eras against a server that offers to log, while
// no policy lets the client set the level: what it may not do it is not offered.
func TestConformanceInspector(t *testing.T) {
	node, modules := installed(t, "inspector-2.12.0-node-22.23.3", inspectorPackage)
	binary := filepath.Join(t.TempDir(), "everything-server")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, everythingServer).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for era, stateless := range map[string]bool{"modern": true, "legacy": false} {
		t.Run(era, func(t *testing.T) {
			server := serve(t, binary, stateless)
			for _, target := range []string{"http://" + server, gated(t, server)} {
				inspector := exec.CommandContext(t.Context(), node, filepath.Join(modules, "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js"),
					"--cli", "--protocol-era", era, "--transport", "http", "--server-url", target, "--method", "tools/list")
				inspector.Dir = t.TempDir()
				inspector.Env = append(os.Environ(), "HOME="+inspector.Dir)
				output, err := inspector.CombinedOutput()
				if err != nil || !strings.Contains(string(output), "test_simple_text") {
					t.Errorf("%s: %v\n%s", target, err, output)
				}
			}
		})
	}
}

package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestConformanceInspector: the MCP Inspector's command line works in both eras against a server that offers to log, while
// no policy lets the client set the level: what it may not do it is not offered. What it may do it
// does, and why it may not do the rest it reads.
func TestConformanceInspector(t *testing.T) {
	node, modules := installed(t, "inspector-2.12.0-node-22.23.3", inspectorPackage)
	launcher := filepath.Join(modules, "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
	binary := buildServer(t)
	for era, stateless := range map[string]bool{"modern": true, "legacy": false} {
		inspect := func(t *testing.T, target string, arguments ...string) (string, error) {
			inspector := exec.CommandContext(t.Context(), node, append([]string{launcher, "--cli", "--protocol-era", era, "--transport", "http",
				"--server-url", target, "--method"}, arguments...)...)
			inspector.Dir = t.TempDir()
			inspector.Env = append(os.Environ(), "HOME="+inspector.Dir)
			output, err := inspector.CombinedOutput()
			return string(output), err
		}
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			server := serve(t, binary, stateless)
			gate := gatedBy(t, server, limited())
			for _, test := range []struct {
				want, never string
				arguments   []string
			}{
				{"test_simple_text", "test_image_content", []string{"tools/list"}},
				{"This is a simple text response for testing.", "", []string{"tools/call", "--tool-name", "test_simple_text"}},
				{"arg1='one', arg2='two'", "", []string{"prompts/get", "--prompt-name", "test_prompt_with_arguments", "--prompt-args", "arg1=one", "arg2=two"}},
				{"This is the content of the static text resource.", "", []string{"resources/read", "--uri", "test://static-text"}},
			} {
				output, err := inspect(t, gate, test.arguments...)
				if err != nil || !strings.Contains(output, test.want) || test.never != "" && strings.Contains(output, test.never) {
					t.Errorf("%s: %v\n%s", test.arguments, err, output)
				}
			}
			// Without the gate there is what it leaves out.
			if output, err := inspect(t, "http://"+server, "tools/list"); err != nil || !strings.Contains(output, "test_image_content") {
				t.Errorf("%v\n%s", err, output)
			}
			for want, arguments := range map[string][]string{
				// It looks for a tool in the list first.
				"not found":       {"tools/call", "--tool-name", "test_image_content"},
				"MCPAccessPolicy": {"resources/read", "--uri", "test://static-binary"},
			} {
				if output, err := inspect(t, gate, arguments...); err == nil || !strings.Contains(output, want) {
					t.Errorf("%s: %v\n%s", arguments, err, output)
				}
			}
		})
	}
}

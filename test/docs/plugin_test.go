package docs_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestE2EPlugin runs the commands of the plugin's page on the cluster of the demo, and connects an MCP client that we did not write.
func TestE2EPlugin(t *testing.T) {
	dir := t.TempDir()
	variables, _ := readerEnvironment(t, dir)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "kubectl-mcp"), "./cmd/kubectl-mcp")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	runPage(t, "docs/kubectl-mcp.md", dir, variables, strings.NewReplacer(), 5)
	demo := strings.NewReplacer("NAMESPACE", "tools", "NAME", "kubernetes")
	runPage(t, "docs/posture.md", dir, variables, demo, 1)
	runPage(t, "docs/tools.md", dir, variables, demo, 1)
	runPage(t, "docs/demo.md", dir, variables, demo, 1)
	if page, err := os.ReadFile(filepath.Join(dir, "posture.html")); err != nil || !bytes.Contains(page, []byte("tools/kubernetes")) {
		t.Errorf("the report: %v, %d bytes", err, len(page))
	}

	var said bytes.Buffer
	connect := exec.CommandContext(t.Context(), filepath.Join(dir, "bin", "kubectl"), "mcp", "connect", "kubernetes", "--namespace", "tools", "--as-client", "assistants/assistant")
	connect.Env, connect.Stderr = append(os.Environ(), variables...), &said
	connect.Cancel = func() error { return connect.Process.Signal(syscall.SIGTERM) }
	connect.WaitDelay = 10 * time.Second
	out, err := connect.StdoutPipe()
	if err == nil {
		err = connect.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = connect.Process.Signal(syscall.SIGTERM)
		_ = connect.Wait()
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("no address: %v: %s", err, &said)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "docs", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: strings.TrimSpace(address)}, nil)
	if err != nil {
		t.Fatalf("connect to the plugin: %v: %s", err, &said)
	}
	defer func() { _ = session.Close() }()
	answer, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "pods_list_in_namespace", Arguments: map[string]any{"namespace": "tools"}})
	if err != nil || answer.IsError {
		t.Fatalf("the call: %v: %+v", err, answer)
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "pods_log", Arguments: map[string]any{"namespace": "tools", "name": "any"}}); err == nil {
		t.Error("a tool without a grant was called through the plugin")
	}
}

package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shop is what the pages' reader has.
const shop = `
apiVersion: bartizan.dev/v1alpha1
kind: MCPServer
metadata: {name: pods, namespace: shop}
spec:
  image: IMAGE
  transport: {type: StreamableHTTP, port: 8080, sessions: Stateless}
---
apiVersion: bartizan.dev/v1alpha1
kind: MCPClient
metadata: {name: me, namespace: shop}
spec: {servers: [{namespace: shop, name: pods}], podSelector: {matchLabels: {app: me}}}
---
apiVersion: bartizan.dev/v1alpha1
kind: MCPAccessPolicy
metadata: {name: me, namespace: shop}
spec:
  servers: {names: [pods]}
  rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: shop, name: me}}], tools: [echo]}]
`

// TestE2EShop brings a CA of the reader's own, as docs/certificates.md says, and then loses what docs/recovery.md says can be lost, and does
// what it says then.
func TestE2EShop(t *testing.T) {
	dir := t.TempDir()
	variables, images := readerEnvironment(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(strings.ReplaceAll(shop, "IMAGE", images["e2e-server"])), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(script string) {
		t.Helper()
		shell := exec.Command("bash", "-euxo", "pipefail", "-c", script)
		shell.Dir, shell.Env = dir, append(os.Environ(), variables...)
		if output, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	run(`kubectl create namespace shop
kubectl apply --server-side --filename shop.yaml
kubectl wait mcpclient/me mcpserver/pods --namespace shop --for condition=Ready --timeout 5m`)
	t.Cleanup(func() { run("kubectl delete namespace shop") })
	run(`go run "$(go env GOROOT)/src/crypto/tls/generate_cert.go" --ca --ecdsa-curve P256 --host corporate && mv cert.pem ca.crt && mv key.pem ca.key`)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "authproxy"), "./cmd/authproxy")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	runPage(t, "docs/audit.md", dir, variables, strings.NewReplacer(), 1)
	runPage(t, "docs/certificates.md", dir, variables, strings.NewReplacer(), 1)
	runPage(t, "docs/recovery.md", dir, variables, strings.NewReplacer(), 4)
}

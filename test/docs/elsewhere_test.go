package docs_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

const demoPage = "docs/demo.md"

// TestElsewhereDemo runs the demo and removes it again as the page says for a cluster of the reader's own: one that is reached by a kubeconfig
// alone, and whose nodes pull from a registry. It is the testbed, seen from within its network, where the registry listens. "make elsewhere" runs it.
func TestElsewhereDemo(t *testing.T) {
	cluster := environment(t)
	if len(cluster.Inside) == 0 {
		t.Fatal("the cluster is no testbed: unset BARTIZAN_CONTEXT and run go run ./hack/demo up")
	}
	const registry = "127.0.0.1:5000"
	dir := t.TempDir()
	inside := func(ctx context.Context, words ...string) *exec.Cmd {
		return exec.CommandContext(ctx, cluster.Inside[0], append(append([]string{}, cluster.Inside[1:]...), words...)...)
	}
	serve := inside(context.Background(), cluster.Builder, "registry", "--listen", registry)
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Kill()
		_ = serve.Wait()
	})
	controlplane.Eventually(t, time.Minute, func(ctx context.Context) error {
		return inside(ctx, "bash", "-c", "exec 3<>/dev/tcp/"+strings.Replace(registry, ":", "/", 1)).Run()
	})

	// For the commands, and not for the program that enters the network, which finds the testbed in the cache.
	within := append([]string{"env"}, ownCluster(t, cluster, dir)...)
	run := func(script string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		shell := inside(ctx, append(within, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, "registry.example/", registry+"/"))...)
		shell.Dir = root
		output, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		return string(output)
	}
	var commands []string
	for _, b := range blocks(pages(t)[demoPage]) {
		if b.mark == "run by: "+t.Name() {
			commands = append(commands, b.text)
		}
	}
	if len(commands) != 2 {
		t.Fatalf("%s has %d blocks for this test, and not two", demoPage, len(commands))
	}
	t.Logf("%s", run(commands[0]))
	const images = "kubectl get pods --all-namespaces --output jsonpath='{.items[*].spec.containers[*].image} {.items[*].spec.initContainers[*].image}'"
	pulled := run(images)
	for _, name := range []string{"manager", "authproxy", "kubernetes-mcp-server", "mcpclient"} {
		if !strings.Contains(pulled, registry+"/bartizan/"+name+"@sha256:") {
			t.Errorf("no pod runs %s from the registry: %s", name, pulled)
		}
	}
	t.Logf("%s", run(commands[1]))
	if left := run("kubectl get crd,namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies --output name"); strings.Contains(left, "bartizan") ||
		strings.Contains(left, "namespace/tools") || strings.Contains(left, "namespace/assistants") || strings.Contains(left, "namespace/secret-manager") {
		t.Errorf("something is left:\n%s", left)
	}
}

// ownCluster returns the variables of a reader with the context my-cluster in the kubeconfig, and with kubectl and helm. Compiled programs are those that
// are there; what tells other tests of their cluster is not touched.
func ownCluster(t *testing.T, cluster reachable, dir string) []string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	from := config.Contexts[config.CurrentContext]
	config.Clusters[from.Cluster].Server = "https://127.0.0.1:6443" // where it listens, within its network
	config.Contexts = map[string]*api.Context{"my-cluster": from, "another": from}
	config.CurrentContext = "another"
	kubeconfig, cache := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "cache", "bartizan")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	helm, err := toolchain.Helm3.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bin := kubectlIn(t, dir, "")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{filepath.Join(bin, "helm"): helm, filepath.Join(cache, "tools"): filepath.Dir(helm)}
	servers, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(helm)), "kubernetes-mcp-server-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range servers {
		links[filepath.Join(cache, filepath.Base(server))] = server
	}
	for link, to := range links {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	gocache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"KUBECONFIG=" + kubeconfig, "XDG_CACHE_HOME=" + filepath.Dir(cache), "GOCACHE=" + string(bytes.TrimSpace(gocache)),
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
}

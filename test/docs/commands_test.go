package docs_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestEveryCommandIsRun: each block of commands is executed by a test.
func TestEveryCommandIsRun(t *testing.T) {
	tests := allTests(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"../docs/*_test.go", "../gitops/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(content)
		}
	}
	onlyMake := regexp.MustCompile(`^(?:make [a-z0-9-]+ *(?:#.*)?\n)+$`)
	commands := 0
	for name, page := range pages(t) {
		for _, b := range blocks(page) {
			if b.language != "sh" {
				continue
			}
			commands++
			by, named := strings.CutPrefix(b.mark, "run by: ")
			target, made := strings.CutPrefix(by, "make ")
			switch {
			case b.run && !strings.Contains(sources.String(), `"`+name+`"`):
				t.Errorf("%s has commands to run, but no test runs the page", name)
			case b.run:
			case named && made && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(target)+`:`).Match(makefile):
				t.Errorf("%s: %q, which the Makefile does not have", name, b.mark)
			case named && !made && !tests[by]:
				t.Errorf("%s: %q, which is no test", name, b.mark)
			case !named && !onlyMake.MatchString(b.text):
				t.Errorf("%s: nothing says which test runs\n%s", name, b.text)
			}
		}
	}
	if commands < 30 {
		t.Errorf("only %d blocks of commands were found", commands)
	}
}

// TestIntegrationInstallCommands applies to an API server what docs/install.md and docs/gitops.md say beside Helm: the overlay, the one
// file, and what Argo CD has to know.
func TestIntegrationInstallCommands(t *testing.T) {
	config := controlplane.Start(t)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := controlplane.WriteKubeconfig(config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	manager, gate := "registry.example/manager@sha256:"+strings.Repeat("1", 64), "registry.example/gate@sha256:"+strings.Repeat("2", 64)
	variables := append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+kubectlIn(t, dir, "")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"MANAGER_IMAGE="+manager, "GATE_IMAGE="+gate)
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	run := func(folder, script string) {
		t.Helper()
		shell := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", script)
		shell.Dir, shell.Env = folder, variables
		if output, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	commands := func(page, with string) string {
		t.Helper()
		for _, b := range blocks(pages(t)[page]) {
			if b.language == "sh" && strings.Contains(b.text, with) && b.mark == "run by: TestIntegrationInstallCommands" {
				return b.text
			}
		}
		t.Fatalf("%s has no commands with %q", page, with)
		return ""
	}
	run(kustomization(t, dir, manager, gate), commands(installPage, "--kustomize ."))
	run(checkout, commands(installPage, "dist/install.yaml"))
	clients := kubernetes.NewForConfigOrDie(config)
	deployment, err := clients.AppsV1().Deployments("bartizan-system").Get(t.Context(), "bartizan-controller-manager", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := deployment.Spec.Template.Spec.Containers[0].Image; !strings.HasPrefix(image, "registry.example/manager@") {
		t.Errorf("the operator's image is %s", image)
	}

	run(checkout, "kubectl create namespace argocd && kubectl create configmap argocd-cm --namespace argocd --from-literal mine=kept")
	run(checkout, commands("docs/gitops.md", "argocd-cm"))
	settings, err := clients.CoreV1().ConfigMaps("argocd").Get(t.Context(), "argocd-cm", metav1.GetOptions{})
	if err != nil || settings.Data["mine"] != "kept" || !strings.Contains(settings.Data["resource.customizations"], "bartizan.dev/*") {
		t.Errorf("Argo CD's settings: %v, %v", settings.Data, err)
	}
}

// TestE2EInstallImages builds and pushes the images as docs/install.md says, to a registry of this machine.
func TestE2EInstallImages(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry := listener.Addr().String()
	_ = listener.Close()
	serve := exec.Command(environment(t).Builder, "registry", "--listen", registry)
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Kill()
		_ = serve.Wait()
	})
	controlplane.Eventually(t, time.Minute, func(context.Context) error {
		c, err := net.Dial("tcp", registry)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	for _, b := range blocks(pages(t)[installPage]) {
		if b.mark != "run by: TestE2EInstallImages" {
			continue
		}
		shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.NewReplacer("registry.example", registry, "/tmp/", t.TempDir()+"/").Replace(b.text))
		shell.Dir = root
		output, err := shell.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		for _, name := range []string{"manager", "authproxy"} {
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(registry+"/bartizan/"+name) + `@sha256:[0-9a-f]{64}$`).Match(output) {
				t.Errorf("there is no digest of %s in\n%s", name, output)
			}
		}
		return
	}
	t.Error("nothing was run")
}

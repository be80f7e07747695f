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

	"github.com/bartizan-dev/bartizan/hack/toolchain"
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

// TestIntegrationCommandsInRunningText runs what pages say beside their blocks of commands. It only reads: what does more belongs into a block.
func TestIntegrationCommandsInRunningText(t *testing.T) {
	config := controlplane.Start(t)
	controlplane.Install(t, config, controlplane.OpenReports)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := controlplane.WriteKubeconfig(config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	kubectl := filepath.Join(kubectlIn(t, dir, ""), "kubectl")
	all := pages(t)
	var inBlocks strings.Builder
	for _, page := range all {
		for _, b := range blocks(page) {
			inBlocks.WriteString(b.text)
		}
	}
	inText := regexp.MustCompile("`((?:kubectl|helm) [^`\n]+)`")
	reads := regexp.MustCompile(`^kubectl (get|describe|auth can-i) `)
	reader := strings.NewReplacer("NAMESPACE", "default", "<namespace>", "default", "USER", "somebody")
	ran := 0
	for name, page := range all {
		for _, match := range inText.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			command := match[1]
			if len(strings.Fields(command)) < 3 || strings.Contains(inBlocks.String(), command) {
				continue // the name of a command, or part of one that is run
			}
			if !reads.MatchString(command) {
				t.Errorf("%s: %q is run by no test: put it into a block of commands", name, command)
				continue
			}
			ran++
			shell := exec.CommandContext(t.Context(), "bash", "-c", reader.Replace(strings.Replace(command, "kubectl", kubectl, 1)))
			shell.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
			// "auth can-i" ends with 1 when the answer is no.
			var complaint strings.Builder
			shell.Stderr = &complaint
			if output, err := shell.Output(); err != nil && strings.TrimSpace(string(output)) != "no" {
				t.Errorf("%s: %s: %v\n%s%s", name, command, err, output, &complaint)
			}
		}
	}
	if ran < 5 {
		t.Errorf("only %d commands were run", ran)
	}
}

// TestIntegrationInstallCommands does on an API server what docs/install.md and docs/gitops.md say beside Helm's own: the overlay comes and goes, a
// release takes over what the one file installed, and goes, and Argo CD is told what it has to know.
func TestIntegrationInstallCommands(t *testing.T) {
	config := controlplane.Start(t, controlplane.Without(controlplane.Bartizan), controlplane.WithControllerManager())
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := controlplane.WriteKubeconfig(config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	manager, gate := "registry.example/manager@sha256:"+strings.Repeat("1", 64), "registry.example/gate@sha256:"+strings.Repeat("2", 64)
	bin := kubectlIn(t, dir, "")
	variables := append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"MANAGER_IMAGE="+manager, "GATE_IMAGE="+gate)
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	run := func(folder, script string) string {
		t.Helper()
		shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		shell.Dir, shell.Env = folder, variables
		output, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, output)
		}
		return string(output)
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
	const ours = "kubectl get crd,namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings --output go-template='" +
		`{{range .items}}{{.kind}}/{{.metadata.name}}{{with .metadata.annotations}} {{index . "meta.helm.sh/release-name"}}{{end}}{{"\n"}}{{end}}' | (grep bartizan || true)`
	nothing := func(after string) {
		t.Helper()
		if left := run(checkout, ours); left != "" {
			t.Errorf("after %s there is still:\n%s", after, left)
		}
	}

	overlay := kustomization(t, dir, manager, gate)
	run(overlay, commands(installPage, "apply --server-side --kustomize"))
	if there := run(checkout, ours); strings.Count(there, "\n") < 20 {
		t.Fatalf("the overlay has installed:\n%s", there)
	}
	run(overlay, commands(installPage, "kubectl delete --ignore-not-found"))
	nothing("the overlay's removal")

	release := filepath.Join(dir, "release")
	if err := os.CopyFS(filepath.Join(release, "charts"), os.DirFS(filepath.Join(checkout, "charts"))); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(pages(t)[installPage]) {
		if b.file == "values.yaml" {
			if err := os.WriteFile(filepath.Join(release, b.file), []byte(words(manager, gate).Replace(b.text)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	clients := kubernetes.NewForConfigOrDie(config)
	for name, helm := range map[string]struct {
		tool  toolchain.Tool
		flags string
	}{"Helm 3": {toolchain.Helm3, ""}, "Helm 4": {toolchain.Helm4, " --force-conflicts"}} {
		program, err := helm.tool.Path(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		run(bin, "ln -sf '"+program+"' helm")
		run(checkout, commands(installPage, "dist/install.yaml"))
		if !strings.Contains(pages(t)[installPage], "`"+strings.TrimSpace(helm.flags)+"`") && helm.flags != "" {
			t.Errorf("the page does not say%s", helm.flags)
		}
		run(release, strings.TrimSpace(commands(installPage, "--take-ownership"))+helm.flags)
		deployments, err := clients.AppsV1().Deployments("bartizan-system").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(deployments.Items) != 1 || deployments.Items[0].Spec.Template.Spec.Containers[0].Image != manager {
			t.Errorf("%s: the operators: %v, %v", name, deployments.Items, err)
		}
		for _, object := range strings.Split(strings.TrimSpace(run(checkout, ours)), "\n") {
			if !strings.HasSuffix(object, " bartizan") && !strings.HasPrefix(object, "Namespace/") {
				t.Errorf("%s: the release has not taken over %s", name, object)
			}
		}
		run(release, "helm uninstall bartizan --namespace bartizan-system")
		run(checkout, "kubectl create secret generic an-authority && kubectl label secret an-authority app.kubernetes.io/managed-by=bartizan app.kubernetes.io/name=authority")
		run(checkout, commands(installPage, "kubectl delete crd"))
		if left := run(checkout, "kubectl get secrets --output name"); strings.Contains(left, "an-authority") {
			t.Errorf("the keys of authorities are left: %s", left)
		}
		run(checkout, "kubectl delete namespace bartizan-system")
		nothing("the release of " + name + " is gone")
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

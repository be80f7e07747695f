package gitops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

const (
	root = "../.."
	page = root + "/docs/gitops.md"
	// registry is where Flux finds the fleet and the chart, in the cluster's network.
	registry = "127.0.0.1:5000"
)

// fleet is a cluster with Flux, a repository of its fleet, and a registry between them.
type fleet struct {
	client.Client
	config      *rest.Config
	environment environment
	// dir is the folder of the repository, and what programs find there.
	dir       string
	variables []string
	// blocks are the commands of the page that are not run yet.
	blocks []string
}

// environment is what "go run ./hack/demo up-flux" says of the cluster.
type environment struct {
	Kubeconfig string            `json:"kubeconfig"`
	AuditLog   string            `json:"auditLog"`
	Images     map[string]string `json:"images"`
	Inside     []string          `json:"inside"`
	Builder    string            `json:"builder"`
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	raw, err := os.ReadFile(filepath.Join(cache, "bartizan", "environment-flux.json"))
	if err != nil {
		t.Fatalf("no cluster with Flux to test on (%v): go run ./hack/demo up-flux", err)
	}
	f := &fleet{dir: t.TempDir()}
	must(t, json.Unmarshal(raw, &f.environment))
	f.config, err = clientcmd.BuildConfigFromFlags("", f.environment.Kubeconfig)
	must(t, err)
	f.config.QPS, f.config.Burst, f.config.WarningHandler = 200, 400, rest.NoWarnings{}
	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	f.Client, err = client.New(f.config, client.Options{Scheme: scheme})
	must(t, err)
	f.programs(t)
	f.serveRegistry(t)
	f.checkout(t)
	content, err := os.ReadFile(page)
	must(t, err)
	for _, match := range regexp.MustCompile("(?ms)^<!-- run -->\n```sh\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
		f.blocks = append(f.blocks, match[1])
	}
	return f
}

// programs puts kubectl and images, as the page calls them, on the path.
func (f *fleet) programs(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	for name, command := range map[string][]string{
		"kubectl": controlplane.KubectlCommand(t),
		"images":  append(f.environment.Inside, f.environment.Builder),
	} {
		script := "#!/bin/sh\nexec '" + strings.Join(command, "' '") + "' \"$@\"\n"
		must(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700))
	}
	f.variables = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "KUBECONFIG="+f.environment.Kubeconfig,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=Reader", "GIT_AUTHOR_EMAIL=reader@example.com",
		"GIT_COMMITTER_NAME=Reader", "GIT_COMMITTER_EMAIL=reader@example.com")
}

// serveRegistry serves a registry to the cluster's network until the test ends, with the chart of this checkout in it.
func (f *fleet) serveRegistry(t *testing.T) {
	t.Helper()
	command := append(append([]string{}, f.environment.Inside...), f.environment.Builder, "registry", "--listen", registry)
	serving := exec.Command(command[0], command[1:]...)
	serving.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the program and what it runs in the other network end together
	must(t, serving.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-serving.Process.Pid, syscall.SIGKILL)
		_ = serving.Wait()
	})
	chart, err := filepath.Abs(filepath.Join(root, "charts", "bartizan"))
	must(t, err)
	eventually(t, "the registry takes the chart", time.Minute, func(context.Context) error {
		_, err := f.run("images artifact --kind helm --name " + registry + "/charts/bartizan:0.1.0 --from '" + chart + "'")
		return err
	})
}

// checkout makes the repository from the sample, with what a reader puts in: the registry, the digests. Flux looks more often than it
// would have to, and keys are replaced each minute.
func (f *fleet) checkout(t *testing.T) {
	t.Helper()
	image := func(name string) string {
		repository, digest, _ := strings.Cut(f.environment.Images[name], "@")
		return fmt.Sprintf("{repository: %s, digest: %q}", repository, digest)
	}
	const unset = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	words := strings.NewReplacer(
		`{repository: registry.example/manager, digest: "`+unset[1:]+`"}`, image("manager"),
		`{repository: registry.example/authproxy, digest: "`+unset[1:]+`"}`, image("authproxy"),
		"registry.example/kubernetes-mcp-server"+unset, f.environment.Images["kubernetes-mcp-server"],
		"registry.example/notes"+unset, f.environment.Images["e2e-server"], "registry.example/search"+unset, f.environment.Images["e2e-server"],
		"url: oci://registry.example/", "insecure: true\n  url: oci://"+registry+"/",
		"  interval: 10m", "  interval: 15s", "  interval: 1m", "  interval: 5s", "retryInterval: 1m", "retryInterval: 15s",
		"interval: 24h}, overlap: 1h", "interval: 1m}, overlap: 1m",
	)
	sample := filepath.Join(root, "config", "samples", "gitops")
	must(t, filepath.WalkDir(sample, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(sample, path)
		if err != nil {
			return err
		}
		file := filepath.Join(f.dir, "fleet", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		text := words.Replace(string(content))
		if strings.Contains(text, "registry.example") {
			return fmt.Errorf("%s names registry.example still", name)
		}
		return os.WriteFile(file, []byte(text), 0o644)
	}))
	if output, err := f.run("git init --quiet --initial-branch main"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

// run runs commands of a shell in the repository.
func (f *fleet) run(commands string) (string, error) {
	// As long as the slowest wait of the page.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	shell.Dir, shell.Env = f.dir, f.variables
	output, err := shell.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("%s: %w: %s", commands, err, output)
	}
	return string(output), nil
}

// next runs the next commands of the page, which has to contain a text: the page and this test go together.
func (f *fleet) next(t *testing.T, contains string) {
	t.Helper()
	if len(f.blocks) == 0 || !strings.Contains(f.blocks[0], contains) {
		t.Fatalf("%s: the next commands are not about %q: %q", page, contains, f.blocks)
	}
	commands := strings.ReplaceAll(f.blocks[0], "registry.example/", registry+"/")
	f.blocks = f.blocks[1:]
	output, err := f.run(commands)
	must(t, err)
	t.Logf("%s\n%s", commands, output)
}

// commit is a commit of the test's own, with what the page does for each.
func (f *fleet) commit(t *testing.T, message, change string) {
	t.Helper()
	output, err := f.run(change + "\ngit commit --quiet --all --message '" + message + "'\n" +
		"images artifact --kind flux --name " + registry + `/fleet:main --from fleet --revision "main@sha1:$(git rev-parse HEAD)"`)
	must(t, err)
	t.Logf("%s: %s", message, output)
}

// call calls a tool of a server as the assistant.
func (f *fleet) call(server, tool, arguments string) (result.Result, error) {
	var got result.Result
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-c", `exec kubectl exec --namespace assistants assistant -- /mcpclient call --timeout 8s `+
		`--url "https://$0.tools.svc/mcp" --ca /assistant/ca.crt --key-file /assistant/api-key --cert /assistant/tls.crt --key /assistant/tls.key `+
		`--tool "$1" --args "$2"`, server, tool, arguments)
	command.Env = f.variables
	var said bytes.Buffer
	command.Stderr = &said
	printed, err := command.Output()
	// An exit code other than 0 comes with a result, too.
	if json.Unmarshal(printed, &got) != nil {
		return got, fmt.Errorf("calling %s of %s: %w: %s%s", tool, server, err, printed, said.String())
	}
	return got, nil
}

// becomes waits until a call ends as it should.
func (f *fleet) becomes(t *testing.T, want result.Outcome, server, tool, arguments string) {
	t.Helper()
	took := eventually(t, fmt.Sprintf("%s of %s is %s", tool, server, want), 2*time.Minute, func(context.Context) error {
		got, err := f.call(server, tool, arguments)
		if err == nil && got.Outcome != want {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	t.Logf("%s of %s is %s after %s", tool, server, want, took.Round(time.Second))
}

// must is for what the test itself does.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition, and returns how long it took.
func eventually(t *testing.T, what string, limit time.Duration, check func(context.Context) error) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return time.Since(began)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-time.After(time.Second):
		}
	}
}

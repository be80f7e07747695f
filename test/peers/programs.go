package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// builds are programs of Go, compiled once.
var builds sync.Map

// Program compiles the main package in a folder of the project, named from its root, and returns where it is.
func Program(ctx context.Context, folder string) (string, error) {
	once, _ := builds.LoadOrStore(folder, sync.OnceValues(func() (string, error) { return build(ctx, folder) }))
	return once.(func() (string, error))()
}

func build(ctx context.Context, folder string) (string, error) {
	module, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	root := filepath.Dir(strings.TrimSpace(string(module)))
	if root == "." || root == filepath.Dir(os.DevNull) {
		return "", errors.New("this is not within the project's module")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "bartizan", "peers")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	program := filepath.Join(cache, strings.ReplaceAll(folder, "/", "-"))
	// Another process may run the one that is there, or compile it too.
	partial := fmt.Sprintf("%s.%d", program, os.Getpid())
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", partial, ".")
	command.Dir = filepath.Join(root, folder)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s: %w: %s", folder, err, output)
	}
	return program, os.Rename(partial, program)
}

// withCores limits a program of Go as the others are.
func (s Setup) withCores(command *exec.Cmd) *exec.Cmd {
	command.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", s.Cores))
	return command
}

func kubeRBACProxy(ctx context.Context, s Setup, address string) (*exec.Cmd, error) {
	program, err := Program(ctx, "test/peers/kuberbacproxy")
	if err != nil {
		return nil, err
	}
	for _, file := range []string{"kube-rbac-proxy.yaml", "kubeconfig.yaml"} {
		if err := s.write(file, address); err != nil {
			return nil, err
		}
	}
	return s.withCores(exec.Command(program, "--secure-listen-address="+address, "--upstream=http://"+s.Upstream+"/", "--client-ca-file="+s.file("clients.crt"),
		"--tls-cert-file="+s.file("tls.crt"), "--tls-private-key-file="+s.file("tls.key"), "--tls-min-version=VersionTLS13",
		"--config-file="+s.file("kube-rbac-proxy.yaml"), "--kubeconfig="+s.file("kubeconfig.yaml"))), nil
}

func toolHive(ctx context.Context, s Setup, address string) (*exec.Cmd, error) {
	program, err := Program(ctx, "test/peers/toolhive")
	if err != nil {
		return nil, err
	}
	if err := s.write("toolhive.cedar", address); err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	return s.withCores(exec.Command(program, "-port", port, "-upstream", "http://"+s.Upstream, "-user", s.user(), "-policies", s.file("toolhive.cedar"))), nil
}

// ToolHiveFilter has ToolHive's filter cut an answer to tools/list to the first client's Grants again and again. It returns what one time
// takes, in nanoseconds, and the length of what is left.
func ToolHiveFilter(ctx context.Context, s Setup, answer []byte, count int) (nanoseconds float64, left int, err error) {
	program, err := Program(ctx, "test/peers/toolhive")
	if err != nil {
		return 0, 0, err
	}
	if err := s.write("toolhive.cedar", "127.0.0.1:0"); err != nil {
		return 0, 0, err
	}
	if err := os.WriteFile(s.file("answer.json"), answer, 0o600); err != nil {
		return 0, 0, err
	}
	command := exec.CommandContext(ctx, program, "-user", s.user(), "-policies", s.file("toolhive.cedar"), "-filter", s.file("answer.json"), "-count", fmt.Sprint(count))
	output, err := s.withCores(command).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", ToolHive, err, output)
	}
	if _, err := fmt.Sscan(string(output), &nanoseconds, &left); err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", ToolHive, err, output)
	}
	return nanoseconds, left, nil
}

func (s Setup) user() string {
	if len(s.Grants) == 0 {
		return "nobody"
	}
	return s.Grants[0].Client
}

func plain(ctx context.Context, p Peer, s Setup, address string) (*exec.Cmd, error) {
	program, err := Program(ctx, "test/peers/plain")
	if err != nil {
		return nil, err
	}
	return s.withCores(exec.Command(program, string(p), address, s.Upstream, s.Directory)), nil
}

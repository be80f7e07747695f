// Package toolchain compiles the tools that tests, checks and the demo use, from Go modules of their own under hack/tools, and
// keeps them in $XDG_CACHE_HOME/bartizan/tools: no tool is downloaded as a binary.
package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Tool is a program with a module under hack/tools.
type Tool struct {
	// module is the folder.
	module string
	// path is the main package.
	path string
	// flags are for the linker.
	flags string
	// from is the module that a copy is compiled of, in which the file without has other contents, instead: with its own it would bring in
	// far more than is needed.
	from, without, instead string
	// static is what the linker needs for a program with parts in C, which is to run where there is no C library.
	static string
}

// The tools. Helm takes the version of Kubernetes that "helm template" assumes from the linker, the later one from its modules.
var (
	Helm3 = Tool{module: "helm3", path: "helm.sh/helm/v3/cmd/helm", flags: "-X helm.sh/helm/v3/internal/version.version=v3.22.0" +
		" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37"}
	Helm4        = Tool{module: "helm4", path: "helm.sh/helm/v4/cmd/helm", flags: "-X helm.sh/helm/v4/internal/version.version=v4.3.1"}
	HelmUnittest = Tool{module: "unittest", path: "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"}
	Kubeconform  = Tool{module: "kubeconform", path: "github.com/yannh/kubeconform/cmd/kubeconform"}
	Kustomize    = Tool{module: "kustomize", path: "sigs.k8s.io/kustomize/kustomize/v5"}
	// Prometheus finds what it reads in its configuration, in files or in Kubernetes, and not in the clouds, whose libraries are half of it.
	Prometheus = Tool{
		module: "prometheus", path: "github.com/prometheus/prometheus/cmd/prometheus",
		from: "github.com/prometheus/prometheus", without: "plugins/plugins.go",
		instead: "package plugins\n\nimport _ \"github.com/prometheus/prometheus/discovery/kubernetes\"\n",
	}
)

// Dex is an identity provider, with which one test logs people in. No other needs it, so that it is not among All. It does not compile without
// SQLite, which is C.
var Dex = Tool{module: "dex", path: "github.com/dexidp/dex/cmd/dex", static: "-linkmode external -extldflags -static"}

// All are the tools that tests need. To compile them beforehand keeps that out of the tests' time limits.
var All = []Tool{Helm3, Helm4, HelmUnittest, Kubeconform, Kustomize, Prometheus}

// Path returns the tool's program, and compiles it if the cache does not have it. That takes a minute or two, once.
func (t Tool) Path(ctx context.Context) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, "hack", "tools", t.module)
	name, err := t.name(folder)
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "bartizan", "tools")
	program := filepath.Join(cache, name)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(program + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	partial := program + ".partial"
	if err := t.build(ctx, folder, partial); err != nil {
		return "", err
	}
	return program, os.Rename(partial, program)
}

// name changes with all that the program is made of.
func (t Tool) name(folder string) (string, error) {
	digest := sha256.New()
	fmt.Fprintln(digest, runtime.Version(), runtime.GOOS, runtime.GOARCH, t.path, t.flags+t.without+t.instead+t.static)
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return "", err
		}
		digest.Write(content)
	}
	return fmt.Sprintf("%s-%x", t.module, digest.Sum(nil)[:6]), nil
}

func (t Tool) build(ctx context.Context, folder, program string) error {
	fmt.Fprintf(os.Stderr, "compiling %s, once\n", t.path)
	cgo, tags := "CGO_ENABLED=0", ""
	if t.static != "" {
		cgo, tags = "CGO_ENABLED=1", "netgo,osusergo"
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags="+tags,
		"-ldflags="+strings.Join(strings.Fields("-s -w "+t.flags+" "+t.static), " "), "-o", program, t.path)
	command.Dir = folder
	if t.from != "" {
		copied, err := t.copy(ctx, folder)
		if err != nil {
			return err
		}
		defer os.RemoveAll(copied)
		command.Dir = copied
	}
	command.Env = append(os.Environ(), cgo)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in hack/tools/%s: %w: %s", t.path, t.module, err, output)
	}
	return nil
}

// copy copies the module with the other file into a folder, which the caller removes.
func (t Tool) copy(ctx context.Context, folder string) (string, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", t.from)
	command.Dir = folder
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("download %s in hack/tools/%s: %w: %s", t.from, t.module, err, output)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(output, &downloaded); err != nil {
		return "", err
	}
	copied, err := os.MkdirTemp("", "bartizan-"+t.module+"-")
	if err != nil {
		return "", err
	}
	if err = os.CopyFS(copied, os.DirFS(downloaded.Dir)); err == nil {
		changed := filepath.Join(copied, t.without)
		// What is in the module cache is read-only.
		if err = os.Remove(changed); err == nil {
			err = os.WriteFile(changed, []byte(t.instead), 0o600)
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(copied))
	}
	return copied, nil
}

// lock waits until nobody else compiles the same.
func lock(name string) (unlock func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	output, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := string(bytes.TrimSpace(output))
	if file == "" || file == os.DevNull {
		return "", fmt.Errorf("not inside a Go module")
	}
	return filepath.Dir(file), nil
}

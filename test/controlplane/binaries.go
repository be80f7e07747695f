package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// programs returns the beginning of the command line of a program by its name.
type programs func(name string) []string

var found = sync.OnceValues(find)

// KubectlCommand returns the beginning of the command line of kubectl.
func KubectlCommand(t testing.TB) []string {
	t.Helper()
	programs, err := found()
	if err != nil {
		t.Fatalf("control plane: %v", err)
	}
	return programs("kubectl")
}

// Kubectl runs kubectl without a cluster, as "kubectl kustomize" does, and returns its output.
func Kubectl(t testing.TB, arguments ...string) []byte {
	t.Helper()
	argv := append(KubectlCommand(t), arguments...)
	output, err := command(argv[0], argv[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(output)
}

// find finds etcd and the Kubernetes programs: in the folder that $KUBEBUILDER_ASSETS names, or else in what the testbed has
// compiled, or compiles now, which takes minutes the first time. The testbed obeys $BARTIZAN_KUBERNETES, a version.
func find() (programs, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		for _, program := range []string{"etcd", "kube-apiserver"} {
			if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
				return nil, fmt.Errorf("KUBEBUILDER_ASSETS names %s, but %w; unset it to use the testbed's programs", dir, err)
			}
		}
		return func(name string) []string { return []string{filepath.Join(dir, name)} }, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	build := exec.Command("go", "run", ".", "build", "--only", "control-plane")
	build.Dir = filepath.Join(root, "hack", "testbed")
	build.Stdout, build.Stderr = &output, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("compile the control plane: %s in %s: %w", build, build.Dir, err)
	}
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	all := lines[len(lines)-1]
	if _, err := os.Stat(all); err != nil {
		return nil, fmt.Errorf("%s in %s named no program: %w", build, build.Dir, err)
	}
	return func(name string) []string { return []string{all, name} }, nil
}

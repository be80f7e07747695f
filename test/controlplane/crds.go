package controlplane

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// externalSecretsModule is the release whose CRDs are used: the oldest that the operator works with, and the one that runs
// on the testbed. The module with the types does not ship them.
const externalSecretsModule = "github.com/external-secrets/external-secrets@v0.20.4"

// CRDs returns the files with the CRDs of an API group.
func CRDs(group string) ([]string, error) {
	switch group {
	case Bartizan:
		root, err := moduleRoot()
		if err != nil {
			return nil, err
		}
		return filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	case CertManager:
		dir, err := command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager")
		if err != nil {
			return nil, err
		}
		return filepath.Glob(filepath.Join(dir, "deploy", "crds", "cert-manager.io_*.yaml"))
	case ExternalSecrets:
		output, err := command("go", "mod", "download", "-json", externalSecretsModule)
		if err != nil {
			return nil, err
		}
		var module struct{ Dir string }
		if err := json.Unmarshal([]byte(output), &module); err != nil {
			return nil, fmt.Errorf("go mod download -json %s: %w", externalSecretsModule, err)
		}
		return filepath.Glob(filepath.Join(module.Dir, "config", "crds", "bases", "external-secrets.io_*.yaml"))
	}
	return nil, fmt.Errorf("no CRDs are known for the API group %q", group)
}

func install(config *rest.Config, group string) error {
	files, err := CRDs(group)
	if err != nil {
		return fmt.Errorf("find the CRDs of %s: %w", group, err)
	}
	if len(files) == 0 {
		return fmt.Errorf("find the CRDs of %s: there is no file", group)
	}
	_, err = envtest.InstallCRDs(config, envtest.CRDInstallOptions{Paths: files, ErrorIfPathMissing: true, MaxTime: time.Minute})
	if err != nil {
		return fmt.Errorf("install the CRDs of %s: %w", group, err)
	}
	return nil
}

// moduleRoot returns the folder of the go.mod that the tests run in.
func moduleRoot() (string, error) {
	file, err := command("go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	if file == "" || file == os.DevNull {
		return "", fmt.Errorf("not inside a Go module")
	}
	return filepath.Dir(file), nil
}

// command returns the output of a program without the surrounding white space.
func command(name string, arguments ...string) (string, error) {
	var output, complaint bytes.Buffer
	c := exec.Command(name, arguments...)
	c.Stdout, c.Stderr = &output, &complaint
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", c, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return string(bytes.TrimSpace(output.Bytes())), nil
}

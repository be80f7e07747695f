package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// externalSecretsModule is the release whose CRDs are used: the oldest that the operator works with, and the one that runs
// on the testbed. The module with the types does not ship them.
const externalSecretsModule = "github.com/external-secrets/external-secrets@v0.20.4"

// monitoringModule is the release of the Prometheus operator whose CRDs are used.
const monitoringModule = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

// Releases whose CRDs are used, and nothing else of them.
const (
	toolHiveModule    = "github.com/stacklok/toolhive@v0.47.0"
	openReportsModule = "github.com/openreports/reports-api@v0.2.1"
	trivyModule       = "github.com/aquasecurity/trivy-operator@v0.28.0"
	kyvernoModule     = "github.com/kyverno/kyverno@v1.13.4"
)

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
		return inModule(externalSecretsModule, "config/crds/bases/external-secrets.io_*.yaml")
	case Monitoring:
		return inModule(monitoringModule, "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml")
	case ToolHive:
		return inModule(toolHiveModule, "deploy/charts/operator-crds/files/crds/toolhive.stacklok.dev_mcpservers.yaml")
	case OpenReports:
		return inModule(openReportsModule, "config/crd/openreports.io_reports.yaml")
	case Trivy:
		return inModule(trivyModule, "deploy/helm/crds/aquasecurity.github.io_[sv]*reports.yaml")
	case PolicyReports:
		return inModule(kyvernoModule, "config/crds/policyreport/wgpolicyk8s.io_policyreports.yaml")
	}
	return nil, fmt.Errorf("no CRDs are known for the API group %q", group)
}

// inModule returns files of a module that go.mod does not name.
func inModule(module, pattern string) ([]string, error) {
	output, err := command("go", "mod", "download", "-json", module)
	if err != nil {
		return nil, err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal([]byte(output), &downloaded); err != nil {
		return nil, fmt.Errorf("go mod download -json %s: %w", module, err)
	}
	return filepath.Glob(filepath.Join(downloaded.Dir, filepath.FromSlash(pattern)))
}

func install(config *rest.Config, group string) error {
	files, err := CRDs(group)
	if err != nil {
		return fmt.Errorf("find the CRDs of %s: %w", group, err)
	}
	if len(files) == 0 {
		return fmt.Errorf("find the CRDs of %s: there is no file", group)
	}
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	var names []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(content, crd); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if _, err := crds.Create(ctx, crd, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("install the CRDs of %s: %w", group, err)
		}
		names = append(names, crd.Name)
	}
	for _, name := range names {
		if err := established(ctx, client, name); err != nil {
			return fmt.Errorf("the CRD %s is not served: %w", name, err)
		}
	}
	return nil
}

// established waits until the API server serves the kind.
func established(ctx context.Context, client clientset.Interface, name string) error {
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		crd, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, version := range crd.Spec.Versions {
			if !version.Served {
				continue
			}
			list, err := client.Discovery().ServerResourcesForGroupVersion(crd.Spec.Group + "/" + version.Name)
			if err != nil || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == crd.Spec.Names.Plural }) {
				return false, nil //nolint:nilerr // The group is not there yet.
			}
		}
		return true, nil
	})
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

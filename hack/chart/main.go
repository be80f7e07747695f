// Command chart writes what the Helm chart has from elsewhere: the CustomResourceDefinitions, admission policies, roles, alert
// rules and dashboard of config/, and a README made of the comments in values.yaml. "make generate" runs it, so that nothing of it drifts.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const chart = "charts/bartizan"

// roles are the files of config/rbac that the chart's templates read, by their names there.
var roles = map[string]string{
	"manager_role.yaml":         "manager/role.yaml",
	"leader_election_role.yaml": "operator/leader_election_role.yaml",
	"metrics_auth_role.yaml":    "operator/metrics_auth_role.yaml",
	"metrics_reader_role.yaml":  "operator/metrics_reader_role.yaml",
	"token_issuer_role.yaml":    "operator/token_issuer_role.yaml",
	"verification_role.yaml":    "operator/verification_role.yaml",
	"discovery_role.yaml":       "discovery/discovery_role.yaml",
	"mcp_editor_role.yaml":      "users/mcp_editor_role.yaml",
	"mcp_viewer_role.yaml":      "users/mcp_viewer_role.yaml",
}

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	sources := map[string]string{}
	for name, source := range roles {
		sources[filepath.Join("rbac", name)] = filepath.Join("config/rbac", source)
	}
	for _, name := range []string{"prometheusrule.yaml", "bartizan.json"} {
		sources[filepath.Join("monitoring", name)] = filepath.Join("config/monitoring", name)
	}
	policies, err := filepath.Glob(filepath.Join(root, "config/admission/profile-*.yaml"))
	if err != nil {
		return err
	}
	if len(policies) == 0 {
		return fmt.Errorf("config/admission has no policy")
	}
	for _, policy := range policies {
		name := filepath.Base(policy)
		sources[filepath.Join("admission", name)] = filepath.Join("config/admission", name)
	}
	definitions, err := filepath.Glob(filepath.Join(root, "config/crd/bases/*.yaml"))
	if err != nil {
		return err
	}
	if len(definitions) == 0 {
		return fmt.Errorf("config/crd/bases has no CustomResourceDefinition")
	}
	for _, definition := range definitions {
		name := filepath.Base(definition)
		sources[filepath.Join("crds", name)] = filepath.Join("config/crd/bases", name)
	}
	files := filepath.Join(root, chart, "files")
	if err := os.RemoveAll(files); err != nil {
		return err
	}
	for target, source := range sources {
		if err := copyFile(filepath.Join(root, source), filepath.Join(files, target)); err != nil {
			return err
		}
	}
	values, err := os.ReadFile(filepath.Join(root, chart, "values.yaml"))
	if err != nil {
		return err
	}
	page, err := readme(values)
	if err != nil {
		return fmt.Errorf("%s/values.yaml: %w", chart, err)
	}
	return os.WriteFile(filepath.Join(root, chart, "README.md"), page, 0o644)
}

func copyFile(source, target string) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, content, 0o644)
}

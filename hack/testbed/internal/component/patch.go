package component

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A Patch is a module that cannot be built as it is published within the testbed's time. The component's go.mod replaces it by ./module, which is a
// copy of the published module without some files and with the files of the component's folder overlay/.
type Patch struct {
	Module, Version string
	// Sum is the published module's checksum, as go.sum has it: go.sum knows no replaced modules.
	Sum string
	// Remove are files of the module that are left out.
	Remove []string
}

// external-secrets registers every cloud's provider. Only those of overlay/ are left. Its webhooks, which the testbed does not run, go too, so
// that it compiles with the same client libraries as the other components, and with what they have compiled already.
var externalSecretsPatch = Patch{
	Module: "github.com/external-secrets/external-secrets", Version: "v0.20.4",
	Sum: "h1:HhNAjWfFEshhItphr28SGsHzf2bUP7uDAOVLg76uNAg=",
	Remove: []string{
		"cmd/controller/webhook.go",
		"apis/externalsecrets/v1/externalsecret_webhook.go",
		"apis/externalsecrets/v1/secretstore_webhook.go",
		"apis/externalsecrets/v1beta1/externalsecret_webhook.go",
		"apis/externalsecrets/v1beta1/secretstore_webhook.go",
	},
}

// assemble makes the folder that a component is built in.
func (b *Builder) assemble(ctx context.Context, c Component) (string, error) {
	source := b.source(c)
	if c.Patch == nil {
		return source, nil
	}
	published, err := b.download(ctx, c.Patch)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(b.Cache, "src", c.Name)
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	module := filepath.Join(folder, "module")
	for _, copied := range []struct{ to, from string }{{folder, source}, {module, published}, {module, filepath.Join(source, "overlay")}} {
		if err := copyTree(copied.to, copied.from); err != nil {
			return "", err
		}
	}
	for _, file := range append([]string{"../overlay"}, c.Patch.Remove...) {
		if err := os.RemoveAll(filepath.Join(module, file)); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// download fetches the published module and checks that it is the one that was meant.
func (b *Builder) download(ctx context.Context, p *Patch) (folder string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", p.Module+"@"+p.Version)
	cmd.Dir = os.TempDir() // outside of any module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	raw, runErr := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if err := json.Unmarshal(raw, &module); err != nil {
		return "", fmt.Errorf("downloading %s: %w", p.Module, runErr)
	}
	if module.Error != "" {
		return "", fmt.Errorf("downloading %s: %s", p.Module, module.Error)
	}
	if module.Sum != p.Sum {
		return "", fmt.Errorf("%s %s has the checksum %s and not %s, which was pinned in %s", p.Module, p.Version, module.Sum, p.Sum, "patch.go")
	}
	return module.Dir, nil
}

// copyTree copies files as writable ones: those of the module cache are not. It overwrites, as an overlay does.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}

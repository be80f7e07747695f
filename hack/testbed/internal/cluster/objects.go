package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
)

//go:embed manifests/audit.yaml
var auditPolicy []byte

//go:embed manifests/addons.yaml
var addons []byte

const crdCollection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// createAddons makes the objects that the cluster itself has.
func createAddons(ctx context.Context, client *api) error {
	for document := range bytes.SplitSeq(bytes.ReplaceAll(addons, []byte("@DNS_IMAGE@"), []byte(dnsImage)), []byte("\n---\n")) {
		collection, object, _ := bytes.Cut(document, []byte("\n"))
		path, ok := bytes.CutPrefix(collection, []byte("# "))
		if !ok {
			return fmt.Errorf("an object of addons.yaml does not start with a comment that says where it belongs: %.60q", collection)
		}
		if err := client.create(ctx, string(path), object); err != nil {
			return err
		}
	}
	return nil
}

// createCRDs makes the CustomResourceDefinitions of these files, side by side.
func createCRDs(ctx context.Context, client *api, files []string) error {
	var all sync.WaitGroup
	errs := make([]error, len(files))
	for i, file := range files {
		all.Go(func() {
			crd, err := os.ReadFile(file)
			if err == nil {
				err = client.create(ctx, crdCollection, crd)
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// crdsServed is nil once the resources of these files, whose names are GROUP_RESOURCE.yaml, are served.
func crdsServed(ctx context.Context, client *api, files []string) error {
	served, err := client.served(ctx)
	if err != nil {
		return err
	}
	for _, file := range files {
		group, resource, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".yaml"), "_")
		if name := resource + "." + group; !served[name] {
			return fmt.Errorf("%s is not served yet", name)
		}
	}
	return nil
}

// crdFiles are those of components that have CustomResourceDefinitions.
func crdFiles(built map[string]component.Built) ([]string, error) {
	var files []string
	for _, b := range built {
		if b.CRDs == "" {
			continue
		}
		found, err := filepath.Glob(filepath.Join(b.CRDs, "*.yaml"))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return files, nil
}

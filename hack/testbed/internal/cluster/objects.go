package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
)

//go:embed manifests/addons.yaml
var addons []byte

const crdCollection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// createObjects makes the objects that the cluster itself has: DNS first, whose pod starts while the many and large CRDs are made.
func (c *Cluster) createObjects(ctx context.Context, built map[string]component.Built) error {
	if err := c.waitForAPI(ctx); err != nil {
		return err
	}
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	if err := c.createAddons(ctx, client); err != nil {
		return err
	}
	var crds []string
	for _, b := range []component.Component{component.CertManager, component.ExternalSecrets} {
		files, err := filepath.Glob(filepath.Join(built[b.Name].CRDs, "*.yaml"))
		if err != nil {
			return err
		}
		crds = append(crds, files...)
	}
	return c.createCRDs(ctx, client, crds)
}

func (c *Cluster) createAddons(ctx context.Context, client *api) error {
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

// createCRDs makes them side by side and waits until all are served: a controller that starts earlier ends.
func (c *Cluster) createCRDs(ctx context.Context, client *api, files []string) error {
	var all sync.WaitGroup
	errs := make(chan error, len(files))
	for _, file := range files {
		all.Go(func() {
			crd, err := os.ReadFile(file)
			if err == nil {
				err = client.create(ctx, crdCollection, crd)
			}
			errs <- err
		})
	}
	all.Wait()
	for range files {
		if err := <-errs; err != nil {
			return err
		}
	}
	var list struct{ Items []conditions }
	return c.wait(ctx, "all CustomResourceDefinitions are served", patience, func(ctx context.Context) error {
		if err := client.get(ctx, crdCollection, &list); err != nil {
			return err
		}
		for _, crd := range list.Items {
			if err := crd.is("Established"); err != nil {
				return err
			}
		}
		return nil
	})
}

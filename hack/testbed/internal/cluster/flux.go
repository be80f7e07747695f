package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
)

// fluxNamespace is where Flux's controllers say that they run.
const fluxNamespace = "flux-system"

// AddFlux adds Flux's controllers to a cluster that is up. Later, up heals them and down takes them down, like every part.
func (c *Cluster) AddFlux(ctx context.Context) error {
	unlock, err := c.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.Open(); err != nil {
		return fmt.Errorf("%w (%s); start one with up", err, c.Dir)
	}
	if c.state.Mode != Full || !c.state.Ready {
		return errors.New("Flux needs a whole cluster that is up: run up first, without --only")
	}
	if slices.ContainsFunc(c.state.Parts, func(p part) bool { return p.Name == component.Flux[0].Name }) {
		return c.heal(ctx)
	}
	built, err := c.Builder.Build(ctx, component.Flux...)
	if err != nil {
		return err
	}
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	files, err := crdFiles(built)
	if err != nil {
		return err
	}
	if err := createCRDs(ctx, client, files); err != nil {
		return err
	}
	if err := client.create(ctx, "/api/v1/namespaces", []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+fluxNamespace+`"}}`)); err != nil {
		return err
	}
	if err := c.wait(ctx, "Flux's CustomResourceDefinitions are served", patience, func(ctx context.Context) error { return crdsServed(ctx, client, files) }); err != nil {
		return err
	}
	if err := os.MkdirAll(c.path("flux"), 0o700); err != nil {
		return err
	}
	for i, controller := range component.Flux {
		port := 9790 + 10*i
		arguments := []string{
			"--watch-all-namespaces", "--events-addr=", "--enable-leader-election=false",
			fmt.Sprintf("--metrics-addr=127.0.0.1:%d", port+1), fmt.Sprintf("--health-addr=127.0.0.1:%d", port+2),
		}
		if strings.HasSuffix(controller.Package, "/source-controller") {
			arguments = append(arguments, "--storage-path="+c.path("flux"),
				fmt.Sprintf("--storage-addr=127.0.0.1:%d", port), fmt.Sprintf("--storage-adv-addr=127.0.0.1:%d", port))
		}
		spec := c.inner(controller.Name, built[controller.Name].Binary, arguments...)
		spec.Env = []string{"KUBECONFIG=" + c.InnerKubeconfig(), "RUNTIME_NAMESPACE=" + fluxNamespace}
		if err := c.start(spec); err != nil {
			return err
		}
	}
	c.Say("Flux runs")
	return c.save()
}

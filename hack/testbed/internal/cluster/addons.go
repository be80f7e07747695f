package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

//go:embed manifests/addons.yaml
var addons []byte

// startAddons applies the addons' objects and starts those that run outside of pods.
func (c *Cluster) startAddons(ctx context.Context, built map[string]component.Built) error {
	kubernetes := built[component.Kubernetes.Name].Binary
	if err := os.WriteFile(c.path("addons.yaml"), bytes.ReplaceAll(addons, []byte("@DNS_IMAGE@"), []byte(dnsImage)), 0o600); err != nil {
		return err
	}
	// DNS first: its pod starts while the many CRDs are applied.
	if err := c.apply(ctx, kubernetes, c.path("addons.yaml")); err != nil {
		return err
	}
	if err := c.apply(ctx, kubernetes, built[component.CertManager.Name].CRDs, built[component.ExternalSecrets.Name].CRDs); err != nil {
		return err
	}
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	for _, crd := range []string{"certificates.cert-manager.io", "pushsecrets.external-secrets.io", "externalsecrets.external-secrets.io"} {
		if err := c.wait(ctx, "the CRDs are served", 30*time.Second, func(ctx context.Context) error {
			return client.condition(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+crd, "Established")
		}); err != nil {
			return err
		}
	}
	externalSecrets := c.inner("external-secrets", built[component.ExternalSecrets.Name].Binary,
		"--enable-leader-election=false", "--metrics-addr=0", "--live-addr=0", "--concurrent=4")
	externalSecrets.Env = []string{"KUBECONFIG=" + c.path("pki/externalsecrets.kubeconfig")}
	for _, spec := range []process.Spec{
		c.inner("kube-router", built[component.KubeRouter.Name].Binary, "--kubeconfig="+c.path("pki/kuberouter.kubeconfig"),
			"--hostname-override="+nodeName, "--run-router=false", "--run-service-proxy=false", "--run-firewall=true", "--metrics-port=0",
			"--service-cluster-ip-range="+serviceCIDR),
		c.inner("cert-manager", built[component.CertManager.Name].Binary, "--kubeconfig="+c.path("pki/certmanager.kubeconfig")),
		externalSecrets,
	} {
		if err := c.start(spec); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) apply(ctx context.Context, kubernetes string, files ...string) error {
	args := []string{"kubectl", "--kubeconfig", c.Kubeconfig(), "apply", "--server-side", "--force-conflicts", "--field-manager=testbed"}
	for _, file := range files {
		args = append(args, "-f", file)
	}
	if output, err := exec.CommandContext(ctx, kubernetes, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("applying objects: %w: %s", err, output)
	}
	return nil
}

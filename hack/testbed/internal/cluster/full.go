package cluster

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// The full cluster's addresses and names; all are inside its own network namespace.
const (
	nodeName    = "testbed"
	nodeAddress = "172.30.0.1"
	podCIDR     = "10.244.0.0/16"
	nodePodCIDR = "10.244.0.0/24"
	serviceDNS  = "10.96.0.10"
	innerServer = "https://127.0.0.1:6443"
)

// upFull brings up everything. It needs root.
func (c *Cluster) upFull(ctx context.Context) error {
	if err := preflight(); err != nil {
		return err
	}
	all, err := component.All()
	if err != nil {
		return err
	}
	built, err := c.Builder.Build(ctx, all...)
	if err != nil {
		return err
	}
	begin := time.Now()
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	c.state = state{Mode: Full, Server: "https://127.0.0.1:" + strconv.Itoa(ports[0])}
	if err := c.prepare(); err != nil {
		return err
	}
	steps := []struct {
		what string
		run  func(context.Context, map[string]component.Built) error
	}{
		{"namespaces", c.makeNamespaces},
		{"credentials", c.makeFullCredentials},
		{"etcd, API server and containerd", c.startCore},
		{"images, while the API server starts", c.loadOwnImages},
		{"node, controllers and network, while CustomResourceDefinitions are made", c.startNode},
		{"cert-manager and external-secrets", c.startAddons},
		{"everything ready", func(ctx context.Context, _ map[string]component.Built) error { return c.waitHealthy(ctx) }},
	}
	for i, step := range steps {
		started := time.Now()
		if err := step.run(ctx, built); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		c.Say("%d/%d %s: %.1fs", i+1, len(steps), step.what, time.Since(started).Seconds())
	}
	c.Say("up after %.1fs", time.Since(begin).Seconds())
	return nil
}

// makeNamespaces starts the anchor, which makes the namespaces and everything in them, and waits for it.
func (c *Cluster) makeNamespaces(ctx context.Context, _ map[string]component.Built) error {
	unlock, err := c.lockHostFolders()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.makeHostFolders(); err != nil {
		return err
	}
	if err := c.makeCgroups(); err != nil {
		return err
	}
	if err := c.start(process.Spec{Name: anchorName, Path: self, Args: []string{anchorName, "--dir", c.Dir}, Namespaced: true}); err != nil {
		return err
	}
	if err := c.wait(ctx, "the namespaces are made", patience, func(context.Context) error {
		_, err := os.Stat(c.path("anchor-ready"))
		return err
	}); err != nil {
		return err
	}
	c.state.NetNS = process.Namespace(c.state.Parts[0].PID, "net")
	return c.save()
}

func (c *Cluster) makeFullCredentials(context.Context, map[string]component.Built) error {
	creds, err := c.makeCredentials([]string{
		"127.0.0.1", nodeAddress, serviceAPIServer, "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	})
	if err != nil {
		return err
	}
	now := time.Now()
	kubeletServer, err := creds.ca.Server("system:node:"+nodeName, []string{nodeAddress, nodeName}, now)
	if err := c.writePair("kubelet", kubeletServer, err); err != nil {
		return err
	}
	kubeletClient, err := creds.ca.Client("kube-apiserver-kubelet-client", []string{"system:masters"}, now)
	if err := c.writePair("apiserver-kubelet-client", kubeletClient, err); err != nil {
		return err
	}
	for _, identity := range []struct{ file, server, user, group string }{
		{"kubeconfig", c.state.Server, "testbed-admin", "system:masters"},
		{"kubeconfig-inside", innerServer, "testbed-admin", "system:masters"},
		{"pki/kubelet.kubeconfig", innerServer, "system:node:" + nodeName, "system:nodes"},
		{"pki/kube-controller-manager.kubeconfig", innerServer, "system:kube-controller-manager", ""},
		{"pki/kube-scheduler.kubeconfig", innerServer, "system:kube-scheduler", ""},
		{"pki/kube-proxy.kubeconfig", innerServer, "system:kube-proxy", ""},
		{"pki/kuberouter.kubeconfig", innerServer, "testbed:kube-router", "system:masters"},
		{"pki/certmanager.kubeconfig", innerServer, "testbed:cert-manager", "system:masters"},
		{"pki/externalsecrets.kubeconfig", innerServer, "testbed:external-secrets", "system:masters"},
	} {
		var groups []string
		if identity.group != "" {
			groups = []string{identity.group}
		}
		if err := c.makeKubeconfig(creds, identity.file, identity.server, identity.user, groups...); err != nil {
			return err
		}
	}
	return nil
}

// startCore starts what needs nothing else, and waits for the API server and containerd.
func (c *Cluster) startCore(ctx context.Context, built map[string]component.Built) error {
	kubernetes := built[component.Kubernetes.Name].Binary
	if err := os.WriteFile(c.path("audit-policy.yaml"), auditPolicy, 0o600); err != nil {
		return err
	}
	server, err := component.APIServer()
	if err != nil {
		return err
	}
	at := endpoints{etcdClient: 2379, etcdPeer: 2380, apiServer: 6443, bind: "0.0.0.0"}
	etcd := etcdSpec(c.path("etcd"), []string{kubernetes, "etcd"}, at)
	apiServer := apiServerSpec(c.path("pki"), []string{built[server.Name].Binary, "kube-apiserver"}, at,
		"--advertise-address="+nodeAddress, "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-certificate-authority="+c.path("pki/ca.crt"),
		"--kubelet-client-certificate="+c.path("pki/apiserver-kubelet-client.crt"), "--kubelet-client-key="+c.path("pki/apiserver-kubelet-client.key"),
		"--audit-policy-file="+c.path("audit-policy.yaml"), "--audit-log-path="+c.AuditLog(), "--audit-log-maxsize=10240",
	)
	etcd.Namespaced, apiServer.Namespaced = true, true
	containerd, err := c.containerdSpec()
	if err != nil {
		return err
	}
	for _, spec := range []process.Spec{etcd, apiServer, containerd, c.forwardSpec()} {
		if err := c.start(spec); err != nil {
			return err
		}
	}
	return c.wait(ctx, "containerd serves", patience, func(ctx context.Context) error { return c.ctr(ctx, nil, "version") })
}

func (c *Cluster) loadOwnImages(ctx context.Context, built map[string]component.Built) error {
	for _, image := range []struct {
		component component.Component
		name      string
		user      string
	}{{component.Pause, pauseImage, "65532:65532"}, {component.CoreDNS, dnsImage, "0:0"}} {
		archive, err := c.BuildImage(ctx, built, image.component, image.name, image.user)
		if err != nil {
			return err
		}
		if _, err := c.load(ctx, archive); err != nil {
			return err
		}
	}
	return c.waitForAPI(ctx)
}

// startNode starts the parts that need only the API server, and makes the objects of DNS and, meanwhile, the many and large CRDs.
func (c *Cluster) startNode(ctx context.Context, built map[string]component.Built) error {
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	kubernetes := built[component.Kubernetes.Name].Binary
	kubelet, err := c.kubeletSpec(kubernetes)
	if err != nil {
		return err
	}
	if err := createAddons(ctx, client); err != nil {
		return err
	}
	for _, spec := range []process.Spec{
		kubelet,
		c.controllerManagerSpec(kubernetes),
		c.inner("kube-scheduler", kubernetes, "kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1",
			"--kubeconfig="+c.path("pki/kube-scheduler.kubeconfig"), "--authentication-kubeconfig="+c.path("pki/kube-scheduler.kubeconfig"),
			"--authorization-kubeconfig="+c.path("pki/kube-scheduler.kubeconfig")),
		c.inner("kube-proxy", kubernetes, "kube-proxy", "--proxy-mode=nftables", "--conntrack-max-per-core=0", "--hostname-override="+nodeName,
			"--cluster-cidr="+podCIDR, "--kubeconfig="+c.path("pki/kube-proxy.kubeconfig"),
			"--metrics-bind-address=127.0.0.1:10249", "--healthz-bind-address=127.0.0.1:10256"),
	} {
		if err := c.start(spec); err != nil {
			return err
		}
	}
	files, err := crdFiles(built)
	if err != nil {
		return err
	}
	crds := make(chan error, 1)
	go func() { crds <- createCRDs(ctx, client, files) }()
	// kube-router ends where its node is missing.
	if err := c.wait(ctx, "the kubelet registers its node", patience, func(ctx context.Context) error {
		return client.get(ctx, "/api/v1/nodes/"+nodeName, nil)
	}); err != nil {
		return err
	}
	if err := c.start(c.inner("kube-router", built[component.KubeRouter.Name].Binary, "--kubeconfig="+c.path("pki/kuberouter.kubeconfig"),
		"--hostname-override="+nodeName, "--run-router=false", "--run-service-proxy=false", "--run-firewall=true", "--metrics-port=0",
		"--service-cluster-ip-range="+serviceCIDR)); err != nil {
		return err
	}
	return <-crds
}

// startAddons starts the controllers of the CRDs, which would end where they are not served.
func (c *Cluster) startAddons(ctx context.Context, built map[string]component.Built) error {
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	files, err := crdFiles(built)
	if err != nil {
		return err
	}
	if err := c.wait(ctx, "all CustomResourceDefinitions are served", patience, func(ctx context.Context) error { return crdsServed(ctx, client, files) }); err != nil {
		return err
	}
	externalSecrets := c.inner("external-secrets", built[component.ExternalSecrets.Name].Binary,
		"--enable-leader-election=false", "--metrics-addr=0", "--live-addr=0", "--concurrent=4")
	externalSecrets.Env = []string{"KUBECONFIG=" + c.path("pki/externalsecrets.kubeconfig")}
	if err := c.start(externalSecrets); err != nil {
		return err
	}
	return c.start(c.inner("cert-manager", built[component.CertManager.Name].Binary, "--kubeconfig="+c.path("pki/certmanager.kubeconfig")))
}

// inner is a part that runs inside the namespaces.
func (c *Cluster) inner(name, path string, args ...string) process.Spec {
	return process.Spec{Name: name, Path: path, Args: args, Namespaced: true}
}

func (c *Cluster) controllerManagerSpec(kubernetes string) process.Spec {
	kubeconfig := c.path("pki/kube-controller-manager.kubeconfig")
	return c.inner("kube-controller-manager", kubernetes, "kube-controller-manager", "--leader-elect=false", "--bind-address=127.0.0.1",
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--use-service-account-credentials", "--controllers=*", "--root-ca-file="+c.path("pki/ca.crt"),
		"--service-account-private-key-file="+c.path("pki/sa.key"),
		"--cluster-signing-cert-file="+c.path("pki/ca.crt"), "--cluster-signing-key-file="+c.path("pki/ca.key"),
		"--allocate-node-cidrs", "--cluster-cidr="+podCIDR, "--service-cluster-ip-range="+serviceCIDR,
	)
}

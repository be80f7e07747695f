package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/component"
	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// The cluster's addresses.
const (
	serviceCIDR      = "10.96.0.0/16"
	serviceAPIServer = "10.96.0.1"
	tokenIssuer      = "https://kubernetes.default.svc.cluster.local"
)

// endpoints are where etcd and the API server listen.
type endpoints struct {
	etcdClient, etcdPeer, apiServer int // ports
	bind                            string
}

// upControlPlane brings up etcd and kube-apiserver on the host's loopback. It needs no rights.
func (c *Cluster) upControlPlane(ctx context.Context) error {
	etcd, apiServer, err := c.controlPlaneBinaries(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	// The ports are free when they are looked up; whoever takes one in between makes the next attempt necessary.
	for attempt := 1; ; attempt++ {
		if err = c.startControlPlane(ctx, etcd, apiServer); err == nil {
			c.Say("etcd and kube-apiserver are up after %.1fs", time.Since(begin).Seconds())
			return nil
		}
		if attempt == 3 || ctx.Err() != nil {
			return err
		}
		if downErr := c.down(); downErr != nil {
			return fmt.Errorf("%w; and then %w", err, downErr)
		}
		if err := os.MkdirAll(c.Dir, 0o755); err != nil {
			return err
		}
	}
}

// controlPlaneBinaries are commands with their first arguments: from KUBEBUILDER_ASSETS where that has them, else compiled.
func (c *Cluster) controlPlaneBinaries(ctx context.Context) (etcd, apiServer []string, err error) {
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		etcd, apiServer := filepath.Join(assets, "etcd"), filepath.Join(assets, "kube-apiserver")
		if executable(etcd) && executable(apiServer) {
			c.Say("using etcd and kube-apiserver from KUBEBUILDER_ASSETS, %s", assets)
			return []string{etcd}, []string{apiServer}, nil
		}
		c.Say("KUBEBUILDER_ASSETS is %s, which has no etcd and kube-apiserver; using the testbed's own", assets)
	}
	kubernetes, err := component.APIServer()
	if err != nil {
		return nil, nil, err
	}
	built, err := c.Builder.Build(ctx, kubernetes)
	if err != nil {
		return nil, nil, err
	}
	binary := built[kubernetes.Name].Binary
	return []string{binary, "etcd"}, []string{binary, "kube-apiserver"}, nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (c *Cluster) startControlPlane(ctx context.Context, etcd, apiServer []string) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	at := endpoints{etcdClient: ports[0], etcdPeer: ports[1], apiServer: ports[2], bind: "127.0.0.1"}
	c.state = state{Mode: ControlPlane, Server: "https://127.0.0.1:" + strconv.Itoa(at.apiServer)}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.start(etcdSpec(c.path("etcd"), etcd, at)); err != nil { // it starts while the keys are made
		return err
	}
	creds, err := c.makeCredentials([]string{"127.0.0.1", "localhost", "kubernetes.default.svc", serviceAPIServer})
	if err != nil {
		return err
	}
	if err := c.makeKubeconfig(creds, "kubeconfig", c.state.Server, "testbed-admin", "system:masters"); err != nil {
		return err
	}
	// Without a controller manager no namespace gets a ServiceAccount, which this plugin would demand for every pod.
	spec := apiServerSpec(c.path("pki"), apiServer, at, "--disable-admission-plugins=ServiceAccount", "--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none")
	if err := c.start(spec); err != nil {
		return err
	}
	return c.waitForAPI(ctx)
}

func (c *Cluster) waitForAPI(ctx context.Context) error {
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	return c.wait(ctx, "kube-apiserver is ready", patience, client.ready)
}

// prepare makes the folders and writes the first state.
func (c *Cluster) prepare() error {
	for _, folder := range []string{"", "log", "pki", "etcd"} {
		if err := os.MkdirAll(c.path(folder), 0o700); err != nil {
			return err
		}
	}
	return c.save()
}

func etcdSpec(data string, command []string, at endpoints) process.Spec {
	client := "http://127.0.0.1:" + strconv.Itoa(at.etcdClient)
	peer := "http://127.0.0.1:" + strconv.Itoa(at.etcdPeer)
	return process.Spec{Name: "etcd", Path: command[0], Args: slices.Concat(command[1:], []string{
		"--name=testbed", "--data-dir=" + data, "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=testbed=" + peer,
	})}
}

func apiServerSpec(pki string, command []string, at endpoints, extra ...string) process.Spec {
	file := func(name string) string { return filepath.Join(pki, name) }
	return process.Spec{Name: "kube-apiserver", Path: command[0], Args: slices.Concat(command[1:], []string{
		"--etcd-servers=http://127.0.0.1:" + strconv.Itoa(at.etcdClient),
		"--bind-address=" + at.bind, "--secure-port=" + strconv.Itoa(at.apiServer),
		"--tls-cert-file=" + file("apiserver.crt"), "--tls-private-key-file=" + file("apiserver.key"), "--cert-dir=" + pki,
		"--client-ca-file=" + file("ca.crt"),
		"--requestheader-client-ca-file=" + file("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + file("front-proxy-client.crt"), "--proxy-client-key-file=" + file("front-proxy-client.key"),
		"--service-account-issuer=" + tokenIssuer, "--service-account-key-file=" + file("sa.pub"),
		"--service-account-signing-key-file=" + file("sa.key"),
		"--service-cluster-ip-range=" + serviceCIDR, "--allow-privileged=true", "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
	}, extra)}
}

// freePorts returns loopback ports that are free now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // only now, so that they differ
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

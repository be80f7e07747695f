package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

// cniPlugins is where Debian puts them.
const cniPlugins = "/usr/lib/cni"

// needed are the programs that the full cluster runs, and the Debian packages they are in.
var needed = []struct{ program, pkg string }{
	{"containerd", "containerd"}, {"containerd-shim-runc-v2", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"},
	{cniPlugins + "/bridge", "containernetworking-plugins"}, {cniPlugins + "/host-local", "containernetworking-plugins"},
	{cniPlugins + "/loopback", "containernetworking-plugins"},
	{"iptables", "iptables"}, {"nft", "nftables"}, {"ipset", "ipset"}, {"conntrack", "conntrack"}, {"ip", "iproute2"},
	{"nsenter", "util-linux"}, {"mount", "mount"},
}

// preflight says what is missing, and how to get it, before anything is made.
func preflight() error {
	var packages []string
	for _, n := range needed {
		if _, err := exec.LookPath(n.program); err != nil && !strings.Contains(strings.Join(packages, " "), n.pkg) {
			packages = append(packages, n.pkg)
		}
	}
	if len(packages) > 0 {
		return fmt.Errorf("Debian packages are missing: run hack/packages.sh as root, or apt-get install %s", strings.Join(packages, " "))
	}
	if os.Geteuid() != 0 {
		return errors.New("the full cluster needs root, for network namespaces, mounts and cgroups: run it with sudo, " +
			"or use up --only control-plane, which needs no rights")
	}
	// Root in a container may lack what root has on a machine.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for _, capability := range []struct {
		bit  int
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if data[capability.bit/32].Effective&(1<<(capability.bit%32)) == 0 {
			return fmt.Errorf("root lacks the capability %s here: run it on a machine, or in a container started with --privileged", capability.name)
		}
	}
	return nil
}

func (c *Cluster) containerdSocket() string { return c.path("containerd", "containerd.sock") }

// maxSocketPath is what the kernel allows for the path of a Unix socket (unix(7)).
const maxSocketPath = 107

func (c *Cluster) containerdSpec() (process.Spec, error) {
	if len(c.containerdSocket()) > maxSocketPath {
		return process.Spec{}, fmt.Errorf("--dir %s is too long: sockets in it would have more than %d characters", c.Dir, maxSocketPath)
	}
	// overlayfs cannot lie upon overlayfs, which is what a container's files are on.
	snapshotter := "overlayfs"
	var fs syscall.Statfs_t
	if err := syscall.Statfs(c.Dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		snapshotter = "native"
	}
	config := strings.NewReplacer(
		"@DIR@", c.path("containerd"), "@SOCKET@", c.containerdSocket(), "@SNAPSHOTTER@", snapshotter, "@PAUSE@", pauseImage, "@CNI@", c.path("cni"),
		"@PLUGINS@", cniPlugins,
	).Replace(containerdConfig)
	if err := c.write("containerd/config.toml", []byte(config)); err != nil {
		return process.Spec{}, err
	}
	network, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": "testbed",
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": c.path("cni", "addresses"),
				"ranges": []any{[]any{map[string]string{"subnet": nodePodCIDR}}}, "routes": []any{map[string]string{"dst": "0.0.0.0/0"}},
			},
		}},
	}, "", "  ")
	if err != nil {
		return process.Spec{}, err
	}
	if err := c.write("cni/10-testbed.conflist", network); err != nil {
		return process.Spec{}, err
	}
	return c.inner("containerd", "containerd", "--config", c.path("containerd", "config.toml")), nil
}

// containerdConfig keeps every file in the run folder. Without CAP_SYS_RESOURCE runc cannot lower oom_score_adj: restrict_oom_score_adj.
const containerdConfig = `version = 2
root = "@DIR@/root"
state = "@DIR@/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "@SOCKET@"
[ttrpc]
  address = "@SOCKET@.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "@DIR@/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@PAUSE@"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "@PLUGINS@"
    conf_dir = "@CNI@"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "@SNAPSHOTTER@"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "@DIR@/runc"
`

// kubeletSpec leaves the kubelet's own defaults wherever it can, so that tests see what users see: its syncFrequency of a minute above all.
func (c *Cluster) kubeletSpec(kubernetes string) (process.Spec, error) {
	type object = map[string]any
	config, err := json.MarshalIndent(object{
		"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
		"address": nodeAddress, "healthzBindAddress": "127.0.0.1",
		"authentication": object{"x509": object{"clientCAFile": c.path("pki/ca.crt")}, "webhook": object{"enabled": true}, "anonymous": object{"enabled": false}},
		"authorization":  object{"mode": "Webhook"},
		"tlsCertFile":    c.path("pki/kubelet.crt"), "tlsPrivateKeyFile": c.path("pki/kubelet.key"),
		"clusterDNS": []string{serviceDNS}, "clusterDomain": "cluster.local", "resolvConf": "/dev/null",
		"cgroupDriver": "cgroupfs", "cgroupRoot": "/" + c.cgroupName(), "failCgroupV1": false, "failSwapOn": false,
		"enforceNodeAllocatable": []string{},
		"evictionHard": object{
			"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%", "imagefs.inodesFree": "1%",
		},
		"imageGCHighThresholdPercent": 100, // nothing could fetch an image again
		"containerRuntimeEndpoint":    "unix://" + c.containerdSocket(),
		"podLogsDir":                  c.path("pod-logs"), "volumePluginDir": c.path("kubelet", "volume-plugins"),
		"protectKernelDefaults": false, // it finds the values it wants: see anchor.go
	}, "", "  ")
	if err != nil {
		return process.Spec{}, err
	}
	if err := c.write("kubelet/config.json", config); err != nil {
		return process.Spec{}, err
	}
	return c.inner("kubelet", kubernetes, "kubelet", "--config="+c.path("kubelet", "config.json"), "--kubeconfig="+c.path("pki/kubelet.kubeconfig"),
		"--root-dir="+c.path("kubelet", "root"), "--cert-dir="+c.path("pki"), "--hostname-override="+nodeName, "--node-ip="+nodeAddress), nil
}

// nodeReady is nil when the node and the cluster's DNS are ready. That the node says so may be old news: the kubelet itself is asked as well.
func (c *Cluster) nodeReady(ctx context.Context, client *api) error {
	if err := client.condition(ctx, "/api/v1/nodes/"+nodeName, "Ready"); err != nil {
		return err
	}
	var pods struct{ Items []struct{} } // as the kubelet itself knows them: none until it can serve logs and exec
	if err := client.get(ctx, "/api/v1/nodes/"+nodeName+"/proxy/pods", &pods); err != nil {
		return err
	}
	if len(pods.Items) == 0 {
		return errors.New("the kubelet does not know its pods yet")
	}
	return client.condition(ctx, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", "Available")
}

func (c *Cluster) waitForNode(ctx context.Context) error {
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	return c.wait(ctx, "the node and the cluster's DNS are ready", patience, func(ctx context.Context) error { return c.nodeReady(ctx, client) })
}

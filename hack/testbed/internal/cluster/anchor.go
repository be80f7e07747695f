package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Anchor is the first process in the testbed's own network and mount namespaces: it furnishes them, and then keeps them. As nothing of them is
// pinned anywhere, they are gone with all that is in them when the last process is.
func (c *Cluster) Anchor(ctx context.Context) error {
	if _, err := os.Stat(c.path("anchor-ready")); errors.Is(err, fs.ErrNotExist) { // else it was killed, and takes its place again
		if err := c.furnish(); err != nil {
			return err
		}
		if err := os.WriteFile(c.path("anchor-ready"), nil, 0o600); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func (c *Cluster) furnish() error {
	for _, line := range []string{
		"link set lo up",
		// A bridge, as there may be no dummy device. The kubelet refuses an address on lo.
		"link add node0 type bridge",
		"addr add " + nodeAddress + "/24 dev node0",
		"link set node0 up",
		"route add default via 172.30.0.254 dev node0", // nobody is there; but without a default route the node has no address of its own
	} {
		if output, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, output)
		}
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		_ = exec.Command("modprobe", "br_netfilter").Run()
	}
	for name, value := range map[string]string{"ipv4/ip_forward": "1", "bridge/bridge-nf-call-iptables": "1"} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
			return fmt.Errorf("%w; NetworkPolicies need the kernel module br_netfilter: modprobe br_netfilter", err)
		}
	}
	for _, folder := range hostFolders {
		if err := bind(c.path("host", folder), folder); err != nil {
			return err
		}
	}
	// The kubelet sets these for the whole machine where they differ. It finds them as it wants them, and leaves the machine's alone.
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		fake := c.path("host", "proc", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(fake), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(fake, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bind(fake, filepath.Join("/proc/sys", name)); err != nil {
			return err
		}
	}
	// Controllers that run outside of pods find the API server under the name that pods use.
	hosts := "127.0.0.1 localhost\n" + serviceAPIServer + " kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local\n"
	if err := os.WriteFile(c.path("host", "hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	return bind(c.path("host", "hosts"), "/etc/hosts")
}

func bind(source, target string) error {
	if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", source, target, err)
	}
	return nil
}

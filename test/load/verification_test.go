// Package load measures what it costs the operator to verify many servers: the real program, on a real API server, attacks
// gates over the network. The gates are played: each has an address of its own, refuses as a real one does, and tells the
// status that a real one would. cert-manager and the kubelet are played, too.
package load

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

var (
	servers    = flag.Int("servers", 6, "how many servers")
	namespaces = flag.Int("namespaces", 2, "in how many namespaces they are")
	interval   = flag.Duration("interval", 10*time.Second, "spec.verification.interval of each, in whole seconds")
	most       = flag.Float64("most-cores", 0, "how much of a CPU the operator may use; 0: any")
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

const gateImage = "registry.example/bartizan/authproxy@sha256:1111111111111111111111111111111111111111111111111111111111111111"

// TestIntegrationVerificationLoad has the operator verify all servers for one interval, and measures its CPU time. How much that
// is must not depend on how busy the machine is, so a limit is for those who ask for one.
func TestIntegrationVerificationLoad(t *testing.T) {
	w := newWorld(t)
	operator := w.operator(t)
	begun := time.Now()
	for i := range *servers {
		w.create(t, &v1alpha1.MCPServer{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.servers[i%len(w.servers)], Name: fmt.Sprintf("server-%03d", i)},
			Spec: v1alpha1.MCPServerSpec{
				Image:        "registry.example/mcp/everything@sha256:0000000000000000000000000000000000000000000000000000000000000000",
				Transport:    v1alpha1.Transport{Type: v1alpha1.TransportStreamableHTTP, Port: 8080},
				Verification: &v1alpha1.Verification{Interval: fmt.Sprintf("%ds", int(interval.Seconds()))},
			},
		})
	}
	controlplane.Eventually(t, time.Minute+2*time.Second*time.Duration(*servers), func(ctx context.Context) error { return w.verified(ctx) })
	t.Logf("%d servers are made and verified after %s, for %.1f s of CPU time", *servers, time.Since(begun).Round(time.Second), cpu(t, operator).Seconds())
	w.settle()

	// From here on there is nothing to do but to verify.
	before, from := w.asked(), cpu(t, operator)
	begun = time.Now()
	controlplane.Eventually(t, 3**interval+time.Minute, func(context.Context) error {
		now := w.asked()
		for gate, n := range now {
			// A whole run asks for what somebody without a grant may not see; nothing else does.
			if n.runs == before[gate].runs {
				return fmt.Errorf("%s was not attacked", gate)
			}
		}
		if left := *interval - time.Since(begun); left > 0 {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
	took, spent := time.Since(begun), cpu(t, operator)-from
	runs, requests := 0, 0
	for gate, n := range w.asked() {
		runs += n.runs - before[gate].runs
		requests += n.requests - before[gate].requests
	}
	if err := w.verified(t.Context()); err != nil {
		t.Error(err)
	}
	cores := spent.Seconds() / took.Seconds()
	t.Logf("%d servers, verified every %s: %.4f of a CPU during %s (%.1f s of CPU time, %d whole runs, %d requests of attacks), %s of memory",
		*servers, *interval, cores, took.Round(time.Second), spent.Seconds(), runs, requests, memory(t, operator))
	if *most > 0 && cores > *most {
		t.Errorf("that is more than %.2f", *most)
	}
}

// verified says which server is not verified.
func (w *world) verified(ctx context.Context) error {
	for _, namespace := range w.servers {
		all := &v1alpha1.MCPServerList{}
		if err := w.List(ctx, all, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range all.Items {
			c := meta.FindStatusCondition(all.Items[i].Status.Conditions, v1alpha1.ConditionVerified)
			if c == nil || c.Status != metav1.ConditionTrue {
				return fmt.Errorf("MCPServer %s/%s is not verified: %+v", namespace, all.Items[i].Name, all.Items[i].Status.Conditions)
			}
		}
	}
	return nil
}

// operator runs the operator as a process of its own, and returns its number.
func (w *world) operator(t *testing.T) int {
	t.Helper()
	program := filepath.Join(t.TempDir(), "manager")
	build := exec.Command("go", "build", "-o", program, "../../cmd/manager")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := controlplane.WriteKubeconfig(w.config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(program, "--gate-image", gateImage, "--namespace", w.system, "--watch-namespaces", strings.Join(append([]string{w.system}, w.servers...), ","),
		"--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	process.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	process.Stderr, process.Stdout = log, log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if content, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the operator's log ends: %s", content[max(0, len(content)-4000):])
		}
	})
	return process.Process.Pid
}

// cpu is the CPU time of a process.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatalf("the operator ended: %v", err)
	}
	// After the name in brackets, which may have spaces: state is the first field, utime and stime are the twelfth and thirteenth.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

// memory is what a process has in memory.
func memory(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

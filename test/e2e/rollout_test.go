package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// TestE2ERollingRestart: no request is dropped while all pods are replaced, on connections that are kept as on new ones, with
// calls that take seconds, whether the server stops at once when told to or not at all.
func TestE2ERollingRestart(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"ServerStopsAtOnce":    nil,
		"ServerIgnoresSIGTERM": {"--ignore-sigterm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t).guard(t, func(s *v1alpha1.MCPServer) { s.Spec.Replicas = ptr.To(int32(2)) }, arguments...)
			before, err := g.running(t.Context(), g.server)
			must(t, err)
			old := map[types.UID]bool{}
			for _, pod := range before {
				old[pod.UID] = true
			}
			friend := as("friend", "friend")
			const span = 100 * time.Second
			loads := map[string]*load{
				"kept connections": g.pod.load(t, g.server, "friend", friend, span, "--tool", "boot", "--parallel", "4"),
				"new connections":  g.pod.load(t, g.server, "friend", friend, span, "--tool", "boot", "--parallel", "2", "--fresh", "--pause", "50ms"),
				"slow calls":       g.pod.load(t, g.server, "friend", friend, span, "--tool", "sleep", "--args", `{"milliseconds":3000}`, "--parallel", "3"),
			}
			change(t, g.cluster, g.server, func(s *v1alpha1.MCPServer) {
				s.Spec.Pod = &v1alpha1.PodSettings{Annotations: map[string]string{"example.com/restarted": "now"}}
			})
			took := eventually(t, "every pod is replaced", span-10*time.Second, func(ctx context.Context) error {
				pods, err := g.allPods(ctx, g.server)
				if err != nil {
					return err
				}
				for _, pod := range pods {
					if old[pod.UID] {
						return fmt.Errorf("%s is still there", pod.Name)
					}
				}
				return nil
			})
			t.Logf("every pod was replaced, and the old ones gone, after %s", took)
			for what, running := range loads {
				account := running.wait(t)
				t.Logf("%s: %d calls, %d failed, %d connections, median %d ms, slowest %d ms",
					what, account.Calls, account.Failures, account.Connections, account.Median, account.Slowest)
				if account.Failures > 0 {
					t.Errorf("%s: dropped: %+v", what, account.Examples)
				}
			}
			g.ready(t, g.server)
		})
	}
}

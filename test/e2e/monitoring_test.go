package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/dashboard"
	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
	"github.com/bartizan-dev/bartizan/test/prometheus"
)

const (
	metricsService = "bartizan-controller-manager-metrics." + operatorNamespace + ".svc:8443"
	gateStatusPort = 15444
)

// TestE2EMonitoring: a real Prometheus in a pod, with the configuration of docs/metrics.md and the alert rules of an installation, reads the operator
// and the gates from a namespace that may, by the identities that it was given, and not without; another namespace does not even connect. What it
// has read answers every panel of the dashboard. BARTIZAN_DASHBOARD has the answers drawn into that file, after BARTIZAN_DASHBOARD_FOR of use.
func TestE2EMonitoring(t *testing.T) {
	t.Parallel()
	c := start(t)
	tools, callers, monitoring, elsewhere := c.namespace(t, "tools"), c.namespace(t, "callers"), c.namespace(t, "monitoring"), c.namespace(t, "elsewhere")
	server := c.server(tools, "measured")
	server.Spec.Limits = &v1alpha1.Limits{PerClient: &v1alpha1.ClientRate{RPS: 5, Burst: 5}}
	assistant := mcpClient(callers, "assistant", server)
	c.create(t, server, assistant, accessPolicy(server, assistant, "echo"))
	c.ready(t, server)
	c.ready(t, assistant)
	asked := c.prometheus(t, monitoring, prometheus.Groups(t, "../.."))

	gates, err := c.running(t.Context(), server)
	must(t, err)
	if len(gates) != 1 {
		t.Fatalf("%d gates run", len(gates))
	}
	status := fmt.Sprintf("%s:%d", gates[0].Status.PodIP, gateStatusPort)
	t.Run("Network", func(t *testing.T) {
		inside, outside := c.run(t, c.podSpec(monitoring, "inside")), c.run(t, c.podSpec(elsewhere, "outside"))
		for _, address := range []string{status, metricsService} {
			eventually(t, "monitoring connects to "+address, time.Minute, func(context.Context) error {
				if got := inside.dial(t, address); got.Outcome != result.OK {
					return fmt.Errorf("%s: %s", got.Outcome, got.Message)
				}
				return nil
			})
			expect(t, "another namespace connects to "+address, outside.dial(t, address), result.NoConnection)
		}
	})

	caller := c.pod(t, callers, "assistant", tools, "assistant")
	caller.reaches(t, server, "assistant")
	picture, duration := os.Getenv("BARTIZAN_DASHBOARD"), 30*time.Second
	if picture != "" {
		duration, err = time.ParseDuration(os.Getenv("BARTIZAN_DASHBOARD_FOR"))
		must(t, err)
	}
	began := time.Now()
	c.use(t, caller, server, assistant, duration)
	for _, job := range []string{prometheus.Operator, prometheus.Gates} {
		eventually(t, job+" is read, by its identity alone", 2*time.Minute, func(ctx context.Context) error {
			return errors.Join(asked.up(ctx, job, 1, ""), asked.up(ctx, "nobody-"+job, 0, map[string]string{
				prometheus.Operator: "401 Unauthorized", prometheus.Gates: "certificate required",
			}[job]))
		})
	}

	board, err := dashboard.Load("../..")
	must(t, err)
	// Nothing is late here, and of each control it is not known in advance whether it fails.
	mayBeEmpty := []string{"Controls that fail"}
	var answers []dashboard.Answer
	var span dashboard.Span
	eventually(t, "every panel has data", 2*time.Minute, func(ctx context.Context) error {
		span = dashboard.Span{From: time.Now().Add(-time.Minute), To: time.Now(), Step: 5 * time.Second}
		if picture != "" {
			span.From, span.Step = began, (time.Since(began) / 90).Round(time.Second)
		}
		var err error
		if answers, err = board.Ask(ctx, asked.get, span); err != nil {
			return err
		}
		var empty []string
		for _, a := range answers {
			if a.Type != "row" && len(a.Series) == 0 && !slices.Contains(mayBeEmpty, a.Title) {
				empty = append(empty, a.Title)
			}
		}
		if len(empty) > 0 {
			return fmt.Errorf("no data for %q", empty)
		}
		return nil
	})
	if picture != "" {
		must(t, os.WriteFile(picture, dashboard.Draw(board.Title, answers, span), 0o600))
	}
}

// use has a client call a server for a while: what it may, too often, what it may not, and without a credential.
func (c *cluster) use(t *testing.T, caller *pod, server *v1alpha1.MCPServer, as *v1alpha1.MCPClient, duration time.Duration) {
	t.Helper()
	echo := []string{"--tool", "echo", "--args", `{"text":"hello"}`}
	credentials := []string{"--reread", "--key-file", "/assistant/api-key", "--cert", "/assistant/tls.crt", "--key", "/assistant/tls.key"}
	steady := caller.load(t, server, "assistant", credentials, duration, append(echo, "--parallel", "1", "--pause", "400ms")...)
	for until := time.Now().Add(duration); time.Now().Before(until); {
		round := duration / 5
		caller.load(t, server, "assistant", credentials, round/2, append(echo, "--parallel", "2", "--pause", "50ms")...).wait(t)
		caller.load(t, server, "assistant", credentials, round/4, "--tool", "boot", "--parallel", "1", "--pause", "300ms").wait(t)
		caller.load(t, server, "assistant", credentials[3:], round/4, append(echo, "--parallel", "1", "--pause", "200ms", "--fresh")...).wait(t)
		change(t, c, as, func(m *v1alpha1.MCPClient) {
			m.Spec.Rotation = &v1alpha1.KeyRotation{Overlap: "2m", RotateAfter: ptr.To(metav1.Now())}
		})
	}
	if got := steady.wait(t); got.Calls == got.Failures {
		t.Errorf("no call succeeded: %+v", got)
	}
}

package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// quiet waits until an operator has written nothing for a while.
func (w *world) quiet(c *writes, while time.Duration) {
	w.t.Helper()
	last, since := -1, time.Now()
	controlplane.Eventually(w.t, soon+while, func(context.Context) error {
		if n := len(c.all()); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < while {
			return fmt.Errorf("it goes on writing, the last was %s", strings.Join(c.all()[max(0, last-5):], ", "))
		}
		return nil
	})
}

func TestIntegrationServerBecomesReady(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	w.run(c.use)
	w.create(w.server("weather"))
	w.ready("weather")
	w.quiet(c, 3*time.Second)

	t.Run("order of creation", func(t *testing.T) {
		kinds := c.kinds()
		order := []string{
			"networkpolicies/weather", "serviceaccounts/weather", "certificates/weather-tls", "secrets/weather-gate",
			"deployments/weather", "services/weather", "poddisruptionbudgets/weather",
		}
		last := -1
		for _, kind := range order {
			i := slices.Index(kinds, kind)
			if i <= last {
				t.Errorf("%s was not written after %v\nwritten: %s", kind, order[:slices.Index(order, kind)], strings.Join(kinds, "\n"))
			}
			last = max(last, i)
		}
	})
	t.Run("addresses of the Kubernetes API", func(t *testing.T) {
		w := w.in(t)
		w.create(w.store("vault"), w.full("reader"))
		w.ready("reader")
		policy := &networkingv1.NetworkPolicy{}
		if err := w.get("reader", policy); err != nil {
			t.Fatal(err)
		}
		egress, err := json.Marshal(policy.Spec.Egress)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{controlplane.AdvertisedAddress, "10.0.0.1"} {
			if !strings.Contains(string(egress), address+"/32") {
				t.Errorf("%s is not reachable: %s", address, egress)
			}
		}
	})
}

package mcpclient_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationCrash ends the operator after its k-th write, for every k of everything that it does to keys. Another
// operator goes on from there, and the end is the same.
func TestIntegrationCrash(t *testing.T) {
	config := controlplane.Start(t)
	for _, scenario := range []struct {
		name string
		// begin comes before the operator that crashes.
		begin func(w *world, tools string)
		// working says that the client's key has to be accepted at every moment.
		working bool
		states  string
	}{
		{name: "first key", begin: func(*world, string) {}, states: "Current"},
		{name: "lost Secret", states: "Current Draining", begin: func(w *world, tools string) {
			w.run()
			w.must(w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: mcpclient.SecretName("agent", tools)}}))
		}},
		{name: "rotation begins", working: true, states: "Current Draining", begin: func(w *world, tools string) {
			w.run()
			w.gates(tools, "github")
			w.age(84 * 24 * time.Hour)
		}},
		{name: "rotation ends", working: true, states: "Current Draining", begin: func(w *world, tools string) {
			w.run()
			w.age(84 * 24 * time.Hour)
			w.run()
			w.gates(tools, "github")
		}},
		{name: "maximum age", states: "Current Retired", begin: func(w *world, _ string) {
			w.run()
			w.age(91 * 24 * time.Hour)
		}},
		{name: "grant ends", states: "", begin: func(w *world, tools string) {
			w.run()
			w.certManager()
			w.run()
			w.must(w.client.Delete(t.Context(), &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "readers"}}))
			w.run()
			w.now = w.now.Add(11 * time.Minute)
		}},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			for k := 1; ; k++ {
				w := newWorld(t, config)
				tools := controlplane.Namespace(t, config, "tools")
				w.server(tools, "github", authorityPEM(t, "one"))
				w.grant(tools)
				w.agent(tools + "/github")
				scenario.begin(w, tools)
				o := w.operator(k)
				_, err := o.reconcile(w)
				crashed := err != nil
				at := fmt.Sprintf("after write %d", k)
				if key := w.key(tools); scenario.working && !w.accepts(tools, "github", key) {
					t.Fatalf("%s: the client's key is refused", at)
				}
				w.settle(tools, scenario.states != "")
				if got := w.keyStates(tools); got != scenario.states {
					t.Errorf("%s: states %q, want %q", at, got, scenario.states)
				}
				key := w.key(tools)
				if scenario.states != "" && !w.accepts(tools, "github", key) {
					t.Errorf("%s: the key of the Secret is refused", at)
				}
				if w.get(w.apps, mcpclient.WaitingSecretName("agent", tools), &corev1.Secret{}) {
					t.Errorf("%s: a waiting Secret is left", at)
				}
				if scenario.states == "" && (key != nil || w.get(w.apps, mcpclient.CertificateName("agent", tools), &certmanager.Certificate{}) ||
					w.get(w.apps, mcpclient.CertificateSecretName("agent", tools), &corev1.Secret{})) {
					t.Errorf("%s: credentials are left", at)
				}
				if !crashed {
					if k < 2 {
						t.Error("nothing was written")
					}
					return
				}
			}
		})
	}
}

// settle lets operator and gates go on until nothing is written any more.
func (w *world) settle(tools string, granted bool) {
	w.Helper()
	var before []byte
	for range 12 {
		o := w.run()
		if granted {
			w.gates(tools, "github")
		}
		key := w.key(tools)
		if o.writes.Load() == 0 && bytes.Equal(key, before) {
			// The gates have had their say since the last look.
			if o := w.run(); o.writes.Load() == 0 {
				return
			}
		}
		before = key
	}
	w.Fatal("never comes to rest")
}

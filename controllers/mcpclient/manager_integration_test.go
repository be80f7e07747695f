package mcpclient_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers"
	"github.com/bartizan-dev/bartizan/controllers/accesspolicy"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// manage runs the controllers of clients and policies with the operator's caches, until t ends, and counts their writes.
func manage(t *testing.T, from *rest.Config, reader gates.Reader) *transport {
	t.Helper()
	cfg, counter, skip := rest.CopyConfig(from), &transport{}, true
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { counter.next = next; return counter })
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: controllers.Scheme(), Cache: controllers.CacheOptions("bartizan-system", nil),
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		t.Fatal(err)
	}
	apis, err := optional.New(mgr, certManagerAPI, externalSecretsAPI, mcpclient.PushSecrets)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, setup := range []func() error{
		func() error { return apis.SetupWithManager(mgr) },
		func() error {
			return (&mcpclient.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), APIs: apis, Gates: reader, Recorder: mgr.GetEventRecorder("mcpclient")}).SetupWithManager(ctx, mgr)
		},
		func() error {
			return (&accesspolicy.Reconciler{Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("mcpaccesspolicy")}).SetupWithManager(ctx, mgr)
		},
	} {
		if err := setup(); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
	return counter
}

func (w *world) policyCondition(namespace, kind string) string {
	w.Helper()
	p := &v1alpha1.MCPAccessPolicy{}
	if !w.get(namespace, "readers", p) {
		return ""
	}
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return fmt.Sprintf("%s %s", c.Status, c.Reason)
		}
	}
	return ""
}

func (w *world) eventually(what string, check func() bool) {
	w.Helper()
	controlplane.Eventually(w, 90*time.Second, func(context.Context) error {
		if !check() {
			return fmt.Errorf("%s: client %+v", what, w.status().Conditions)
		}
		return nil
	})
}

// TestIntegrationManager lets everything find its way by watches: cert-manager comes late, servers, policies and bundles come
// and go, and at rest nothing is written.
func TestIntegrationManager(t *testing.T) {
	w := newWorld(t, controlplane.Start(t, controlplane.Without(controlplane.CertManager), controlplane.WithControllerManager()))
	counter := manage(t, w.config, w)
	tools := controlplane.Namespace(t, w.config, "tools")
	policy := w.grant(tools)
	w.agent(tools + "/github")
	w.eventually("no server", func() bool { return w.condition(ready) == "False ServersNotGranted" })
	w.eventually("policy without a server", func() bool { return w.policyCondition(tools, ready) == "False NoServer" })

	server := w.server(tools, "github", authorityPEM(t, "one"))
	w.eventually("cert-manager missing", func() bool { return w.condition(stalled) == "True CertManagerMissing" })
	w.eventually("policy", func() bool { return w.policyCondition(tools, ready) == "True Ready" })
	key := w.key(tools)
	if len(key) == 0 || !w.accepts(tools, "github", key) {
		t.Error("the key has to wait for cert-manager")
	}

	controlplane.Install(t, w.config, controlplane.CertManager)
	w.eventually("certificate", func() bool {
		return w.condition(issued) == "False Issuing" && w.get(w.apps, mcpclient.CertificateName("agent", tools), &certmanager.Certificate{})
	})
	w.certManager()
	w.eventually("ready", func() bool { return w.condition(ready) == "True Ready" })

	// At rest.
	time.Sleep(2 * time.Second) // whatever is still under way would be counted
	before := counter.writes.Load()
	time.Sleep(3 * time.Second)
	if n := counter.writes.Load() - before; n != 0 {
		t.Errorf("%d writes at rest", n)
	}

	// A new bundle reaches the client.
	bundle, two := &corev1.ConfigMap{}, authorityPEM(t, "two")
	w.get(tools, "github-ca", bundle)
	bundle.Data["ca.crt"] = two
	w.must(w.client.Update(t.Context(), bundle))
	w.eventually("bundle", func() bool {
		s := &corev1.Secret{}
		w.get(w.apps, mcpclient.SecretName("agent", tools), s)
		return strings.TrimSpace(string(s.Data["ca.crt"])) == strings.TrimSpace(two)
	})

	// The key's Secret is deleted.
	w.must(w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: mcpclient.SecretName("agent", tools)}}))
	w.eventually("new key", func() bool {
		now := w.key(tools)
		return len(now) > 0 && string(now) != string(key) && w.accepts(tools, "github", now) && w.accepts(tools, "github", key)
	})
	key = w.key(tools)

	// The policy becomes invalid: it grants nothing any more; mended, it does again.
	w.get(tools, "readers", policy)
	policy.Spec.Rules[0].Methods = []string{"tools/call"}
	w.must(w.client.Update(t.Context(), policy))
	w.eventually("invalid policy", func() bool {
		credentials := w.status().Credentials
		return w.policyCondition(tools, stalled) == "True RuleInvalid" && !w.accepts(tools, "github", key) && len(credentials) == 1 && credentials[0].UngrantedSince != nil
	})
	w.get(tools, "readers", policy)
	policy.Spec.Rules[0].Methods = nil
	w.must(w.client.Update(t.Context(), policy))
	w.eventually("mended", func() bool { return w.accepts(tools, "github", key) && string(w.key(tools)) == string(key) })
	w.eventually("ready again", func() bool { return w.condition(ready) == "True Ready" })

	// The server goes, and comes again.
	w.must(w.client.Delete(t.Context(), server))
	w.eventually("server gone", func() bool { return w.condition(ready) == "False ServersNotGranted" })
	// The garbage collector looks for new kinds every half minute only.
	controlplane.Eventually(t, 2*time.Minute, func(context.Context) error {
		if w.get(tools, "github-ca", &corev1.ConfigMap{}) {
			return fmt.Errorf("the bundle of the deleted server is still there")
		}
		return nil
	})
	w.server(tools, "github", two)
	w.eventually("server again", func() bool { return w.accepts(tools, "github", key) && string(w.key(tools)) == string(key) })
	w.eventually("ready again", func() bool { return w.condition(ready) == "True Ready" })

	// Events, and not one for each look.
	events := eventsv1.EventList{}
	controlplane.Eventually(t, 20*time.Second, func(ctx context.Context) error {
		if err := w.client.List(ctx, &events, client.InNamespace(w.apps)); err != nil {
			return err
		}
		reasons := map[string]int{}
		for _, e := range events.Items {
			reasons[e.Reason]++
		}
		if reasons["KeyCurrent"] < 2 || reasons["CertManagerMissing"] != 1 || reasons["KeyReplaced"] != 0 {
			return fmt.Errorf("events: %v", reasons)
		}
		return nil
	})

	// The client goes, with everything.
	w.must(w.client.Delete(t.Context(), &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: w.apps, Name: "agent"}}))
	controlplane.Eventually(t, 2*time.Minute, func(context.Context) error {
		for _, name := range []string{
			mcpclient.SecretName("agent", tools), mcpclient.CertificateSecretName("agent", tools), mcpclient.WaitingSecretName("agent", tools),
		} {
			if w.get(w.apps, name, &corev1.Secret{}) {
				return fmt.Errorf("Secret %s is left", name)
			}
		}
		if w.get(w.apps, mcpclient.CertificateName("agent", tools), &certmanager.Certificate{}) {
			return fmt.Errorf("the Certificate is left")
		}
		return nil
	})
	controlplane.Eventually(t, 20*time.Second, func(context.Context) error {
		if got := w.policyCondition(tools, ready); got != "True SubjectsWaiting" {
			return fmt.Errorf("policy: %s", got)
		}
		return nil
	})
}

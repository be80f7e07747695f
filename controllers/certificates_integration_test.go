package controllers_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	played "github.com/bartizan-dev/bartizan/test/certmanager"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// handshakes returns an error when a client of the namespace and a server of it do not trust each other, by what is in their
// Secrets. Objects that are about to change are read again.
func (w *world) handshakes(ctx context.Context, server, clientName string) error {
	read := func(name string) map[string][]byte {
		secret := &corev1.Secret{}
		if err := w.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, secret); err != nil {
			return nil
		}
		return secret.Data
	}
	verify := func(what, bundle string, leaf map[string][]byte) error {
		certificate, _, err := played.Decode(&corev1.Secret{Data: leaf})
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		pool, err := gateconfig.Pool(bundle)
		if err == nil {
			_, err = certificate.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	// Certificates before bundles, so that a bundle is not older than the certificate.
	serving, own := read(server+"-tls"), read(clientName+"."+w.namespace+".tls")
	config, err := gateconfig.Parse(read(server + "-gate")[gateconfig.ConfigFile])
	return errors.Join(err,
		verify("the client does not trust the server", string(read(clientName + "." + w.namespace)["ca.crt"]), serving),
		verify("the gate does not trust the client", config.Authorities[w.namespace], own))
}

// TestIntegrationAuthorityRollover: somebody asks for another authority in the spec of a server, and gets it, with every
// certificate trusted at every moment.
func TestIntegrationAuthorityRollover(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	w.run(c.use, func(o *Options, _ *Config) { o.AuthorityOverlap = 2 * time.Second })
	w.agentOf()
	end := w.unbroken()                                                            // from now on no handshake may fail
	asked := metav1.NewTime(time.Now().Truncate(time.Second).Add(2 * time.Second)) // later than the first was made
	update(w, w.server("weather"), func(s *v1alpha1.MCPServer) { s.Spec.TLS = &v1alpha1.TLS{RotateAuthorityAfter: &asked} })
	w.followed(2)
	end()
	for _, name := range []string{"weather-tls", "agent." + w.namespace} {
		certificate := &certmanager.Certificate{}
		if err := w.get(name, certificate); err != nil {
			t.Fatal(err)
		}
		if certificate.Spec.IssuerRef.Name != "bartizan-ca-2" {
			t.Errorf("Certificate %s is of Issuer %s", name, certificate.Spec.IssuerRef.Name)
		}
	}
	w.ready("weather")
	if bundle := (&corev1.ConfigMap{}); w.get("weather-ca", bundle) != nil || strings.Count(bundle.Data["ca.crt"], "BEGIN") != 1 {
		controlplane.Eventually(t, soon, func(context.Context) error {
			if err := w.get("weather-ca", bundle); err != nil || strings.Count(bundle.Data["ca.crt"], "BEGIN") != 1 {
				return fmt.Errorf("%d authorities are in the bundle (%v)", strings.Count(bundle.Data["ca.crt"], "BEGIN"), err)
			}
			return nil
		})
	}
	w.quiet(c, 3*time.Second)
	if err := w.handshakes(t.Context(), "weather", "agent"); err != nil {
		t.Error(err)
	}
	controlplane.Eventually(t, soon, func(ctx context.Context) error {
		events, found := &eventsv1.EventList{}, map[string]bool{}
		if err := w.List(ctx, events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			found[e.Reason] = true
		}
		if !found["AuthorityFollows"] || !found["AuthorityInForce"] || !found["AuthorityRemoved"] || found["AuthorityForced"] {
			return fmt.Errorf("events: %v", found)
		}
		return nil
	})
}

// gone is how long a definition may take to go. The API server waits for a minute for each object that was made while it deleted the
// others, and then longer each time before it looks again, unless the definition is changed meanwhile.
const gone = 3 * time.Minute

// TestIntegrationCertManagerGone: the API of cert-manager goes, with everything that was said to it, and comes back a day
// later. What runs goes on with the certificates that it has, and they come from the same authority afterwards.
func TestIntegrationCertManagerGone(t *testing.T) {
	w := newWorld(t, controlplane.WithControllerManager())
	w.everybody()
	c := &writes{}
	w.run(c.use)
	w.create(w.server("weather"))
	w.ready("weather")
	w.quiet(c, 2*time.Second)
	content := func(name, key string) string {
		t.Helper()
		secret := &corev1.Secret{}
		if err := w.get(name, secret); err != nil {
			t.Fatal(err)
		}
		return string(secret.Data[key])
	}
	authority, config := content("bartizan-ca-1", "tls.crt"), content("weather-gate", gateconfig.ConfigFile)
	leaf, _, err := played.Decode(&corev1.Secret{Data: map[string][]byte{"tls.crt": []byte(content("weather-tls", "tls.crt")), "tls.key": []byte(content("weather-tls", "tls.key"))}})
	if err != nil {
		t.Fatal(err)
	}
	var definitions []*unstructured.Unstructured
	for _, resource := range []string{"certificates", "issuers", "certificaterequests", "clusterissuers"} {
		definition := &unstructured.Unstructured{}
		definition.SetName(resource + ".cert-manager.io")
		definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		if err := w.Delete(t.Context(), definition); err != nil {
			t.Fatal(err)
		}
		definitions = append(definitions, definition)
	}
	looked := time.Now()
	controlplane.Eventually(t, gone, func(ctx context.Context) error {
		for _, definition := range definitions {
			found := definition.DeepCopy()
			err := w.Get(ctx, client.ObjectKeyFromObject(definition), found)
			if err == nil {
				if time.Since(looked) > 5*time.Second {
					looked = time.Now()
					patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"looked":%q}}}`, looked)
					if err := w.Patch(ctx, found, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
						return err
					}
				}
				return fmt.Errorf("%s is not gone yet: finalizers %v, status %v", definition.GetName(), found.GetFinalizers(), found.Object["status"])
			}
			if client.IgnoreNotFound(err) != nil {
				return err
			}
		}
		return nil
	})
	told := w.condition("weather", v1alpha1.ConditionCertificatesReady, metav1.ConditionFalse, "CertManagerMissing")
	if until := leaf.NotAfter.UTC().Format(time.RFC3339); !strings.Contains(told.Message, until) {
		t.Errorf("the message does not say that the certificate is valid until %s: %s", until, told.Message)
	}
	w.quiet(c, 3*time.Second)
	for _, child := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &networkingv1.NetworkPolicy{}} {
		if err := w.get("weather", child); err != nil {
			t.Error(err)
		}
	}
	if content("weather-gate", gateconfig.ConfigFile) != config {
		t.Error("the gate's configuration changed")
	}
	controlplane.Install(t, w.config, controlplane.CertManager)
	w.ready("weather")
	if content("bartizan-ca-1", "tls.crt") != authority {
		t.Error("the authority is another one")
	}
}

// TestIntegrationCertManagerDown: nobody renews a certificate. The status says how long is left, and does not change again
// until something does; the pods stay as they are.
func TestIntegrationCertManagerDown(t *testing.T) {
	w := newWorld(t)
	var offset atomic.Int64
	c := &writes{}
	playing := atomic.Bool{}
	playing.Store(true)
	w.act(func(ctx context.Context) error {
		if !playing.Load() {
			return nil
		}
		return w.certManager(ctx)
	}, w.workloads)
	w.run(c.use, func(o *Options, _ *Config) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	server := w.server("weather")
	w.create(server)
	w.ready("weather")
	playing.Store(false)
	offset.Store(int64(19 * time.Hour)) // it lives for 24 hours and was to be renewed after 16
	touch := func(value string) {
		update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Env = []v1alpha1.EnvVar{{Name: "TOUCHED", Value: &value}} })
	}
	touch("once")
	told := w.condition("weather", v1alpha1.ConditionCertificatesReady, metav1.ConditionFalse, "RenewalOverdue")
	if !strings.Contains(told.Message, "is valid until") {
		t.Errorf("the message does not say how long is left: %s", told.Message)
	}
	w.quiet(c, 3*time.Second)
	touch("twice")
	if again := w.condition("weather", v1alpha1.ConditionCertificatesReady, metav1.ConditionFalse, "RenewalOverdue"); again.Message != told.Message {
		t.Errorf("the message changed with the time\nfrom %s\nto   %s", told.Message, again.Message)
	}
	offset.Store(int64(25 * time.Hour))
	touch("again")
	w.condition("weather", v1alpha1.ConditionCertificatesReady, metav1.ConditionFalse, "CertificateExpired")
	if children := w.children("weather"); children["Deployment weather"] == nil {
		t.Error("the Deployment is gone")
	}
}

// TestIntegrationKubeletsAreToldOfCertificates: while a gate serves another certificate than its Secret has, the kubelet of its
// pod is told to read the Secret again.
func TestIntegrationKubeletsAreToldOfCertificates(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run()
	w.create(w.server("weather"))
	w.ready("weather")
	secret := &corev1.Secret{}
	serial := func() string {
		t.Helper()
		if err := w.get("weather-tls", secret); err != nil {
			t.Fatal(err)
		}
		leaf, _, err := played.Decode(secret)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Text(16)
	}
	before := serial()
	w.gates.serial.Store(&before)
	for range 2 {
		served := serial()
		delete(secret.Annotations, certmanager.IssuerNameAnnotationKey) // the next look of cert-manager's issues another
		if err := w.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		controlplane.Eventually(t, soon, func(context.Context) error {
			if serial() == served {
				return errors.New("it is not renewed")
			}
			return nil
		})
		renewed := serial()
		controlplane.Eventually(t, soon, func(ctx context.Context) error {
			pods := &corev1.PodList{}
			if err := w.List(ctx, pods, client.InNamespace(w.namespace)); err != nil {
				return err
			}
			for _, pod := range pods.Items {
				if have := pod.Annotations["bartizan.dev/certificate-serial"]; have != renewed {
					return fmt.Errorf("the kubelet of Pod %s was told of certificate %q, want %q", pod.Name, have, renewed)
				}
			}
			return nil
		})
	}
}

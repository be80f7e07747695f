package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	played "github.com/bartizan-dev/bartizan/test/certmanager"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// agentOf makes the server "weather" and a client of it in the same namespace, and waits until they trust each other.
func (w *world) agentOf() {
	w.t.Helper()
	w.create(w.server("weather"), &v1alpha1.MCPAccessPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "readers"},
		Spec: v1alpha1.MCPAccessPolicySpec{Servers: v1alpha1.ServerSelection{Names: []string{"weather"}}, Rules: []v1alpha1.AccessRule{{
			Tools:    []string{"list"},
			Subjects: []v1alpha1.Subject{{Type: v1alpha1.SubjectMCPClient, MCPClient: &v1alpha1.MCPClientSubject{Namespace: w.namespace, Name: "agent"}}},
		}}},
	}, &v1alpha1.MCPClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agent"},
		Spec:       v1alpha1.MCPClientSpec{Servers: []v1alpha1.ServerRef{{Namespace: w.namespace, Name: "weather"}}},
	})
	w.ready("weather")
	controlplane.Eventually(w.t, soon, func(ctx context.Context) error { return w.handshakes(ctx, "weather", "agent") })
}

// unbroken tries all handshakes again and again until the returned function is called.
func (w *world) unbroken() (end func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	failed, checks := make(chan error, 1), atomic.Int64{}
	go func() {
		defer close(failed)
		for ctx.Err() == nil {
			if err := w.handshakes(ctx, "weather", "agent"); err != nil && ctx.Err() == nil {
				failed <- err
				return
			}
			checks.Add(1)
		}
	}()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-failed; err != nil {
			w.t.Error(err)
		}
		w.t.Logf("%d times all handshakes succeeded", checks.Load())
	}
}

// followed waits until an authority is the only one.
func (w *world) followed(generation int) {
	w.t.Helper()
	controlplane.Eventually(w.t, 4*soon, func(context.Context) error {
		for _, kind := range []client.Object{&certmanager.Certificate{}, &certmanager.Issuer{}, &corev1.Secret{}} {
			if err := w.get(fmt.Sprintf("bartizan-ca-%d", generation), kind); err != nil {
				return err
			}
			if err := w.get(fmt.Sprintf("bartizan-ca-%d", generation-1), kind); client.IgnoreNotFound(err) != nil || err == nil {
				return fmt.Errorf("the %T of the authority before is still there", kind)
			}
		}
		return nil
	})
}

// TestIntegrationAuthorityLost: somebody deletes the Secret of a namespace's authority, and cert-manager makes another authority
// under its name. Every certificate is trusted at every moment, the status says what is the matter, and another generation
// follows.
func TestIntegrationAuthorityLost(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	w.run(c.use, func(o *Options, _ *Config) { o.AuthorityOverlap = 2 * time.Second })
	w.agentOf()
	controlplane.Eventually(t, soon, func(context.Context) error {
		certificate := &certmanager.Certificate{}
		if err := w.get("bartizan-ca-1", certificate); err != nil {
			return err
		}
		if !strings.Contains(certificate.Annotations["bartizan.dev/certificates"], "BEGIN CERTIFICATE") {
			return errors.New("nothing remembers the authority's certificate")
		}
		return nil
	})
	end := w.unbroken()
	secret := &corev1.Secret{}
	if err := w.get("bartizan-ca-1", secret); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	controlplane.Eventually(t, soon, func(context.Context) error {
		told := w.condition("weather", v1alpha1.ConditionCertificatesReady, metav1.ConditionTrue, "Issued")
		if !strings.Contains(told.Message, "Secret "+w.namespace+"/bartizan-ca-1") {
			return fmt.Errorf("the status does not name what was lost: %s", told.Message)
		}
		return nil
	})
	w.followed(2)
	end()
	w.ready("weather")
	w.quiet(c, 3*time.Second)
	if err := w.handshakes(t.Context(), "weather", "agent"); err != nil {
		t.Error(err)
	}
}

// TestIntegrationAuthorityForgotten: somebody deletes the Secret of an authority and all that remembers it. Gates refuse what it
// issued to clients: the client is not Ready, and gets a certificate of the authority that is there now. That of the server is
// trusted by all who have read the bundle before, and stays.
func TestIntegrationAuthorityForgotten(t *testing.T) {
	w := newWorld(t)
	playing := atomic.Bool{}
	playing.Store(true)
	w.act(func(ctx context.Context) error {
		if !playing.Load() {
			return nil
		}
		return w.certManager(ctx)
	}, w.workloads)
	var offset atomic.Int64
	c := &writes{}
	w.run(c.use, func(o *Options, _ *Config) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	w.agentOf()
	offset.Store(int64(time.Minute)) // what was issued just now would come back as it is
	playing.Store(false)
	// In the other order, the Certificate that is made again remembers.
	for _, object := range []client.Object{&corev1.Secret{}, &certmanager.Certificate{}} {
		if err := w.get("bartizan-ca-1", object); err != nil {
			t.Fatal(err)
		}
		if err := w.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	controlplane.Eventually(t, soon, func(ctx context.Context) error {
		// An operator that was about to write when it went has made it again with what it knew.
		again := &certmanager.Certificate{}
		if err := w.get("bartizan-ca-1", again); err == nil && again.Annotations["bartizan.dev/certificates"] != "" {
			if err := w.Delete(ctx, again); client.IgnoreNotFound(err) != nil {
				return err
			}
		}
		agent := &v1alpha1.MCPClient{}
		if err := w.get("agent", agent); err != nil {
			return err
		}
		for _, condition := range agent.Status.Conditions {
			if condition.Type == v1alpha1.ConditionReady && condition.Status == metav1.ConditionFalse &&
				(condition.Reason == "CertificateNotTrusted" || condition.Reason == "Issuing") { // it is deleted as soon as there is an authority
				return nil
			}
		}
		return fmt.Errorf("gates refuse the client's certificate, and its conditions are %+v", agent.Status.Conditions)
	})
	playing.Store(true)
	controlplane.Eventually(t, soon, func(context.Context) error {
		by, leaf := &corev1.Secret{}, &corev1.Secret{}
		if err := errors.Join(w.get("bartizan-ca-1", by), w.get("agent."+w.namespace+".tls", leaf)); err != nil {
			return err
		}
		authority, _, err := played.Decode(by)
		if err != nil {
			return err
		}
		certificate, _, err := played.Decode(leaf)
		if err != nil {
			return err
		}
		return certificate.CheckSignatureFrom(authority)
	})
	controlplane.Eventually(t, soon, func(ctx context.Context) error { return w.handshakes(ctx, "weather", "agent") })
	controlplane.Eventually(t, soon, func(context.Context) error {
		agent := &v1alpha1.MCPClient{}
		if err := w.get("agent", agent); err != nil {
			return err
		}
		for _, condition := range agent.Status.Conditions {
			if condition.Type == v1alpha1.ConditionReady && condition.Status == metav1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("the client has another certificate, and its conditions are %+v", agent.Status.Conditions)
	})
	w.ready("weather")
	w.quiet(c, 3*time.Second)
}

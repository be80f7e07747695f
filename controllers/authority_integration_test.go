package controllers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationAuthorityBeingDeleted: an Issuer that somebody deletes and that takes long to go is waited for without a
// look at it, and made anew as soon as it is gone.
func TestIntegrationAuthorityBeingDeleted(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	w.run(c.use)
	w.create(w.server("weather"))
	w.ready("weather")
	w.quiet(c, 2*time.Second)

	issuer := &certmanager.Issuer{}
	const name = "bartizan-ca-1"
	if err := w.get(name, issuer); err != nil {
		t.Fatal(err)
	}
	uid := issuer.UID
	finalizers := func(value string) {
		t.Helper()
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"finalizers":%s}}`, value))
		if err := w.Patch(t.Context(), issuer, patch, client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/slow"]`)
	if err := w.Delete(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	w.quiet(c, 2*time.Second)
	finalizers(`null`)
	began := time.Now()
	controlplane.Eventually(t, soon, func(context.Context) error {
		now := &certmanager.Issuer{}
		if err := w.get(name, now); err != nil {
			return err
		}
		if now.UID == uid {
			return fmt.Errorf("the Issuer is still the one that was deleted")
		}
		return nil
	})
	t.Logf("made anew %s after it was gone", time.Since(began).Round(time.Millisecond))
}

// TestIntegrationOwnNamespaceIsNotLookedAfter: an operator for some namespaces, of which its own is none, has the authority there that
// vouches for it, and leaves alone what is there for the servers of another operator.
func TestIntegrationOwnNamespaceIsNotLookedAfter(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	foreign := w.server("foreign")
	foreign.Namespace = w.operator
	issuer := &certmanager.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: w.operator, Name: "bartizan-ca-1", Labels: map[string]string{
		"app.kubernetes.io/managed-by": "bartizan", "app.kubernetes.io/name": "authority",
	}}}
	issuer.Spec.CA = &certmanager.CAIssuer{SecretName: "bartizan-ca-1"}
	w.create(foreign, issuer)
	w.run()
	w.create(w.server("weather"))
	w.ready("weather")
	controlplane.Eventually(t, soon, func(ctx context.Context) error {
		return w.Get(ctx, client.ObjectKey{Namespace: w.operator, Name: authority.OperatorCertificate}, &certmanager.Certificate{})
	})
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(issuer), issuer); err != nil || issuer.DeletionTimestamp != nil {
		t.Errorf("the issuer of another operator: %v", err)
	}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || len(foreign.Status.Conditions) > 0 {
		t.Errorf("a server of another operator: %v, %s", err, describe(foreign))
	}
}

package controllers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

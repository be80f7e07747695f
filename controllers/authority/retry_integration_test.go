package authority_test

import (
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationFailedIssuanceIsRetried plays cert-manager's failure of a first issuance, after which it would wait for an hour: the
// Certificate is made again, and no other is touched.
func TestIntegrationFailedIssuanceIsRetried(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	o := w.start(0, nil)
	w.must(o.reconcile(w))
	key := client.ObjectKey{Namespace: w.tools, Name: "bartizan-ca-1"}
	for _, test := range []struct {
		name         string
		ago          time.Duration
		change       func(*certmanager.Certificate)
		waits, again bool
	}{
		{name: "just failed", ago: time.Second, waits: true},
		{name: "failed", ago: time.Minute, again: true},
		{name: "its time is in the future", ago: -time.Hour, waits: true},
		{name: "issued before", ago: time.Minute, change: func(c *certmanager.Certificate) { c.Status.Revision = new(1) }},
		{name: "lost before", ago: time.Minute, change: func(c *certmanager.Certificate) {
			c.Annotations = map[string]string{"bartizan.dev/certificates": "one"}
		}},
		{name: "of an issuer of somebody else", ago: time.Minute, change: func(c *certmanager.Certificate) { c.Spec.IssuerRef.Name = "corp" }},
		{name: "of a cluster-scoped issuer", ago: time.Minute, change: func(c *certmanager.Certificate) { c.Spec.IssuerRef.Kind = "ClusterIssuer" }},
		{name: "not ours", ago: time.Minute, change: func(c *certmanager.Certificate) { c.Labels = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &certmanager.Certificate{}
			w.must(client.IgnoreNotFound(w.client.Delete(t.Context(), &certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})))
			w.must(o.reconcile(w))
			w.must(w.client.Get(t.Context(), key, c))
			if test.change != nil {
				test.change(c)
			}
			status := c.Status
			w.must(w.client.Update(t.Context(), c))
			c.Status = status
			c.Status.LastFailureTime = new(metav1.NewTime(w.now.Add(-test.ago)))
			w.must(w.client.Status().Update(t.Context(), c))
			before := c.UID
			result, err := authority.Retry(t.Context(), o.Reconciler, key)
			w.must(err)
			if waits := result.RequeueAfter > 0; waits != test.waits || result.RequeueAfter > 10*time.Second {
				t.Errorf("looks again in %s", result.RequeueAfter)
			}
			w.must(o.reconcile(w))
			w.must(w.client.Get(t.Context(), key, c))
			if again := c.UID != before; again != test.again {
				t.Errorf("made again: %v", again)
			}
		})
	}
}

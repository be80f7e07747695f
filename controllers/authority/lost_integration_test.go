package authority_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// around does what happens around the operator, and checks every handshake.
func (w *world) around(at string) {
	w.Helper()
	w.controllers()
	w.certManager()
	w.controllers()
	w.kubelet()
	w.check(at)
}

// lose deletes the Secrets of all authorities of a generation. Nobody has time to do anything before the handshakes that follow.
func (w *world) lose(generation int) {
	w.Helper()
	for namespace, family := range map[string]string{w.operator: "bartizan-system-ca-", w.apps: "bartizan-ca-", w.tools: "bartizan-ca-"} {
		w.must(w.client.Delete(context.Background(), w.secret(namespace, fmt.Sprintf("%s%d", family, generation))))
	}
	w.controllers()
	w.kubelet()
	w.check("while cert-manager has not made another authority")
	w.around("with another authority of the same name")
}

// TestIntegrationAuthorityLost deletes the Secrets of all authorities, whereupon cert-manager makes others under their names. No
// handshake fails at any time, and at the end all certificates are of authorities that follow. The operator is ended after each
// of the writes that remember what was lost and make others; what follows is a rollover, see TestIntegrationRolloverCrash.
func TestIntegrationAuthorityLost(t *testing.T) {
	config := controlplane.Start(t)
	for k := range 5 {
		w := newWorld(t, config)
		w.live(w.start(0, nil), w.all(1), "at first")
		first := w.parse(w.secret(w.tools, "bartizan-ca-1"))
		w.lose(1)
		if w.parse(w.secret(w.tools, "bartizan-ca-1")).Equal(first) {
			t.Fatal("nothing was lost")
		}
		o := w.start(k, nil)
		w.live(o, w.all(2), fmt.Sprintf("before write %d", k))
		if k > 0 {
			w.live(w.start(0, nil), w.all(2), fmt.Sprintf("after write %d", k))
			continue
		}
		for _, leaf := range []struct{ namespace, name, family string }{
			{w.tools, "github-tls", "bartizan-ca-"}, {w.apps, "agent." + w.tools + ".tls", "bartizan-ca-"}, {w.operator, authority.OperatorCertificate, "bartizan-system-ca-"},
		} {
			by := w.parse(w.secret(leaf.namespace, leaf.family+"2"))
			if err := w.parse(w.secret(leaf.namespace, leaf.name)).CheckSignatureFrom(by); err != nil {
				t.Errorf("Secret %s/%s: %v", leaf.namespace, leaf.name, err)
			}
		}
		for _, event := range []string{"AuthorityLost Secret bartizan-ca-1 ", "AuthorityLost Secret bartizan-system-ca-1 "} {
			if !w.told(o, event) {
				t.Errorf("no event %q", event)
			}
		}
	}
}

// told says whether there was an event with a text. It takes the events.
func (w *world) told(o *operator, text string) bool {
	for range len(o.events.Events) {
		event := <-o.events.Events
		found := strings.Contains(event, text)
		o.events.Events <- event
		if found {
			return true
		}
	}
	return false
}

// TestIntegrationAuthorityLostWhileItFollows: an authority that issues nothing yet and is lost has to be trusted anew before it
// issues; the one that it follows, lost in the middle, is trusted as before, even when it is lost twice.
func TestIntegrationAuthorityLostWhileItFollows(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	o := w.start(0, nil)
	w.live(o, w.all(1), "at first")
	o.RotateAfter = w.later()
	settling := func() bool { return strings.HasPrefix(w.rollover(w.apps, "bartizan-ca-2"), "everybody can trust it") }
	follows := func(at string) {
		t.Helper()
		for range 20 {
			w.must(o.reconcile(w))
			w.around(at)
			if w.generations(w.apps, "bartizan-ca-") == "[C1 C2 I1 S1 S2]" && settling() {
				return
			}
		}
		t.Fatalf("%s: there are %s", at, w.generations(w.apps, "bartizan-ca-"))
	}
	follows("while another follows")
	trusted := func() string {
		certificate := &certmanager.Certificate{}
		w.must(w.client.Get(t.Context(), client.ObjectKey{Namespace: w.apps, Name: "bartizan-ca-2"}, certificate))
		return certificate.Annotations["bartizan.dev/distributed-at"]
	}
	before := trusted()
	w.now = w.now.Add(time.Hour)
	w.must(w.client.Delete(t.Context(), w.secret(w.apps, "bartizan-ca-2")))
	w.around("without the one that follows")
	w.must(o.reconcile(w))
	if at := trusted(); at == before {
		t.Errorf("the one that follows is another authority now, and counts as trusted since %s", at)
	}
	follows("after the one that follows was lost")
	w.lose(1)
	w.must(o.reconcile(w))
	w.lose(1)
	if bundle, err := authority.Bundle(t.Context(), w.client, w.apps, true); err != nil || strings.Count(bundle, "BEGIN") != 4 {
		t.Errorf("the one in force was lost twice, and another follows: there are %d certificates, %v", strings.Count(bundle, "BEGIN"), err)
	}
	w.live(o, w.all(2), "at the end")
	if bundle, err := authority.Bundle(t.Context(), w.client, w.apps, true); err != nil || strings.Count(bundle, "BEGIN") != 1 {
		t.Errorf("at the end there are %d certificates, %v", strings.Count(bundle, "BEGIN"), err)
	}
}

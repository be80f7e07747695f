package mcpclient_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// uses has the gate at an address say when it accepted a key last.
func (w *world) uses(address string, key []byte, at time.Time) {
	w.Helper()
	id, err := keys.Parse(string(key))
	w.must(err)
	s := w.answers[address]
	for i := range s.Keys {
		if s.Keys[i].ID == id {
			s.Keys[i].LastUsed = at
		}
	}
	w.answers[address] = s
}

// TestIntegrationLastUsed uses a key all the time for six hours: the status follows to the hour, with one write an hour, and knows
// better than a gate that has forgotten, is wrong about the time, or does not answer.
func TestIntegrationLastUsed(t *testing.T) {
	w, tools := rotating(t, nil)
	w.pod(tools, "github", "one", "192.0.2.1", corev1.ConditionTrue)
	w.pod(tools, "github", "two", "192.0.2.2", corev1.ConditionTrue)
	w.gates(tools, "github")
	key := w.key(tools)
	shown := func() time.Time {
		if at := w.status().Credentials[0].Keys[0].LastUsed; at != nil {
			return at.Time
		}
		return time.Time{}
	}
	o := w.operator(0)
	look := func() {
		t.Helper()
		if result, err := o.reconcile(w); err != nil || result.RequeueAfter == 0 || result.RequeueAfter > time.Hour {
			t.Fatalf("looks again after %s: %v", result.RequeueAfter, err)
		}
	}
	look()
	if !shown().IsZero() {
		t.Errorf("never used, and used at %s", shown())
	}
	before := o.writes.Load()
	for i := range 6 * 4 {
		w.now = w.now.Add(15 * time.Minute)
		w.uses(fmt.Sprintf("192.0.2.%d", 1+i%2), key, w.now)
		look()
		if at := shown(); at.After(w.now) || !at.Equal(at.Truncate(time.Hour)) || i > 4 && w.now.Sub(at) > 2*time.Hour {
			t.Fatalf("at %s used at %s", w.now, at)
		}
	}
	if n := o.writes.Load() - before; n > 6 || n < 5 {
		t.Errorf("%d writes in 6 hours", n)
	}
	w.now = w.now.Add(61 * time.Minute)
	look() // what the gates know of the last hour
	last := shown()
	for name, change := range map[string]func(){
		"the gates began anew":        func() { w.uses("192.0.2.1", key, time.Time{}); w.uses("192.0.2.2", key, time.Time{}) },
		"a gate is ahead of the time": func() { w.uses("192.0.2.1", key, w.now.Add(5*time.Hour)) },
		"no gate answers":             func() { delete(w.answers, "192.0.2.1"); delete(w.answers, "192.0.2.2") },
	} {
		w.now = w.now.Add(61 * time.Minute)
		change()
		before := o.writes.Load()
		look()
		if !shown().Equal(last) || o.writes.Load() != before {
			t.Errorf("%s: used at %s, not at %s", name, shown(), last)
		}
	}
}

// TestIntegrationLastUsedOfAPodThatEnds: what only the gate of a pod that ends knows is asked for before it is gone.
func TestIntegrationLastUsedOfAPodThatEnds(t *testing.T) {
	w, tools := rotating(t, nil)
	w.pod(tools, "github", "one", "192.0.2.1", corev1.ConditionTrue)
	w.gates(tools, "github")
	w.run()
	key, at := w.key(tools), time.Now().Add(-3*time.Hour)
	w.uses("192.0.2.1", key, at)
	manage(t, w.config, w)
	w.must(w.client.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "one"}}))
	w.eventually("the use that the gate knew", func() bool {
		used := w.status().Credentials[0].Keys[0].LastUsed
		return used != nil && used.Time.Equal(at.Truncate(time.Hour))
	})
}

// TestIntegrationGrantComesBack: a grant that goes away for less than ten minutes costs no key, although no gate accepts it
// meanwhile; what is revoked then stays revoked.
func TestIntegrationGrantComesBack(t *testing.T) {
	w, tools := rotating(t, nil)
	w.certManager()
	w.run()
	key := w.key(tools)
	policy := &v1alpha1.MCPAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "readers"}}
	away := func(d time.Duration) {
		t.Helper()
		w.must(w.client.Delete(t.Context(), policy.DeepCopy()))
		if w.accepts(tools, "github", key) {
			t.Error("accepted without a grant")
		}
		o := w.operator(0)
		result, err := o.reconcile(w)
		w.must(err)
		if result.RequeueAfter > 10*time.Minute || w.status().Credentials[0].UngrantedSince == nil || !bytes.Equal(w.key(tools), key) || w.condition(ready) != "False ServersNotGranted" {
			t.Errorf("without a grant: looks again after %s, %s", result.RequeueAfter, w.condition(ready))
		}
		if o := w.run(); o.writes.Load() != 0 {
			t.Errorf("%d writes at rest", o.writes.Load())
		}
		w.now = w.now.Add(d)
		w.run()
		w.grant(tools)
		w.run()
	}
	away(9 * time.Minute)
	if !bytes.Equal(w.key(tools), key) || !w.accepts(tools, "github", key) || w.condition(ready) != "True Ready" || w.status().Credentials[0].UngrantedSince != nil {
		t.Errorf("it came back: %s, %s", w.keyStates(tools), w.condition(ready))
	}
	away(11 * time.Minute)
	if bytes.Equal(w.key(tools), key) || w.accepts(tools, "github", key) {
		t.Errorf("it came back too late: %s", w.keyStates(tools))
	}
	key = w.key(tools)
	id, _ := keys.Parse(string(key))
	w.must(w.client.Delete(t.Context(), policy.DeepCopy()))
	w.run()
	w.spec(func(s *v1alpha1.MCPClientSpec) { s.RevokedKeys = []string{id} })
	w.grant(tools)
	w.run()
	w.gates(tools, "github")
	w.run()
	if w.accepts(tools, "github", key) || !w.accepts(tools, "github", w.key(tools)) {
		t.Errorf("revoked meanwhile: %s", w.keyStates(tools))
	}
	// The client's own side ends at once.
	other := controlplane.Namespace(t, w.config, "other")
	w.spec(func(s *v1alpha1.MCPClientSpec) { s.Servers = []v1alpha1.ServerRef{{Namespace: other, Name: "x"}} })
	w.run()
	if w.key(tools) != nil || len(w.status().Credentials) != 0 {
		t.Error("kept although the client does not want it")
	}
}

// TestIntegrationRewrittenSecret: a tool that puts its own text into the client's Secret whenever it sees ours does not have
// the operator make keys without an end. The status names it, and what the client has in memory works.
func TestIntegrationRewrittenSecret(t *testing.T) {
	w, tools := rotating(t, nil)
	w.gates(tools, "github")
	first := w.key(tools)
	o := w.operator(0)
	made := map[string]bool{}
	for range 20 {
		s := &corev1.Secret{}
		if w.get(w.apps, mcpclient.SecretName("agent", tools), s) {
			made[string(s.Data["api-key"])] = true
			s.Data["api-key"] = []byte("mine")
			w.must(w.client.Update(t.Context(), s, client.FieldOwner("meddler")))
		}
		if _, err := o.reconcile(w); err != nil {
			t.Fatal(err)
		}
		w.gates(tools, "github")
		if !w.accepts(tools, "github", first) {
			t.Fatal("what the client has in memory is refused")
		}
	}
	if len(made) > 6 || len(made) < 4 {
		t.Errorf("%d keys at once", len(made))
	}
	if w.condition("RotationSucceeded") != "False SecretRewritten" || !bytes.Contains([]byte(w.message("RotationSucceeded")), []byte(`last by "meddler"`)) {
		t.Errorf("%s: %s", w.condition("RotationSucceeded"), w.message("RotationSucceeded"))
	}
	w.now = w.now.Add(3 * time.Minute)
	w.settle(tools, true)
	if !w.accepts(tools, "github", w.key(tools)) || w.condition("RotationSucceeded") != "True UpToDate" {
		t.Errorf("when it has stopped: %s, %s", w.keyStates(tools), w.condition("RotationSucceeded"))
	}
}

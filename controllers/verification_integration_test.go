package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// attackActor plays the attacks: they fail, but on controls that are broken.
type attackActor struct {
	mutex   sync.Mutex
	broken  map[string]bool
	targets []probe.Target
}

func (a *attackActor) attack(_ context.Context, target probe.Target) []posture.Probe {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.targets = append(a.targets, target)
	all := []posture.Probe{
		{Name: posture.OwnToken + " that has expired", Control: "AUTH-6", Pod: target.Pod, Outcome: posture.Held},
	}
	for _, id := range []string{"AUTH-1", "AUTH-5", "AUTH-6", "AUTH-7", "AUTH-10", "PERM-1", "PERM-2", "PERM-7", "ENC-1", "ENC-2", "ENC-3", "LOG-3", "TEST-3", "LEAST-6"} {
		p := posture.Probe{Name: "attack on " + id, Control: id, Pod: target.Pod, Outcome: posture.Held}
		if a.broken[id] {
			p.Outcome, p.Detail = posture.Broken, "HTTP status 200"
		}
		all = append(all, p)
	}
	return all
}

func (a *attackActor) set(control string, broken bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.broken[control] = broken
}

func (a *attackActor) count() int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return len(a.targets)
}

// verifyNow asks for a verification as the plugin does.
func (w *world) verifyNow(name string) {
	w.t.Helper()
	server := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	requested := time.Now().Format(time.RFC3339Nano)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationVerificationRequestedAt, requested)
	if err := w.Patch(w.t.Context(), server, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("kubectl-mcp")); err != nil {
		w.t.Fatal(err)
	}
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		if err := w.get(name, server); err != nil {
			return err
		}
		if server.Status.Posture == nil || server.Status.Posture.HandledRequest != requested {
			return fmt.Errorf("the request of %s is not handled: %+v", requested, server.Status.Posture)
		}
		return nil
	})
}

// failing waits until exactly these controls fail.
func (w *world) failing(name string, want ...string) *v1alpha1.PostureStatus {
	w.t.Helper()
	var found *v1alpha1.PostureStatus
	controlplane.Eventually(w.t, soon, func(context.Context) error {
		s := &v1alpha1.MCPServer{}
		if err := w.get(name, s); err != nil {
			return err
		}
		if s.Status.Posture == nil {
			return fmt.Errorf("no posture yet")
		}
		var got []string
		for _, f := range s.Status.Posture.Failing {
			if f.Result == "Fail" {
				got = append(got, f.Control)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%v fail, want %v: %+v", got, want, s.Status.Posture.Failing)
		}
		found = s.Status.Posture
		return nil
	})
	return found
}

func TestIntegrationPosture(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	w.run(c.use, w.watchesItself)
	server := w.server("weather")
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Weather"}}
	w.create(server)
	w.ready("weather")
	w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	good := w.failing("weather")
	if *good.Score < 90 || *good.Coverage < 40 || *good.Passed < 20 || *good.Unknown == 0 {
		t.Errorf("a good server: %+v %+v", good, *good.Score)
	}

	// Nothing is written at rest, and the two writers of the status leave each other alone.
	w.quiet(c, 3*time.Second)

	t.Run("what is attacked, with what", func(t *testing.T) {
		w.attacks.mutex.Lock()
		defer w.attacks.mutex.Unlock()
		target := w.attacks.targets[len(w.attacks.targets)-1]
		if target.Identity == nil || len(target.Forged) < 5 || target.Roots == nil || target.ServerPort != 8080 || target.Path != "/mcp" || len(target.Mark) != 32 || target.Address == "" {
			t.Errorf("%+v", target)
		}
	})
	t.Run("an attack succeeds, and does not any more", func(t *testing.T) {
		w := w.in(t)
		w.attacks.set("PERM-1", true)
		w.verifyNow("weather")
		condition := w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionFalse, "AttackSucceeded")
		if !strings.Contains(condition.Message, "PERM-1 attack on PERM-1 at weather-") {
			t.Errorf("%s", condition.Message)
		}
		if p := w.failing("weather", "PERM-1", "TEST-2"); *p.Score > 40 {
			t.Errorf("score %d with a failed critical control", *p.Score)
		}
		w.ready("weather") // Ready does not need it
		w.event("weather", "ControlFailed", "PERM-1 (critical): an attack succeeded")
		w.attacks.set("PERM-1", false)
		w.verifyNow("weather")
		w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
		w.failing("weather")
		w.event("weather", "ControlRecovered", "PERM-1 (critical) does not fail any more")
	})
	t.Run("what opens the pods", func(t *testing.T) {
		w := w.in(t)
		before := w.attacks.count()
		open := &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "open"},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
		}
		w.create(open)
		w.failing("weather", "LEAST-5")
		if w.attacks.count() == before {
			t.Error("no attack after a change")
		}
		if err := w.Delete(t.Context(), open); err != nil {
			t.Fatal(err)
		}
		w.failing("weather")
		round := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "round"},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"bartizan.dev/server": "weather"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
			},
		}
		w.create(round)
		w.failing("weather", "LEAST-8")
		if err := w.Delete(t.Context(), round); err != nil {
			t.Fatal(err)
		}
		w.failing("weather")
	})
	t.Run("a literal secret, and who answers for it", func(t *testing.T) {
		w := w.in(t)
		update(w, server, func(s *v1alpha1.MCPServer) {
			value := "s3cr3t-of-mine"
			s.Spec.Env = []v1alpha1.EnvVar{{Name: "API_TOKEN", Value: &value}}
		})
		p := w.failing("weather", "ENC-6")
		if !strings.Contains(p.Failing[0].Reason, "spec.env[API_TOKEN]") || strings.Contains(p.Failing[0].Reason, "s3cr3t") {
			t.Errorf("%+v", p.Failing)
		}
		update(w, server, func(s *v1alpha1.MCPServer) {
			s.Spec.Verification = &v1alpha1.Verification{Exemptions: []v1alpha1.Exemption{{
				Control: "ENC-6", Owner: "team-a", Reason: "it opens nothing", NotAfter: metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second)),
			}}}
		})
		w.failing("weather")
	})
	t.Run("a key that nobody has in use", func(t *testing.T) {
		w := w.in(t)
		stale := []string{"aaaaaaaaaaaaaaaa"}
		w.gates.accepts.Store(&stale)
		update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Verification.Interval = "10s" })
		w.failing("weather", "AUTH-5")
		w.gates.accepts.Store(nil)
		w.failing("weather")
	})
	t.Run("no pod", func(t *testing.T) {
		w := w.in(t)
		suspend := true
		update(w, server, func(s *v1alpha1.MCPServer) { s.Spec.Suspend = &suspend })
		w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionUnknown, "NoReadyGate")
		if p := w.failing("weather"); *p.Coverage >= *good.Coverage {
			t.Errorf("without a pod the coverage is %d, with one %d", *p.Coverage, *good.Coverage)
		}
	})
}

// TestIntegrationGlance: between two runs the gates are looked at, and what is wrong then is found out at once.
func TestIntegrationGlance(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run(w.watchesItself)
	server := w.server("weather")
	server.Spec.Classification = &v1alpha1.Classification{Level: "Internal", Owner: "team-a", Categories: []string{"Weather"}}
	server.Spec.Verification = &v1alpha1.Verification{Interval: "60s"}
	w.create(server)
	w.ready("weather")
	w.failing("weather")
	quick := func() (n int) {
		w.attacks.mutex.Lock()
		defer w.attacks.mutex.Unlock()
		for _, target := range w.attacks.targets {
			if target.Quick && len(target.Forged) == 0 && len(target.Mark) == 32 {
				n++
			}
		}
		return n
	}
	controlplane.Eventually(t, soon, func(context.Context) error {
		if quick() < 2 {
			return fmt.Errorf("looked at %d times", quick())
		}
		return nil
	})
	w.attacks.set("AUTH-1", true)
	w.failing("weather", "AUTH-1", "TEST-2")
}

// TestIntegrationIsolation: a server on which attacks succeed again and again is closed to its callers where its owner wants
// that, and opened again when they do not succeed any more, or by hand.
func TestIntegrationIsolation(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	w.run(w.watchesItself)
	server := w.server("weather")
	server.Spec.Network = &v1alpha1.Network{Ingress: []v1alpha1.NetworkIngress{{From: []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "caller"}}},
	}}}}
	w.create(server)
	w.ready("weather")
	w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	open := func(want bool) {
		t.Helper()
		controlplane.Eventually(t, soon, func(context.Context) error {
			policy := &networkingv1.NetworkPolicy{}
			if err := w.get("weather", policy); err != nil {
				return err
			}
			callers, operator := false, false
			for _, rule := range policy.Spec.Ingress {
				for _, peer := range rule.From {
					callers = callers || peer.PodSelector.MatchLabels["app"] == "caller"
					operator = operator || peer.NamespaceSelector != nil && rule.Ports[0].Port.IntValue() == gateconfig.GatePort
				}
			}
			if callers != want || !operator {
				return fmt.Errorf("callers get in: %t, want %t; the operator does: %t", callers, want, operator)
			}
			return nil
		})
	}
	// Reporting is what happens unless something else is asked for, however often.
	w.attacks.set("PERM-1", true)
	for range 4 {
		w.verifyNow("weather")
	}
	w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionFalse, "AttackSucceeded")
	open(true)

	after := int32(2)
	update(w, server, func(s *v1alpha1.MCPServer) {
		s.Spec.Verification = &v1alpha1.Verification{Interval: "1h", OnFailure: v1alpha1.FailureIsolate, IsolateAfter: &after}
	})
	w.condition("weather", v1alpha1.ConditionIsolatedOnFailure, metav1.ConditionTrue, "AttacksSucceeded")
	w.event("weather", "Isolated", "the network is closed to callers")
	open(false)
	w.attacks.set("PERM-1", false)
	w.verifyNow("weather")
	w.condition("weather", v1alpha1.ConditionIsolatedOnFailure, metav1.ConditionFalse, "NotIsolated")
	w.event("weather", "IsolationEnded", "open to callers again")
	open(true)

	// What is high but not critical closes nothing; what is critical does after so many runs, without waiting for the interval.
	w.attacks.set("PERM-2", true)
	for range 3 {
		w.verifyNow("weather")
	}
	w.condition("weather", v1alpha1.ConditionIsolatedOnFailure, metav1.ConditionFalse, "NotIsolated")
	w.attacks.set("LEAST-6", true)
	w.verifyNow("weather")
	w.condition("weather", v1alpha1.ConditionIsolatedOnFailure, metav1.ConditionTrue, "AttacksSucceeded")
	open(false)
	update(w, server, func(s *v1alpha1.MCPServer) {
		s.Spec.Verification.OnFailure, s.Spec.Verification.IsolateAfter = v1alpha1.FailureReport, nil
	})
	open(true)
}

// TestIntegrationPostureAfterRestart: an operator that begins leaves what its predecessor found, and writes nothing when it
// finds the same.
func TestIntegrationPostureAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	first := &writes{}
	stop := w.run(first.use, w.watchesItself)
	server := w.server("weather")
	server.Spec.Verification = &v1alpha1.Verification{Interval: "10s"} // the turns of a beginning operator are as short
	w.create(server)
	w.ready("weather")
	w.condition("weather", v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	w.quiet(first, 2*time.Second)
	stop()
	before := w.attacks.count()
	second := &writes{}
	w.run(second.use, w.watchesItself)
	controlplane.Eventually(t, soon, func(context.Context) error {
		if w.attacks.count() < before+2 {
			return fmt.Errorf("%d attacks", w.attacks.count()-before)
		}
		return nil
	})
	if written := second.all(); len(written) > 0 {
		t.Errorf("written: %v", written)
	}
}

// watchesItself has the operator look after its own namespace, too, as one does that looks after all.
func (w *world) watchesItself(o *Options, _ *Config) {
	o.WatchNamespaces = append(o.WatchNamespaces, w.operator)
}

// event waits for an event about a server.
func (w *world) event(name, reason, text string) {
	w.t.Helper()
	controlplane.Eventually(w.t, soon, func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := w.List(ctx, list, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		var all []string
		for _, e := range list.Items {
			if e.Regarding.Name == name && e.Reason == reason && strings.Contains(e.Note, text) {
				return nil
			}
			all = append(all, e.Reason+": "+e.Note)
		}
		return fmt.Errorf("no event %s with %q; there are %s", reason, text, strings.Join(all, "\n"))
	})
}

package mcpclient_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// pod makes a pod of a server; its gate answers until it is silenced.
func (w *world) pod(namespace, server, name, address string, ready corev1.ConditionStatus) {
	w.Helper()
	labels := manifests.Selector(server)
	labels[apply.ManagedByLabel] = apply.ManagedBy
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{NodeName: "node",
			InitContainers: []corev1.Container{{Name: manifests.GateContainer, Image: "registry.example/gate"}},
			Containers:     []corev1.Container{{Name: "server", Image: "registry.example/mcp"}}},
	}
	w.create(p)
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
		InitContainerStatuses: []corev1.ContainerStatus{{
			Name: manifests.GateContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.now.Add(-time.Hour))}},
		}},
	}
	w.must(w.client.Status().Update(context.Background(), p))
	w.answers[address] = gatestatus.Status{}
}

// rotating is a world with a client whose key is current, with the given rotation; the clock is all that moves.
func rotating(t *testing.T, rotation *v1alpha1.KeyRotation) (w *world, tools string) {
	t.Helper()
	w = newWorld(t, controlplane.Start(t))
	tools = controlplane.Namespace(t, w.config, "tools")
	w.server(tools, "github", authorityPEM(t, "one"))
	w.grant(tools)
	w.agent(tools + "/github")
	w.spec(func(s *v1alpha1.MCPClientSpec) { s.Rotation = rotation })
	w.run()
	w.gates(tools, "github")
	return w, tools
}

// spec changes the client's spec.
func (w *world) spec(change func(*v1alpha1.MCPClientSpec)) {
	w.Helper()
	c := &v1alpha1.MCPClient{}
	w.get(w.apps, "agent", c)
	change(&c.Spec)
	w.must(w.client.Update(context.Background(), c))
}

// rotate asks for a new key now.
func (w *world) rotate() {
	w.Helper()
	w.spec(func(s *v1alpha1.MCPClientSpec) {
		if s.Rotation == nil {
			s.Rotation = &v1alpha1.KeyRotation{}
		}
		s.Rotation.RotateAfter = &metav1.Time{Time: w.now.Add(time.Second)}
	})
	w.now = w.now.Add(2 * time.Second)
}

func (w *world) message(kind string) string {
	w.Helper()
	if c := meta.FindStatusCondition(w.status().Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// TestIntegrationWhoAcknowledges: a new key is delivered when every gate accepts it that may get a request, and not before.
func TestIntegrationWhoAcknowledges(t *testing.T) {
	for _, test := range []struct {
		name string
		// begin makes pods beside a ready one that has every key.
		begin func(w *world, tools string)
		// waits is whom the rotation waits for; empty when it does not wait.
		waits string
	}{
		{"all have it", func(*world, string) {}, ""},
		{"a ready gate has it not", func(w *world, tools string) {
			w.pod(tools, "github", "late", "192.0.2.2", corev1.ConditionTrue)
			w.answers["192.0.2.2"] = gatestatus.Status{Generation: "old"}
		}, "late"},
		{"a ready gate does not answer", func(w *world, tools string) {
			w.pod(tools, "github", "cut-off", "192.0.2.2", corev1.ConditionTrue)
			delete(w.answers, "192.0.2.2")
		}, "cut-off, whose gate does not answer"},
		{"a gate that is about to be ready has it not", func(w *world, tools string) {
			w.pod(tools, "github", "soon", "192.0.2.2", corev1.ConditionFalse)
		}, "soon"},
		{"a pod starts", func(w *world, tools string) {
			w.pod(tools, "github", "new", "192.0.2.2", corev1.ConditionFalse)
			delete(w.answers, "192.0.2.2")
		}, "new, whose gate does not answer"},
		{"a pod that is not ready was silent for long", func(w *world, tools string) {
			w.pod(tools, "github", "broken", "192.0.2.2", corev1.ConditionFalse)
			delete(w.answers, "192.0.2.2")
			w.now = w.now.Add(3 * time.Minute)
		}, ""},
		{"a pod has the server's label and no gate", func(w *world, tools string) {
			w.create(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: tools, Name: "stranger", Labels: manifests.Labels("github")},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: "registry.example/mcp"}}},
			})
		}, ""},
		{"a pod that has ended", func(w *world, tools string) {
			w.pod(tools, "github", "ended", "192.0.2.2", corev1.ConditionFalse)
			delete(w.answers, "192.0.2.2")
			p := &corev1.Pod{}
			w.get(tools, "ended", p)
			p.Status.Phase = corev1.PodFailed
			w.must(w.client.Status().Update(context.Background(), p))
		}, ""},
		{"a pod that is ending has it not", func(w *world, tools string) {
			w.pod(tools, "github", "ending", "192.0.2.2", corev1.ConditionFalse)
			p := &corev1.Pod{}
			w.get(tools, "ending", p)
			p.Finalizers = []string{"example.com/stays"}
			w.must(w.client.Update(context.Background(), p))
			w.must(w.client.Delete(context.Background(), p, client.GracePeriodSeconds(600)))
			t.Cleanup(func() {
				w.get(tools, "ending", p)
				p.Finalizers = nil
				w.must(w.client.Update(context.Background(), p))
			})
		}, "ending"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, tools := rotating(t, nil)
			w.TB = t
			w.pod(tools, "github", "ready", "192.0.2.1", corev1.ConditionTrue)
			test.begin(w, tools)
			old := w.key(tools)
			w.rotate()
			w.run()
			if !bytes.Equal(w.key(tools), old) || w.keyStates(tools) != "Current Pending" || w.condition("RotationSucceeded") != "Unknown Distributing" {
				t.Fatalf("before any gate has it: %s, %s", w.keyStates(tools), w.condition("RotationSucceeded"))
			}
			late, cutOff := w.answers["192.0.2.2"]
			w.gates(tools, "github")
			if cutOff {
				w.answers["192.0.2.2"] = late
			}
			o := w.run()
			if test.waits == "" {
				if bytes.Equal(w.key(tools), old) || w.condition("RotationSucceeded") != "True UpToDate" {
					t.Errorf("waits: %s, %s", w.keyStates(tools), w.message("RotationSucceeded"))
				}
				return
			}
			if !bytes.Equal(w.key(tools), old) {
				t.Fatal("the key was replaced too early")
			}
			if o.writes.Load() != 0 {
				t.Error("writes although nothing changed")
			}
			w.now = w.now.Add(11 * time.Minute)
			o = w.run()
			message := w.message("RotationSucceeded")
			if strings.Contains(test.name, "starts") {
				return // after that time it no longer does
			}
			if strings.Contains(test.name, "ending") {
				if bytes.Equal(w.key(tools), old) {
					t.Error("a pod whose time is over is waited for")
				}
				return
			}
			if w.condition("RotationSucceeded") != "False WaitingForGates" || !strings.Contains(message, "Pod "+tools+"/"+test.waits) {
				t.Errorf("%s: %s", w.condition("RotationSucceeded"), message)
			}
			if w.condition("Ready") == "False WaitingForGates" {
				t.Error("the client has a key that works")
			}
			if events := drain(o); strings.Count(events, "RotationWaitingForGates") != 1 {
				t.Errorf("events: %s", events)
			}
			if events := drain(w.run()); events != "" {
				t.Errorf("told again: %s", events)
			}
			w.gates(tools, "github")
			w.answers["192.0.2.2"] = w.answers["192.0.2.1"]
			w.run()
			if bytes.Equal(w.key(tools), old) || w.condition("RotationSucceeded") != "True UpToDate" {
				t.Errorf("does not go on: %s, %s", w.keyStates(tools), w.message("RotationSucceeded"))
			}
		})
	}
}

// TestIntegrationOverlap: a replaced key is refused after its overlap, and later while it is in use or nobody knows.
func TestIntegrationOverlap(t *testing.T) {
	w, tools := rotating(t, &v1alpha1.KeyRotation{Overlap: "20m"})
	w.pod(tools, "github", "one", "192.0.2.1", corev1.ConditionTrue)
	old := w.key(tools)
	id, err := keys.Parse(string(old))
	if err != nil {
		t.Fatal(err)
	}
	w.rotate()
	w.run()
	w.gates(tools, "github")
	w.run()
	used := func(at time.Time) {
		w.gates(tools, "github")
		s := w.answers["192.0.2.1"]
		for i := range s.Keys {
			if s.Keys[i].ID == id {
				s.Keys[i].LastUsed = at
			}
		}
		w.answers["192.0.2.1"] = s
	}
	at := w.now
	for _, step := range []struct {
		name   string
		after  time.Duration
		before func()
		states string
	}{
		{"within the overlap", 19 * time.Minute, func() { used(at) }, "Current Draining"},
		{"still in use", 21 * time.Minute, func() { used(at.Add(20 * time.Minute)) }, "Current Draining"},
		{"nobody knows", time.Hour, func() { delete(w.answers, "192.0.2.1") }, "Current Draining"},
		{"out of use", time.Hour + time.Minute, func() { w.answers["192.0.2.1"] = gatestatus.Status{}; used(at.Add(20 * time.Minute)) }, "Current Retired"},
	} {
		w.now = at.Add(step.after)
		step.before()
		o := w.operator(0)
		result, err := o.reconcile(w)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.keyStates(tools); got != step.states {
			t.Fatalf("%s: %s, want %s", step.name, got, step.states)
		}
		// The hourly question about use may come at any time.
		if draining := step.states == "Current Draining"; w.accepts(tools, "github", old) != draining || draining && result.RequeueAfter > 10*time.Minute {
			t.Fatalf("%s: accepted %t, looks again after %s", step.name, !draining, result.RequeueAfter)
		}
	}
}

// TestIntegrationRevokedKeys: a key that the spec revokes is refused at once, and the client gets another.
func TestIntegrationRevokedKeys(t *testing.T) {
	w, tools := rotating(t, nil)
	old := w.key(tools)
	id, _ := keys.Parse(string(old))
	w.spec(func(s *v1alpha1.MCPClientSpec) { s.RevokedKeys = []string{id} })
	if w.accepts(tools, "github", old) {
		t.Error("accepted until the status says that it is revoked")
	}
	o := w.run()
	if w.accepts(tools, "github", old) || !w.accepts(tools, "github", w.key(tools)) || w.keyStates(tools) != "Current Revoked" {
		t.Errorf("after the revocation: %s", w.keyStates(tools))
	}
	if events := drain(o); !strings.Contains(events, "KeyRevoked key "+id) {
		t.Errorf("events: %s", events)
	}
	w.spec(func(s *v1alpha1.MCPClientSpec) { s.RevokedKeys = nil })
	w.run()
	if w.accepts(tools, "github", old) {
		t.Error("a revoked key comes back")
	}
}

// TestIntegrationSchedule: the status says when the next key is made, it is made then, and what is wrong with a schedule is
// said while keys live on.
func TestIntegrationSchedule(t *testing.T) {
	w, tools := rotating(t, &v1alpha1.KeyRotation{
		Schedule: &v1alpha1.RotationSchedule{Type: v1alpha1.RotationInterval, Interval: "48h"},
	})
	next := w.status().Credentials[0].NextRotation
	if next == nil || !next.After(w.now) || next.Sub(w.now) > 48*time.Hour+time.Minute {
		t.Fatalf("next rotation %s", next)
	}
	w.now = next.Time
	w.run()
	if got := w.keyStates(tools); got != "Current Pending" || w.status().Credentials[0].NextRotation != nil {
		t.Fatalf("at the time: %s, then %s", got, w.status().Credentials[0].NextRotation)
	}
	w.gates(tools, "github")
	w.run()
	if got := w.keyStates(tools); got != "Current Draining" {
		t.Fatalf("when the gates have it: %s", got)
	}
	working := w.key(tools)
	w.spec(func(s *v1alpha1.MCPClientSpec) {
		s.Rotation.Schedule = &v1alpha1.RotationSchedule{
			Type: v1alpha1.RotationCron, Cron: &v1alpha1.CronSchedule{Expression: "0 3 31 2 *", TimeZone: "Mars/Olympus"},
		}
	})
	o := w.run()
	if w.condition("RotationSucceeded") != "False ScheduleInvalid" || w.condition("Stalled") != "True ScheduleInvalid" ||
		!strings.Contains(w.message("Ready"), "spec.rotation.schedule.cron: time zone") {
		t.Errorf("%s: %s", w.condition("RotationSucceeded"), w.message("Ready"))
	}
	if !bytes.Equal(w.key(tools), working) || !strings.Contains(drain(o), "RotationScheduleInvalid") {
		t.Error("the key does not live on, or nobody is told")
	}
}

// TestIntegrationCrashInRotations ends the operator after its k-th write of several rotations, while a gate lags behind. At
// each moment the client's key is accepted by each gate, by what the gate has, and nothing is lost.
func TestIntegrationCrashInRotations(t *testing.T) {
	const rotations = 2
	for k := 1; ; k++ {
		w, tools := rotating(t, &v1alpha1.KeyRotation{Overlap: "10m"})
		w.pod(tools, "github", "one", "192.0.2.1", corev1.ConditionTrue)
		w.pod(tools, "github", "two", "192.0.2.2", corev1.ConditionTrue)
		w.gates(tools, "github")
		o, crashes, held := w.operator(k), 0, map[string]bool{}
		for range rotations {
			w.rotate()
			for step := range 6 {
				if _, err := o.reconcile(w); err != nil {
					crashes++
					o = w.operator(0)
				}
				lagging := w.answers["192.0.2.2"]
				w.gates(tools, "github")
				if step%2 == 0 {
					w.answers["192.0.2.2"] = lagging
				}
				key := string(w.key(tools))
				id, err := keys.Parse(key)
				if err != nil {
					t.Fatalf("after write %d: %v", k, err)
				}
				held[id] = true
				for address, s := range w.answers {
					if !strings.Contains(fmt.Sprint(s.Keys), id) {
						t.Fatalf("after write %d: the gate at %s refuses the client's key: %s", k, address, w.keyStates(tools))
					}
				}
			}
			w.now = w.now.Add(11 * time.Minute)
		}
		if len(held) != rotations+1 || w.keyStates(tools) != "Current Draining Retired" {
			t.Fatalf("after write %d: the client had %d keys; now %s", k, len(held), w.keyStates(tools))
		}
		if w.get(w.apps, mcpclient.WaitingSecretName("agent", tools), &corev1.Secret{}) {
			t.Fatalf("after write %d: a waiting Secret is left", k)
		}
		if crashes == 0 {
			t.Logf("%d writes", k-1)
			return
		}
	}
}

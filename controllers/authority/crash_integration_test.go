package authority_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// all says whether every authority is of a generation.
func (w *world) all(generation int) func() bool {
	want := fmt.Sprintf("[C%[1]d I%[1]d S%[1]d]", generation)
	return func() bool {
		return w.generations(w.operator, "bartizan-system-ca-") == want && w.generations(w.apps, "bartizan-ca-") == want && w.generations(w.tools, "bartizan-ca-") == want
	}
}

// live goes on until it is done and nothing is written any more, with all around it, and checks every handshake after each
// look of the operator.
func (w *world) live(o *operator, done func() bool, at string) (crashed bool) {
	w.Helper()
	for round := range 60 {
		before := o.writes.Load()
		err := o.reconcile(w)
		if o.limit > 0 && o.writes.Load() >= o.limit {
			return true
		}
		if !o.stale || !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) { // an object that is another by now
			w.must(err)
		}
		w.certManager()
		w.controllers()
		w.certManager()
		w.kubelet()
		if w.showing != nil && w.serving != nil {
			w.check(fmt.Sprintf("%s, round %d", at, round))
		}
		if o.writes.Load() > before {
			continue
		}
		if done() {
			return false
		}
		w.now = w.now.Add(overlap)
		w.renew()
		w.kubelet()
	}
	w.Fatalf("%s: never comes to rest: system %s, clients %s, servers %s", at, w.generations(w.operator, "bartizan-system-ca-"),
		w.generations(w.apps, "bartizan-ca-"), w.generations(w.tools, "bartizan-ca-"))
	return false
}

// TestIntegrationRolloverCrash ends the operator after its k-th write, for every k of a rollover of all authorities at once.
// Another operator goes on from there; no handshake fails at any time, and the end is the same.
func TestIntegrationRolloverCrash(t *testing.T) {
	config := controlplane.Start(t)
	for k := 1; ; k++ {
		w := newWorld(t, config)
		w.live(w.start(0, nil), w.all(1), "at first")
		first := w.start(k, nil)
		asked := w.later()
		first.RotateAfter = asked
		crashed := w.live(first, w.all(2), fmt.Sprintf("before write %d", k))
		next := w.start(0, nil)
		next.RotateAfter = asked
		w.live(next, w.all(2), fmt.Sprintf("after write %d", k))
		if !crashed {
			t.Logf("a rollover has %d writes", k-1)
			if k < 15 {
				t.Error("so few writes are no rollover")
			}
			return
		}
	}
}

// TestIntegrationRolloverStaleCache: every read of the cache is answered with what the read before it should have seen.
func TestIntegrationRolloverStaleCache(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	w.live(w.start(0, nil), w.all(1), "at first")
	lists, objects := map[string]client.ObjectList{}, map[string]client.Object{}
	o := w.start(0, func(c client.Client) client.Client {
		watched, ok := c.(client.WithWatch)
		if !ok {
			var err error
			if watched, err = client.NewWithWatch(w.config, client.Options{Scheme: c.Scheme()}); err != nil {
				t.Fatal(err)
			}
		}
		return interceptor.NewClient(watched, interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				if err := c.List(ctx, list, options...); err != nil {
					return err
				}
				key := fmt.Sprintf("%T %+v", list, options)
				fresh := list.DeepCopyObject().(client.ObjectList)
				if stale := lists[key]; stale != nil {
					reflect.ValueOf(list).Elem().Set(reflect.ValueOf(stale).Elem())
				}
				lists[key] = fresh
				return nil
			},
			Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, object client.Object, options ...client.GetOption) error {
				if err := c.Get(ctx, name, object, options...); err != nil {
					return err
				}
				key := fmt.Sprintf("%T %s", object, name)
				fresh := object.DeepCopyObject().(client.Object)
				if stale := objects[key]; stale != nil {
					reflect.ValueOf(object).Elem().Set(reflect.ValueOf(stale).Elem())
				}
				objects[key] = fresh
				return nil
			},
		})
	})
	o.stale, o.RotateAfter = true, w.later()
	w.live(o, w.all(2), "with a stale cache")
}

// TestIntegrationRolloverWhileKeysRotate: what counts is the authorities that a gate trusts, not that it has the newest
// configuration, of which there may be another every second.
func TestIntegrationRolloverWhileKeysRotate(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	o := w.start(0, nil)
	w.live(o, w.all(1), "at first")
	o.RotateAfter, w.restless = w.later(), true
	w.live(o, w.all(2), "with a configuration that changes all the time")
}

// TestIntegrationRolloverWaits: a gate that does not answer is waited for and named; before certificates would outlive their
// authority, the next one issues nevertheless.
func TestIntegrationRolloverWaits(t *testing.T) {
	w := newWorld(t, controlplane.Start(t))
	o := w.start(0, nil)
	w.live(o, w.all(1), "at first")
	o.RotateAfter = w.later()
	w.silent = true
	round := func() {
		t.Helper()
		w.must(o.reconcile(w))
		w.certManager()
		w.controllers()
		w.certManager()
	}
	for range 8 {
		round()
		w.now = w.now.Add(overlap)
		w.renew()
		w.kubelet()
	}
	if got := w.generations(w.apps, "bartizan-ca-"); got != "[C1 C2 I1 S1 S2]" {
		t.Fatalf("a gate is silent, and there are %s", got)
	}
	if got, want := w.rollover(w.apps, "bartizan-ca-2"), "waits until it is trusted in: Pod "+w.tools+"/github-1, whose gate does not answer"; got != want {
		t.Errorf("the Certificate says %q, not %q", got, want)
	}
	writes := o.writes.Load()
	w.must(o.reconcile(w))
	if n := o.writes.Load() - writes; n != 0 {
		t.Errorf("%d writes while nothing changes", n)
	}
	// A sixth of the life of the authority is left.
	w.now = w.now.Add(lifetime*5/6 - 8*overlap)
	w.renew()
	for range 4 { // the one that waited is as old, so that another is made
		round()
	}
	if got := w.generations(w.apps, "bartizan-ca-"); got != "[C1 C2 I1 I2 S1 S2]" {
		t.Fatalf("certificates would outlive their authority, and there are %s", got)
	}
	w.silent = false
	w.live(o, func() bool { return w.generations(w.apps, "bartizan-ca-") == "[C2 I2 S2]" }, "after the gate came back")
}

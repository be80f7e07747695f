package controllers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationContention: a program that opens the network policy again and again is named, costs a bounded number of
// writes, and loses as soon as it stops.
func TestIntegrationContention(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	c := &writes{}
	w.run(c.use)
	w.create(w.server("weather"))
	w.ready("weather")
	w.quiet(c, 2*time.Second)
	before := len(c.all())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan int)
	go func() {
		edits := 0
		defer func() { stopped <- edits }()
		open := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"ingress":[{}]}}`))
		for ctx.Err() == nil {
			policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "weather"}}
			if w.Patch(ctx, policy, open, client.FieldOwner("saboteur")) == nil {
				edits++
			}
		}
	}()
	w.condition("weather", v1alpha1.ConditionReady, metav1.ConditionFalse, "ChildContended")
	start := time.Now()
	controlplane.Eventually(t, soon, func(context.Context) error {
		if time.Since(start) < 6*time.Second {
			return fmt.Errorf("the saboteur goes on")
		}
		return nil
	})
	cancel()
	edits := <-stopped
	w.ready("weather")
	policy := &networkingv1.NetworkPolicy{}
	if err := w.get("weather", policy); err != nil {
		t.Fatal(err)
	}
	for _, rule := range policy.Spec.Ingress {
		if len(rule.From) == 0 {
			t.Error("the network policy is still open")
		}
	}
	written := len(c.all()) - before
	t.Logf("%d edits, %d writes of the operator", edits, written)
	if edits < 100 {
		t.Fatalf("only %d edits: the test shows nothing", edits)
	}
	// Ten repairs at once and one every two seconds, each with the takeover, the apply and an event; and the status.
	if written > 120 {
		t.Errorf("%d writes against %d edits", written, edits)
	}
}

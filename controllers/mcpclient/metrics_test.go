package mcpclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

func TestMetrics(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	client := func(name, reason string, next time.Duration, states ...v1alpha1.KeyState) *v1alpha1.MCPClient {
		c := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name}}
		status := metav1.ConditionFalse
		if reason == reasonRotated {
			status = metav1.ConditionTrue
		}
		c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionRotationSucceeded, Status: status, Reason: reason}}
		at := ago(-next)
		credential := v1alpha1.ClientCredential{Namespace: "tools", NextRotation: &at}
		for i, s := range states {
			credential.Keys = append(credential.Keys, v1alpha1.ClientKey{State: s, IssuedAt: ago(time.Duration(i+1) * time.Hour)})
		}
		c.Status.Credentials = []v1alpha1.ClientCredential{credential}
		return c
	}
	c := &collector{now: func() time.Time { return now }, reader: clientList{
		client("one", reasonRotated, time.Hour, v1alpha1.KeyPending, v1alpha1.KeyCurrent, v1alpha1.KeyDraining),
		client("two", reasonWaitingForGates, -time.Minute, v1alpha1.KeyCurrent),
		client("three", "NobodyKnows", time.Hour),
	}}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			text := strings.TrimPrefix(family.GetName(), "bartizan_client_")
			for _, label := range metric.GetLabel() {
				text += " " + label.GetValue()
			}
			got = append(got, fmt.Sprint(text, " ", metric.GetGauge().GetValue()))
		}
	}
	want := []string{
		"conditions RotationSucceeded False 2", "conditions RotationSucceeded True 1",
		"keys Current 2", "keys Distributed 0", "keys Draining 1", "keys Pending 1", "keys Retired 0", "keys Revoked 0",
		"oldest_key_seconds 7200", "rotation_overdue_seconds 60",
	}
	for _, reason := range slices.Sorted(slices.Values(lateReasons)) {
		n := 0
		if reason == reasonWaitingForGates {
			n = 1
		}
		want = append(want, fmt.Sprint("rotations_late ", reason, " ", n))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// clientList is a cache of MCPClients.
type clientList []*v1alpha1.MCPClient

func (l clientList) Get(context.Context, types.NamespacedName, client.Object, ...client.GetOption) error {
	return errors.New("not asked for")
}

func (l clientList) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	for _, c := range l {
		list.(*v1alpha1.MCPClientList).Items = append(list.(*v1alpha1.MCPClientList).Items, *c)
	}
	return nil
}

// TestDocumentedReasons: docs/rotation.md explains each reason why a rotation can be late.
func TestDocumentedReasons(t *testing.T) {
	page, err := os.ReadFile("../../docs/rotation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range lateReasons {
		if !strings.Contains(string(page), "`"+reason+"`") {
			t.Errorf("the reason %s is not documented", reason)
		}
	}
}

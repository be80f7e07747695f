package conditions_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
)

func TestSet(t *testing.T) {
	early, late := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	before := conditions.Set(nil, 1, early, conditions.False("Ready", "Waiting", "for it"), conditions.True("Reconciling", "Waiting", "for it"), conditions.True("Stays", "Good", "x"))
	after := conditions.Set(before, 2, late, conditions.True("Ready", "Ready", "done"), conditions.True("Stays", "Good", "another text"))
	if len(after) != 2 {
		t.Fatalf("Reconciling stays: %+v", after)
	}
	if r := after[0]; r.Status != "True" || r.LastTransitionTime != late || r.ObservedGeneration != 2 {
		t.Errorf("Ready: %+v", r)
	}
	if s := after[1]; s.LastTransitionTime != early || s.Message != "another text" || s.ObservedGeneration != 2 {
		t.Errorf("a condition that did not change: %+v", s)
	}
	for kind, want := range map[string]bool{"Ready": true, "Reconciling": true, "Stays": false, "Never": false} {
		if got := conditions.Changed(before, after, kind); got != want {
			t.Errorf("%s changed: %t", kind, got)
		}
	}
	long := conditions.Set(nil, 1, early, conditions.True("Ready", "Ready", strings.Repeat("ü", 40000)))[0].Message
	if len(long) > 2048 || !utf8.ValidString(long) {
		t.Errorf("a message of %d bytes, valid %t", len(long), utf8.ValidString(long))
	}
}

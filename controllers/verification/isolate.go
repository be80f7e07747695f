package verification

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// Reasons of the condition IsolatedOnFailure, and of the events about it.
const (
	reasonIsolated    = "AttacksSucceeded"
	reasonNotIsolated = "NotIsolated"
)

// defaultIsolateAfter is spec.verification.isolateAfter where it is absent.
const defaultIsolateAfter = 3

// isolateAfter is how many runs in a row must find a server broken before it is isolated; 0 for one that never is.
func isolateAfter(server *v1alpha1.MCPServer) int {
	v := server.Spec.Verification
	switch {
	case v == nil || v.OnFailure != v1alpha1.FailureIsolate:
		return 0
	case v.IsolateAfter == nil:
		return defaultIsolateAfter
	}
	return int(*v.IsolateAfter)
}

// critical is how many runs in a row found that an attack on a critical control succeeds. One that found no such thing but did
// not come to a conclusion neither adds to them nor ends them.
func critical(now posture.Run, last *run) int {
	before := 0
	if last != nil {
		before = last.critical
	}
	broken := slices.ContainsFunc(now.Probes, func(p posture.Probe) bool {
		c, found := posture.Find(p.Control)
		return p.Outcome == posture.Broken && found && c.Severity == posture.Critical
	})
	switch {
	case broken:
		return before + 1
	case !conclusive(now):
		return before
	}
	return 0
}

// isolated is the condition; nil for a server that is never isolated. What is isolated stays so until a run comes to the
// conclusion that no attack on a critical control succeeds, an operator that begins included.
func isolated(server *v1alpha1.MCPServer, last *run) *metav1.Condition {
	after := isolateAfter(server)
	if after == 0 {
		return nil
	}
	is := meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionIsolatedOnFailure)
	if last != nil {
		is = last.critical >= after || is && (last.critical > 0 || !conclusive(last.Run))
	}
	c := conditions.False(v1alpha1.ConditionIsolatedOnFailure, reasonNotIsolated, "no attack on a critical control has succeeded often enough to keep callers away")
	if is {
		c = conditions.True(v1alpha1.ConditionIsolatedOnFailure, reasonIsolated,
			fmt.Sprintf("attacks on critical controls succeeded in %d runs in a row: the network is closed to callers until a run finds that none does, or spec.verification.onFailure is Report; the condition Verified says which", after))
	}
	return &c
}

// tellIsolation emits an event when a server becomes isolated, or is not any more.
func (r *Reconciler) tellIsolation(o *observed, after []metav1.Condition) {
	was := meta.IsStatusConditionTrue(o.server.Status.Conditions, v1alpha1.ConditionIsolatedOnFailure)
	switch is := meta.IsStatusConditionTrue(after, v1alpha1.ConditionIsolatedOnFailure); {
	case is && !was:
		r.Events.Eventf(o.server, nil, corev1.EventTypeWarning, "Isolated", "Isolate", "%s", note(meta.FindStatusCondition(after, v1alpha1.ConditionIsolatedOnFailure).Message))
	case was && !is:
		r.Events.Eventf(o.server, nil, corev1.EventTypeNormal, "IsolationEnded", "Isolate", "the network is open to callers again")
	}
}

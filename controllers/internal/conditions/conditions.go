// Package conditions makes the conditions of a status, as kstatus reads them, and their apply configurations.
package conditions

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
)

// maxMessage bounds a message, in bytes: the API allows 32 KiB, people read less.
const maxMessage = 2048

// True is a condition that holds.
func True(kind, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// False is a condition that does not hold.
func False(kind, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// Set returns the wanted conditions for a generation of the spec, with the times of those before that are still the same.
// What is not wanted is gone: Reconciling and Stalled are there only while they are true.
func Set(before []metav1.Condition, generation int64, now metav1.Time, wanted ...metav1.Condition) []metav1.Condition {
	after := make([]metav1.Condition, 0, len(wanted))
	for _, c := range wanted {
		if old := meta.FindStatusCondition(before, c.Type); old != nil {
			after = append(after, *old)
		}
		c.ObservedGeneration, c.LastTransitionTime, c.Message = generation, now, shorten(c.Message)
		meta.SetStatusCondition(&after, c)
	}
	return after
}

// Changed says whether a condition is not what it was before: whether it came, went, or has another status or reason.
func Changed(before, after []metav1.Condition, kind string) bool {
	old, current := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
	if old == nil || current == nil {
		return old != current
	}
	return old.Status != current.Status || old.Reason != current.Reason
}

// Configurations are the conditions for server-side apply.
func Configurations(all []metav1.Condition) []*applymetav1.ConditionApplyConfiguration {
	out := make([]*applymetav1.ConditionApplyConfiguration, 0, len(all))
	for _, c := range all {
		out = append(out, applymetav1.Condition().
			WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime))
	}
	return out
}

func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const mark = " …"
	cut := maxMessage - len(mark)
	for cut > 0 && message[cut]&0xC0 == 0x80 {
		cut--
	}
	return message[:cut] + mark
}

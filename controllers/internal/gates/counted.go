package gates

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// starting is how long a pod that does not answer is taken for one that is about to, with files that were mounted before.
const starting = 2 * time.Minute

// Counts says whether a pod's gate has to be heard before something that it has to know is used. A ready gate counts whether
// it answers or not, and so does one in a pod that ends, until its time is over: requests are under way there. One that is
// not ready counts when it answers, because it may be ready at any moment, and while it starts. What is not ready and silent
// for longer gets no request, and reads the newest configuration when it comes back.
func Counts(pod *corev1.Pod, answered bool, now time.Time) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	if pod.DeletionTimestamp != nil {
		return now.Before(pod.DeletionTimestamp.Time)
	}
	return answered || now.Sub(pod.CreationTimestamp.Time) < starting || slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

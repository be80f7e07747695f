package declared

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// HasGate says whether a pod that is labelled as a server's has a gate. Anybody who may make pods can label one: what has no gate is
// none of the server's.
func HasGate(pod *corev1.Pod) bool {
	is := func(c corev1.Container) bool { return c.Name == v1alpha1.GateContainer }
	return slices.ContainsFunc(pod.Spec.InitContainers, is) || slices.ContainsFunc(pod.Spec.Containers, is)
}

package verification

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	psa "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// restricted is the restricted Pod Security Standard.
var restricted = func() psapolicy.Evaluator {
	evaluator, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
	if err != nil {
		panic("the Pod Security Standards of the library contradict each other: " + err.Error())
	}
	return evaluator
}()

// podFacts are what the pods show.
func (o *observed) podFacts(s *posture.Snapshot, settings Settings) {
	gates := o.distinct(func(p *corev1.Pod) string {
		if !declared.HasGate(p) {
			return "" // see [observed.detours]
		}
		return image(p, manifests.GateContainer)
	})
	s.Gate = posture.See(posture.Gate{Want: settings.GateImage, Running: gates, Reported: o.reported(manifests.GateContainer)}, "pods", o.now)
	servers := o.distinct(func(p *corev1.Pod) string { return image(p, manifests.ServerContainer) })
	s.Image = posture.See(posture.Image{Spec: o.server.Spec.Image, Running: servers, Reported: o.reported(manifests.ServerContainer)}, "MCPServer spec.image, pods", o.now)
	if len(o.pods) == 0 {
		const none = "no pod runs"
		s.PodSecurity, s.Containers = posture.Unknown[[]string](none), posture.Unknown[[]string](none)
		s.Token = posture.Unknown[posture.ServiceAccountToken](none)
		return
	}
	var insecure, loose []string
	for i := range o.pods {
		pod := &o.pods[i]
		result := psapolicy.AggregateCheckResults(restricted.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
		if !result.Allowed {
			insecure = append(insecure, fmt.Sprintf("Pod %s: %s", pod.Name, result.ForbiddenDetail()))
		}
		for _, c := range containers(&pod.Spec) {
			if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				loose = append(loose, fmt.Sprintf("container %s of Pod %s may write to its root filesystem", c.Name, pod.Name))
			}
			// Those of an ephemeral container cannot be limited, and LEAST-8 tells of it.
			ephemeral := slices.ContainsFunc(pod.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == c.Name })
			if !ephemeral && (c.Resources.Limits.Memory().IsZero() || c.Resources.Limits.Cpu().IsZero()) {
				loose = append(loose, fmt.Sprintf("container %s of Pod %s has no limit of memory or CPU", c.Name, pod.Name))
			}
		}
	}
	s.PodSecurity = posture.See(insecure, "pods", o.now)
	s.Containers = posture.See(loose, "pods", o.now)
	s.Token = o.tokenFact()
}

// reported are the distinct images that nodes say run in the containers of a name. A container that waits has none.
func (o *observed) reported(container string) (all []posture.ReportedImage) {
	for i := range o.pods {
		status := statusOf(&o.pods[i], container)
		if o.pods[i].DeletionTimestamp != nil || status == nil || status.ImageID == "" {
			continue
		}
		runtime, _, _ := strings.Cut(status.ContainerID, "://")
		if r := (posture.ReportedImage{Runtime: runtime, ID: status.ImageID}); !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b posture.ReportedImage) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Runtime, b.Runtime))
	})
	return all
}

// statusOf is what the node says of a container; nil while it says nothing.
func statusOf(pod *corev1.Pod, container string) *corev1.ContainerStatus {
	for _, all := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range all {
			if all[i].Name == container {
				return &all[i]
			}
		}
	}
	return nil
}

func hasToken(v corev1.Volume) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p corev1.VolumeProjection) bool { return p.ServiceAccountToken != nil })
}

func image(pod *corev1.Pod, container string) string {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == container {
			return c.Image
		}
	}
	return "nothing"
}

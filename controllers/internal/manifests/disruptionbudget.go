package manifests

import (
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "k8s.io/client-go/applyconfigurations/policy/v1"
)

// disruptionBudget lets nodes be drained one pod after the other, and broken pods always.
func disruptionBudget(p Params) *policyv1.PodDisruptionBudgetApplyConfiguration {
	return policyv1.PodDisruptionBudget(p.Server.Name, p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithSpec(policyv1.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policy.AlwaysAllow).
			WithSelector(selector(p)))
}

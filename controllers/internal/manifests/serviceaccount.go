package manifests

import (
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/internal/declared"
)

// serviceAccount is the identity of the pods, unless the user brings one.
func serviceAccount(p Params) *corev1.ServiceAccountApplyConfiguration {
	if serviceAccountName(p) != p.Server.Name {
		return nil
	}
	account := corev1.ServiceAccount(p.Server.Name, p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithAutomountServiceAccountToken(false)
	if pod := p.Server.Spec.Pod; pod != nil && len(pod.ServiceAccountAnnotations) > 0 {
		account.WithAnnotations(pod.ServiceAccountAnnotations)
	}
	return account
}

// serviceAccountName is the name of the ServiceAccount that the pods run as.
func serviceAccountName(p Params) string { return declared.Account(p.Server) }

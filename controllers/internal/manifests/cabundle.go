package manifests

import (
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// caBundle tells callers which authority vouches for the serving certificate.
func caBundle(p Params) *corev1.ConfigMapApplyConfiguration {
	if p.CABundle == "" {
		return nil
	}
	return corev1.ConfigMap(CABundleName(p.Server.Name), p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithData(map[string]string{CABundleKey: p.CABundle})
}

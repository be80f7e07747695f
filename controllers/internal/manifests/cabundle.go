package manifests

import (
	"encoding/pem"
	"maps"
	"slices"
	"strings"

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

// MergeBundles returns the certificates of PEM bundles, each once, in the order of their bytes. Whatever is no certificate is
// left out: bundles come from elsewhere.
func MergeBundles(bundles ...string) string {
	certificates := map[string]bool{}
	for _, bundle := range bundles {
		for block, rest := pem.Decode([]byte(bundle)); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" {
				certificates[string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(certificates)), "")
}

package manifests

import (
	"fmt"

	core "k8s.io/api/core/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// maxDocument bounds the gate's configuration, in bytes: a Secret holds 1 MiB with everything in it.
const maxDocument = 900 << 10

// GateSecret is the Secret that the gates read. It is also built for a server that Validate refuses, so that a revocation
// goes on: see Restrict.
func GateSecret(p Params) (*corev1.SecretApplyConfiguration, error) {
	if len(p.Gate.Document) == 0 {
		return nil, nil
	}
	if len(p.Gate.Document) > maxDocument {
		return nil, Problems{{
			Reason: ReasonConfigurationTooLarge,
			Message: fmt.Sprintf("MCPServer %s/%s: the gate's configuration has %d bytes and at most %d fit into Secret %s; shorten the MCPAccessPolicies of this server or grant fewer MCPClients",
				p.Server.Namespace, p.Server.Name, len(p.Gate.Document), maxDocument, GateSecretName(p.Server.Name)),
		}}
	}
	return corev1.Secret(GateSecretName(p.Server.Name), p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithAnnotations(map[string]string{AnnotationGateGeneration: p.Gate.Generation}).
		WithOwnerReferences(owner(p)).
		WithType(core.SecretTypeOpaque).
		WithData(map[string][]byte{gateconfig.ConfigFile: p.Gate.Document}), nil
}

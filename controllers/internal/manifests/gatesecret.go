package manifests

import (
	"fmt"

	core "k8s.io/api/core/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// GateSecret is the Secret that the gates read. It is also built for a server that Validate refuses, so that a revocation
// goes on: see Restrict.
func GateSecret(p Params) (*corev1.SecretApplyConfiguration, error) {
	if len(p.Gate.Document) == 0 {
		return nil, nil
	}
	packed, ok := gateconfig.Pack(p.Gate.Document)
	if !ok {
		return nil, Problems{{
			Reason: ReasonConfigurationTooLarge,
			Message: fmt.Sprintf("MCPServer %s/%s: the gate's configuration has %d bytes, and compressed it has more than the %d that fit into Secret %s; shorten the MCPAccessPolicies of this server or grant fewer MCPClients",
				p.Server.Namespace, p.Server.Name, len(p.Gate.Document), gateconfig.MaxPacked, GateSecretName(p.Server.Name)),
		}}
	}
	return corev1.Secret(GateSecretName(p.Server.Name), p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithAnnotations(map[string]string{AnnotationGateGeneration: p.Gate.Generation}).
		WithOwnerReferences(owner(p)).
		WithType(core.SecretTypeOpaque).
		WithData(map[string][]byte{gateconfig.ConfigFile: packed}), nil
}

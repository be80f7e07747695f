package definitions

import (
	"encoding/json"

	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// configMap has the definitions, for people and for tools such as kubectl mcp.
func configMap(server *v1alpha1.MCPServer, document inventory.Document) (*corev1.ConfigMapApplyConfiguration, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return corev1.ConfigMap(inventory.ConfigMapName(server.Name), server.Namespace).
		WithLabels(manifests.Labels(server.Name)).
		WithOwnerReferences(applymetav1.OwnerReference().
			WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("MCPServer").WithName(server.Name).WithUID(server.UID).
			WithController(true).WithBlockOwnerDeletion(true)).
		WithData(map[string]string{inventory.DocumentKey: string(text)}), nil
}

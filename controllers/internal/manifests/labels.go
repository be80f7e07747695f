package manifests

import (
	"maps"

	"k8s.io/apimachinery/pkg/labels"
	metav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// Labels that the children carry. The operator's caches hold only what carries LabelManagedBy.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	// LabelServer names the MCPServer on its children and pods; alone it selects the pods.
	LabelServer = v1alpha1.LabelServer
	// LabelTemplateRevision says on a Deployment and on its pods which operator's template they have; see TemplateRevision.
	LabelTemplateRevision = "bartizan.dev/template-revision"
	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "bartizan"
)

// Annotations of the children.
const (
	// AnnotationInputs is on a Deployment and on its pods the hash of what the user and the secrets put into the pods, see ComparableInputs.
	AnnotationInputs = "bartizan.dev/inputs"
	// AnnotationGateGeneration is on the gate's Secret its generation. Patched on a pod it makes the kubelet read the Secret
	// at once.
	AnnotationGateGeneration = "bartizan.dev/gate-generation"
	// AnnotationCertificate is patched on a pod for the same end: the serial number of the certificate that its gate should
	// serve.
	AnnotationCertificate = "bartizan.dev/certificate-serial"
	// AnnotationConsent is on a ServiceAccount of a user the name of the MCPServer that may run as it.
	AnnotationConsent = "bartizan.dev/mcpserver"
)

// Labels are the labels of the children of a server.
func Labels(server string) map[string]string {
	return map[string]string{
		LabelManagedBy: ManagedBy,
		LabelName:      "mcpserver",
		LabelInstance:  server,
		LabelServer:    server,
	}
}

// Selector selects the pods of a server in its namespace.
func Selector(server string) map[string]string {
	return map[string]string{LabelServer: server}
}

// SelectorString is Selector as the scale subresource wants it.
func SelectorString(server string) string { return labels.SelectorFromSet(Selector(server)).String() }

func selector(p Params) *metav1.LabelSelectorApplyConfiguration {
	return metav1.LabelSelector().WithMatchLabels(Selector(p.Server.Name))
}

// merged is the sum of maps; a later one wins.
func merged(sets ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, set := range sets {
		maps.Copy(sum, set)
	}
	return sum
}

func owner(p Params) *metav1.OwnerReferenceApplyConfiguration {
	return metav1.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("MCPServer").
		WithName(p.Server.Name).
		WithUID(p.Server.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}

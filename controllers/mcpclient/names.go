package mcpclient

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
)

// The keys of a client's Secret. Users read them: they do not change.
const (
	// DataAPIKey is the API key.
	DataAPIKey = "api-key"
	// DataCABundle are the certificates, in PEM, that vouch for the servers.
	DataCABundle = "ca.crt"
	// DataNamespace is the namespace of the servers that the key is for.
	DataNamespace = "namespace"
	// DataConfiguration is an MCP client configuration with all granted servers of the namespace. It contains the key.
	DataConfiguration = "mcp.json"
)

// component is the name label of what belongs to an MCPClient; instanceLabel holds the client's name, ServersLabel the
// namespace of the servers.
const (
	component     = "mcpclient"
	instanceLabel = "app.kubernetes.io/instance"
	ServersLabel  = "bartizan.dev/servers-namespace"
)

// SecretName is the name of the Secret, in the client's namespace, with the key for the servers of a namespace. The dot
// keeps it apart from what others make: neither a client nor a namespace has one in its name.
func SecretName(client, servers string) string { return client + "." + servers }

// CertificateName is the name of the Certificate for the servers of a namespace.
func CertificateName(client, servers string) string { return SecretName(client, servers) }

// CertificateSecretName is the name of the Secret that holds that certificate.
func CertificateSecretName(client, servers string) string {
	return SecretName(client, servers) + ".tls"
}

// WaitingSecretName is the name of the Secret in which a new key waits until the gates accept it.
func WaitingSecretName(client, servers string) string { return SecretName(client, servers) + ".next" }

// SourceName is the name of the ExternalSecret that reads a client's keys, and of its Secret.
func SourceName(client, servers string) string { return SecretName(client, servers) + ".source" }

// PushName is the name of the Secret from which the key of this id goes to an external store.
func PushName(client, servers, id string) string { return SecretName(client, servers) + ".push-" + id }

func objectLabels(client, servers string) map[string]string {
	return map[string]string{
		apply.ManagedByLabel: apply.ManagedBy,
		apply.NameLabel:      component,
		instanceLabel:        client,
		ServersLabel:         servers,
	}
}

func ownerReference(c *v1alpha1.MCPClient) metav1.OwnerReference {
	controller := true
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "MCPClient", Name: c.Name, UID: c.UID, Controller: &controller,
	}
}

// ownedBy says whether the client is an owner of the object, its controller or not.
func ownedBy(object metav1.Object, c *v1alpha1.MCPClient) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == c.UID })
}

package manifests

import (
	"fmt"
	"strings"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// The reasons of Stalled that can be seen from the spec alone.
const (
	ReasonImageNotPinned           = "ImageNotPinned"
	ReasonNameTooLong              = "NameTooLong"
	ReasonNameReserved             = "NameReserved"
	ReasonNameInvalid              = "NameInvalid"
	ReasonPortConflict             = "PortConflict"
	ReasonTransportInvalid         = "TransportInvalid"
	ReasonEndpointInvalid          = "EndpointInvalid"
	ReasonTokensInvalid            = "TokensInvalid"
	ReasonCertificateInvalid       = "CertificateInvalid"
	ReasonClusterScopedIssuer      = "ClusterScopedIssuer"
	ReasonIssuerNotAllowed         = "IssuerNotAllowed"
	ReasonClusterScopedStore       = "ClusterScopedStore"
	ReasonDuplicateSecretTarget    = "DuplicateSecretTarget"
	ReasonSecretInvalid            = "SecretInvalid"
	ReasonEnvInvalid               = "EnvInvalid"
	ReasonNetworkInvalid           = "NetworkInvalid"
	ReasonRightsNotGrantable       = "RightsNotGrantable"
	ReasonLimitsInvalid            = "LimitsInvalid"
	ReasonResourcesInvalid         = "ResourcesInvalid"
	ReasonMetadataInvalid          = "MetadataInvalid"
	ReasonVolumeInvalid            = "VolumeInvalid"
	ReasonVolumeMountWithoutVolume = "VolumeMountWithoutVolume"
	ReasonMountPathInvalid         = "MountPathInvalid"
	ReasonProbeInvalid             = "ProbeInvalid"
	ReasonRunsAsRoot               = "RunsAsRoot"
	ReasonConfigurationTooLarge    = "ConfigurationTooLarge"
)

// Problem is why a server cannot be built as its spec asks.
type Problem struct {
	// Reason is the reason of the condition.
	Reason string
	// Message names the object, the field and the way out. It is the same for the same spec.
	Message string
}

// Problems are all that is wrong, in the order of the spec.
type Problems []Problem

// Error joins the messages.
func (p Problems) Error() string {
	messages := make([]string, len(p))
	for i := range p {
		messages[i] = p[i].Message
	}
	return strings.Join(messages, "; ")
}

// finder collects the problems of one server.
type finder struct {
	server   *v1alpha1.MCPServer
	problems Problems
}

// add notes a problem: field is what is wrong, and the rest says why and what to do.
func (f *finder) add(reason, field, format string, args ...any) {
	f.problems = append(f.problems, Problem{
		Reason:  reason,
		Message: fmt.Sprintf("MCPServer %s/%s: %s: %s", f.server.Namespace, f.server.Name, field, fmt.Sprintf(format, args...)),
	})
}

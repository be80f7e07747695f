package manifests

import (
	"net"
	"strconv"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// The names of the containers of a pod.
const (
	ServerContainer = "server"
	GateContainer   = v1alpha1.GateContainer
)

// gateUser is the user and group of the gate; its image has no other.
const gateUser = 65532

// The volumes that only the gate's container mounts.
const (
	gateVolume    = operatorPrefix + "-gate"
	gateRunVolume = operatorPrefix + "-run"
)

// gateContainer is the gate as a native sidecar: an init container that goes on running. It starts before the server and
// ends after it. It is ready when the server answers.
func gateContainer(p Params) *corev1.ContainerApplyConfiguration {
	c := corev1.Container().
		WithName(GateContainer).
		WithImage(p.GateImage).
		WithImagePullPolicy(core.PullIfNotPresent).
		// The gate obeys no configuration of another server. Where its own server listens is a matter of the pod: a changed
		// configuration reaches the gates of pods that are yet to be replaced.
		WithCommand("/authproxy", "serve", "--server="+p.Server.Namespace+"/"+p.Server.Name,
			"--upstream-address="+upstreamAddress(p.Server), "--upstream-path="+transportPath(p.Server)).
		// The soft limit is below the hard one, so that the garbage collector works harder before the kernel kills.
		WithEnv(corev1.EnvVar().WithName("GOMEMLIMIT").WithValue("224MiB")).
		WithRestartPolicy(core.ContainerRestartPolicyAlways).
		WithPorts(
			corev1.ContainerPort().WithName("mcp").WithContainerPort(gateconfig.GatePort).WithProtocol(core.ProtocolTCP),
			corev1.ContainerPort().WithName("status").WithContainerPort(gateconfig.StatusPort).WithProtocol(core.ProtocolTCP),
			corev1.ContainerPort().WithName("probe").WithContainerPort(gateconfig.ProbePort).WithProtocol(core.ProtocolTCP),
		).
		WithStartupProbe(gateProbe("/livez").WithPeriodSeconds(1).WithFailureThreshold(60)).
		WithLivenessProbe(gateProbe("/livez").WithPeriodSeconds(10).WithFailureThreshold(3)).
		WithReadinessProbe(gateProbe("/readyz").WithPeriodSeconds(2).WithFailureThreshold(2)).
		WithLifecycle(corev1.Lifecycle().WithPreStop(
			corev1.LifecycleHandler().WithExec(corev1.ExecAction().WithCommand(gateconfig.DrainCommand()...)))).
		WithResources(corev1.ResourceRequirements().
			WithRequests(core.ResourceList{
				core.ResourceCPU:    resource.MustParse("10m"),
				core.ResourceMemory: resource.MustParse("32Mi"),
			}).
			WithLimits(core.ResourceList{
				core.ResourceCPU:    resource.MustParse("1"),
				core.ResourceMemory: resource.MustParse("256Mi"),
			})).
		WithSecurityContext(restricted().WithRunAsUser(gateUser).WithRunAsGroup(gateUser)).
		WithVolumeMounts(
			corev1.VolumeMount().WithName(gateVolume).WithMountPath(gateconfig.Directory).WithReadOnly(true),
			corev1.VolumeMount().WithName(gateRunVolume).WithMountPath(gateconfig.RunDirectory),
		)
	if stdio(p.Server) {
		// Connecting to a socket writes nothing to its folder.
		c.WithVolumeMounts(corev1.VolumeMount().WithName(stdioSocketVolume).WithMountPath(gateconfig.StdioDirectory).WithReadOnly(true))
	}
	return c
}

// upstreamAddress is where the server listens in its pod.
func upstreamAddress(s *v1alpha1.MCPServer) string {
	if stdio(s) {
		return gateconfig.SocketPrefix + gateconfig.StdioSocket
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.Spec.Transport.Port)))
}

func gateProbe(path string) *corev1.ProbeApplyConfiguration {
	return corev1.Probe().
		WithHTTPGet(corev1.HTTPGetAction().WithPath(path).WithPort(intstr.FromInt32(gateconfig.ProbePort))).
		WithTimeoutSeconds(2)
}

// gateVolumes are what the gate reads, as one projected volume, so that the kubelet replaces all of it at once, and the
// folder of its drain socket. The files can be read by every user in the containers that mount them, which is the gate
// alone: a group of its own for them would be forced upon the user's volumes too.
func gateVolumes(p Params) []*corev1.VolumeApplyConfiguration {
	secret := func(name string, keys ...string) *corev1.VolumeProjectionApplyConfiguration {
		source := corev1.SecretProjection().WithName(name)
		for _, key := range keys {
			source.WithItems(corev1.KeyToPath().WithKey(key).WithPath(key))
		}
		return corev1.VolumeProjection().WithSecret(source)
	}
	return []*corev1.VolumeApplyConfiguration{
		corev1.Volume().WithName(gateVolume).WithProjected(corev1.ProjectedVolumeSource().
			WithDefaultMode(readOnlyMode).
			WithSources(
				secret(GateSecretName(p.Server.Name), gateconfig.ConfigFile),
				secret(CertificateName(p.Server.Name), gateconfig.CertificateFile, gateconfig.PrivateKeyFile),
			)),
		corev1.Volume().WithName(gateRunVolume).WithEmptyDir(corev1.EmptyDirVolumeSource().
			WithMedium(core.StorageMediumMemory).
			WithSizeLimit(resource.MustParse("1Mi"))),
	}
}

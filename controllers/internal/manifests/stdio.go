package manifests

import (
	"cmp"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// InstallContainer is the init container that brings the gate's binary into the container of a Stdio server.
const InstallContainer = "install"

// The volumes of a Stdio server: one with the binary, which its container can only read, and one with the socket, which the
// gate can only connect to.
const (
	stdioBinVolume    = operatorPrefix + "-bin"
	stdioSocketVolume = operatorPrefix + "-stdio"
)

// maxStdioChildren is how many children a replica may be asked to have.
const maxStdioChildren = 256

// stdio says whether the server speaks MCP over its standard input and output.
func stdio(s *v1alpha1.MCPServer) bool { return s.Spec.Transport.Type == v1alpha1.TransportStdio }

// stdioSpec is the spec's part about children, with its defaults.
func stdioSpec(s *v1alpha1.MCPServer) v1alpha1.Stdio {
	var spec v1alpha1.Stdio
	if s.Spec.Transport.Stdio != nil {
		spec = *s.Spec.Transport.Stdio
	}
	spec.Children = cmp.Or(spec.Children, v1alpha1.StdioPerPrincipal)
	spec.MaxChildren = cmp.Or(spec.MaxChildren, 16)
	spec.IdleTimeout = cmp.Or(spec.IdleTimeout, "10m")
	return spec
}

// installContainer copies the gate's binary to where the server's container can run it. It has the image of the gate, so
// nothing is asked of the server's image.
func installContainer(p Params) *corev1.ContainerApplyConfiguration {
	size := core.ResourceList{core.ResourceCPU: resource.MustParse("100m"), core.ResourceMemory: resource.MustParse("64Mi")}
	return corev1.Container().
		WithName(InstallContainer).
		WithImage(p.GateImage).
		WithImagePullPolicy(core.PullIfNotPresent).
		WithCommand("/authproxy", "install", gateconfig.InstalledBinary).
		WithResources(corev1.ResourceRequirements().
			WithRequests(core.ResourceList{core.ResourceCPU: resource.MustParse("10m"), core.ResourceMemory: resource.MustParse("32Mi")}).
			WithLimits(size)).
		WithSecurityContext(restricted().WithRunAsUser(gateUser).WithRunAsGroup(gateUser)).
		WithVolumeMounts(corev1.VolumeMount().WithName(stdioBinVolume).WithMountPath(gateconfig.InstallDirectory))
}

// wrap makes the user's container one that runs the server as children, on a socket.
func wrap(c *corev1.ContainerApplyConfiguration, s *v1alpha1.MCPServer) {
	spec := stdioSpec(s)
	command := []string{gateconfig.InstalledBinary, "stdio",
		"--sessions=" + string(sessions(s)),
		"--children=" + string(spec.Children),
		"--max-children=" + strconv.Itoa(int(spec.MaxChildren)),
		"--idle-timeout=" + spec.IdleTimeout,
	}
	if spec.ChildMemory != "" {
		command = append(command, "--child-memory="+spec.ChildMemory)
	}
	c.Command = append(append(command, "--"), s.Spec.Command...)
	c.WithVolumeMounts(
		corev1.VolumeMount().WithName(stdioBinVolume).WithMountPath(gateconfig.InstallDirectory).WithReadOnly(true),
		corev1.VolumeMount().WithName(stdioSocketVolume).WithMountPath(gateconfig.StdioDirectory),
	)
}

// stdioVolumes are in memory: nothing of them is left on a node.
func stdioVolumes(s *v1alpha1.MCPServer) []*corev1.VolumeApplyConfiguration {
	if !stdio(s) {
		return nil
	}
	memory := func(name, size string) *corev1.VolumeApplyConfiguration {
		return corev1.Volume().WithName(name).WithEmptyDir(corev1.EmptyDirVolumeSource().
			WithMedium(core.StorageMediumMemory).
			WithSizeLimit(resource.MustParse(size)))
	}
	return []*corev1.VolumeApplyConfiguration{memory(stdioBinVolume, "64Mi"), memory(stdioSocketVolume, "1Mi")}
}

// stdio checks what the spec says about a Stdio server.
func (f *finder) stdio() {
	transport := &f.server.Spec.Transport
	if len(f.server.Spec.Command) == 0 {
		f.add(ReasonTransportInvalid, "spec.command", "it is empty; with transport.type Stdio, write the command that a child process runs")
	}
	if transport.Port != 0 {
		f.add(ReasonTransportInvalid, "spec.transport.port", "a Stdio server listens on no port; remove it")
	}
	if transport.Path != "" {
		f.add(ReasonTransportInvalid, "spec.transport.path", "a Stdio server has no path; remove it, and set the path of spec.endpoint.url if clients need another than /mcp")
	}
	spec := stdioSpec(f.server)
	if spec.Children != v1alpha1.StdioPerPrincipal && spec.Children != v1alpha1.StdioShared {
		f.add(ReasonTransportInvalid, "spec.transport.stdio.children", "%q is unknown; write PerPrincipal or Shared", spec.Children)
	}
	if spec.MaxChildren < 1 || spec.MaxChildren > maxStdioChildren {
		f.add(ReasonTransportInvalid, "spec.transport.stdio.maxChildren", "%d is not between 1 and %d", spec.MaxChildren, maxStdioChildren)
	}
	if d, err := time.ParseDuration(spec.IdleTimeout); err != nil || d < 10*time.Second || d > 24*time.Hour {
		f.add(ReasonTransportInvalid, "spec.transport.stdio.idleTimeout", "%q is no duration between 10s and 24h", spec.IdleTimeout)
	}
	if spec.ChildMemory == "" {
		return
	}
	low, high := resource.MustParse("1Mi"), resource.MustParse("64Gi")
	if q, err := resource.ParseQuantity(spec.ChildMemory); err != nil || q.Cmp(low) < 0 || q.Cmp(high) > 0 {
		f.add(ReasonTransportInvalid, "spec.transport.stdio.childMemory", "%q is no quantity between 1Mi and 64Gi", spec.ChildMemory)
	}
}

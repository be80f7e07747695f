package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TemplateVersion is the version of the pod template that this operator builds. Whoever changes what the template has for
// an unchanged MCPServer raises it: all servers then roll within the budget of an upgrade, and not all at once.
const TemplateVersion = 2

// TemplateRevision names the part of a pod template that the operator decides.
func TemplateRevision(gateImage string) string {
	return hash(strconv.Itoa(TemplateVersion), gateImage)
}

// deployment runs the pods. A pod is only ever replaced by a new one that is ready.
func deployment(p Params) (*appsv1.DeploymentApplyConfiguration, error) {
	template, err := podTemplate(p)
	if err != nil {
		return nil, err
	}
	inputs, err := inputs(p)
	if err != nil {
		return nil, err
	}
	revision := map[string]string{LabelTemplateRevision: TemplateRevision(p.GateImage)}
	annotations := map[string]string{AnnotationInputs: inputs}
	template.WithLabels(revision).WithAnnotations(annotations)
	return appsv1.Deployment(p.Server.Name, p.Server.Namespace).
		WithLabels(merged(Labels(p.Server.Name), revision)).
		WithAnnotations(annotations).
		WithOwnerReferences(owner(p)).
		WithSpec(appsv1.DeploymentSpec().
			WithReplicas(replicas(p.Server)).
			WithRevisionHistoryLimit(3).
			WithSelector(selector(p)).
			WithStrategy(appsv1.DeploymentStrategy().
				WithType(apps.RollingUpdateDeploymentStrategyType).
				WithRollingUpdate(appsv1.RollingUpdateDeployment().
					WithMaxUnavailable(intstr.FromInt32(0)).
					WithMaxSurge(intstr.FromInt32(1)))).
			WithTemplate(template)), nil
}

// replicas is always said: whoever resumes a server gets back what was there before.
func replicas(s *v1alpha1.MCPServer) int32 {
	switch {
	case s.Spec.Suspend != nil && *s.Spec.Suspend:
		return 0
	case s.Spec.Replicas != nil:
		return *s.Spec.Replicas
	default:
		return 1
	}
}

// podTemplate is the pod: the gate, the server, and nothing else.
func podTemplate(p Params) (*corev1.PodTemplateSpecApplyConfiguration, error) {
	settings := podSettings(p.Server)
	server, err := serverContainer(p)
	if err != nil {
		return nil, err
	}
	volumes, err := userVolumes(settings)
	if err != nil {
		return nil, err
	}
	spec := corev1.PodSpec().
		WithServiceAccountName(serviceAccountName(p)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(gateconfig.GraceSeconds).
		WithSecurityContext(podSecurityContext(p.Server)).
		WithInitContainers(initContainers(p)...).
		WithContainers(server).
		WithVolumes(gateVolumes(p)...).
		WithVolumes(stdioVolumes(p.Server)...).
		WithVolumes(secretVolumes(p)...).
		WithVolumes(tokenVolumes(p)...).
		WithVolumes(volumes...)
	if err := schedule(spec, settings, p); err != nil {
		return nil, err
	}
	template := corev1.PodTemplateSpec().
		WithLabels(merged(settings.Labels, Labels(p.Server.Name))).
		WithSpec(spec)
	if len(settings.Annotations) > 0 {
		template.WithAnnotations(settings.Annotations)
	}
	return template, nil
}

func initContainers(p Params) []*corev1.ContainerApplyConfiguration {
	gate := gateContainer(p)
	if stdio(p.Server) {
		return []*corev1.ContainerApplyConfiguration{gate, installContainer(p)}
	}
	return []*corev1.ContainerApplyConfiguration{gate}
}

func podSettings(s *v1alpha1.MCPServer) v1alpha1.PodSettings {
	if s.Spec.Pod == nil {
		return v1alpha1.PodSettings{}
	}
	return *s.Spec.Pod
}

// podSecurityContext is what the restricted Pod Security Standard asks of the pod as a whole.
func podSecurityContext(s *v1alpha1.MCPServer) *corev1.PodSecurityContextApplyConfiguration {
	pod := corev1.PodSecurityContext().
		WithRunAsNonRoot(true).
		WithSeccompProfile(corev1.SeccompProfile().WithType(core.SeccompProfileTypeRuntimeDefault))
	if user := podSettings(s).SecurityContext; user != nil && user.FSGroup != nil {
		pod.WithFSGroup(*user.FSGroup).WithFSGroupChangePolicy(core.FSGroupChangeOnRootMismatch)
	}
	// The server is not root and has no capability, so the kernel must let everybody in its pod have a low port.
	if port := s.Spec.Transport.Port; isLowPort(port) {
		pod.WithSysctls(corev1.Sysctl().WithName("net.ipv4.ip_unprivileged_port_start").WithValue(strconv.Itoa(int(port))))
	}
	return pod
}

func isLowPort(port int32) bool { return port > 0 && port < 1024 }

// restricted is what the restricted Pod Security Standard asks of a container, and a read-only root filesystem.
func restricted() *corev1.SecurityContextApplyConfiguration {
	return corev1.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithRunAsNonRoot(true).
		WithCapabilities(corev1.Capabilities().WithDrop("ALL")).
		WithSeccompProfile(corev1.SeccompProfile().WithType(core.SeccompProfileTypeRuntimeDefault))
}

// schedule says where the pods run.
func schedule(spec *corev1.PodSpecApplyConfiguration, settings v1alpha1.PodSettings, p Params) error {
	for _, name := range settings.ImagePullSecrets {
		spec.WithImagePullSecrets(corev1.LocalObjectReference().WithName(name))
	}
	if len(settings.NodeSelector) > 0 {
		spec.WithNodeSelector(settings.NodeSelector)
	}
	if settings.PriorityClassName != "" {
		spec.WithPriorityClassName(settings.PriorityClassName)
	}
	if settings.RuntimeClassName != "" {
		spec.WithRuntimeClassName(settings.RuntimeClassName)
	}
	tolerations, err := convertAll[corev1.TolerationApplyConfiguration](settings.Tolerations)
	if err != nil {
		return err
	}
	spec.WithTolerations(tolerations...)
	constraints, err := convertAll[corev1.TopologySpreadConstraintApplyConfiguration](settings.TopologySpreadConstraints)
	if err != nil {
		return err
	}
	for _, constraint := range constraints {
		if constraint.LabelSelector == nil {
			constraint.WithLabelSelector(selector(p))
		}
	}
	spec.WithTopologySpreadConstraints(constraints...)
	if settings.Affinity != nil {
		if spec.Affinity, err = convert[corev1.AffinityApplyConfiguration](settings.Affinity); err != nil {
			return err
		}
	}
	return nil
}

// ComparableInputs says whether operators of the same TemplateVersion made both values of AnnotationInputs. Otherwise they may differ although
// nobody changed anything.
func ComparableInputs(a, b string) bool {
	of, _, known := strings.Cut(a, "-")
	other, _, _ := strings.Cut(b, "-")
	return known && of == other
}

// inputs is a hash of what the user and the secrets put into the pods, and of nothing that the operator decides, after the TemplateVersion:
// it stays the same when only the gate is another.
func inputs(p Params) (string, error) {
	spec := &p.Server.Spec
	pod := podSettings(p.Server)
	pod.ServiceAccountAnnotations = nil
	hashes := map[string]string{}
	for _, group := range spec.Secrets {
		if h := p.SecretHashes[group.Name]; h != "" {
			hashes[group.Name] = h
		}
	}
	transport := v1alpha1.Transport{Port: spec.Transport.Port, Path: transportPath(p.Server)}
	if stdio(p.Server) {
		children := stdioSpec(p.Server)
		transport = v1alpha1.Transport{Type: v1alpha1.TransportStdio, Sessions: sessions(p.Server), Stdio: &children}
	}
	content, err := json.Marshal(v1alpha1.MCPServerSpec{
		Transport:        transport,
		Image:            spec.Image,
		Command:          spec.Command,
		Args:             spec.Args,
		Env:              spec.Env,
		Resources:        spec.Resources,
		Pod:              &pod,
		Secrets:          targets(spec.Secrets),
		KubernetesAccess: identity(spec.KubernetesAccess),
	})
	if err != nil {
		return "", err
	}
	secrets, err := json.Marshal(hashes)
	if err != nil {
		return "", err
	}
	return strconv.Itoa(TemplateVersion) + "-" + hash(string(content), string(secrets)), nil
}

// targets are the groups without where their values come from.
func targets(groups []v1alpha1.SecretGroup) []v1alpha1.SecretGroup {
	var all []v1alpha1.SecretGroup
	for _, group := range groups {
		target := v1alpha1.SecretGroup{Name: group.Name}
		for _, data := range group.Data {
			target.Data = append(target.Data, v1alpha1.SecretData{File: data.File, Env: data.Env})
		}
		all = append(all, target)
	}
	return all
}

// identity is the access without the rules, which change nothing in the pods.
func identity(access *v1alpha1.KubernetesAccess) *v1alpha1.KubernetesAccess {
	if access == nil {
		return nil
	}
	return &v1alpha1.KubernetesAccess{ServiceAccountName: access.ServiceAccountName}
}

// hash is short enough for a label's value.
func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

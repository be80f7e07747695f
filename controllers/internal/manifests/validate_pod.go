package manifests

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

var userEnvName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// fieldPaths are the fields of a pod that an environment variable can have.
var fieldPaths = regexp.MustCompile(`^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]|` +
	`spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs))$`)

func (f *finder) env() {
	seen := map[string]bool{}
	for _, v := range f.server.Spec.Env {
		field := fmt.Sprintf("spec.env[%s]", v.Name)
		switch {
		case !userEnvName.MatchString(v.Name):
			f.add(ReasonEnvInvalid, field, "it is no name of an environment variable")
		case seen[v.Name]:
			f.add(ReasonEnvInvalid, field, "it is there twice; remove one")
		case v.FieldPath != "" && !fieldPaths.MatchString(v.FieldPath):
			f.add(ReasonEnvInvalid, field+".fieldPath", "%q is no field of a pod that Kubernetes offers; use metadata.name, metadata.namespace, metadata.uid, metadata.labels['key'], metadata.annotations['key'], spec.nodeName, spec.serviceAccountName, status.hostIP or status.podIP", v.FieldPath)
		case v.ConfigMapKeyRef != nil && (len(validation.IsDNS1123Subdomain(v.ConfigMapKeyRef.Name)) > 0 || len(validation.IsConfigMapKey(v.ConfigMapKeyRef.Key)) > 0):
			f.add(ReasonEnvInvalid, field+".configMapKeyRef", "it names no ConfigMap and key that could exist")
		}
		seen[v.Name] = true
	}
}

func (f *finder) resources() {
	spec := f.server.Spec.Resources
	if spec == nil {
		return
	}
	if len(spec.Claims) > 0 {
		f.add(ReasonResourcesInvalid, "spec.resources.claims", "resource claims are not supported; remove them")
	}
	for _, list := range []struct {
		field string
		of    core.ResourceList
	}{{"limits", spec.Limits}, {"requests", spec.Requests}} {
		for _, name := range slices.Sorted(maps.Keys(list.of)) {
			f.quantity(fmt.Sprintf("spec.resources.%s[%s]", list.field, name), name, list.of[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Requests)) {
		field, request := fmt.Sprintf("spec.resources.requests[%s]", name), spec.Requests[name]
		limit, limited := spec.Limits[name]
		switch {
		case limited && request.Cmp(limit) > 0:
			f.add(ReasonResourcesInvalid, field, "%s is more than the limit %s; raise the limit or lower the request", request.String(), limit.String())
		case !overcommits(name) && (!limited || request.Cmp(limit) != 0):
			f.add(ReasonResourcesInvalid, field, "it must equal spec.resources.limits[%s], because this resource cannot be shared; leave the request out", name)
		}
	}
}

func (f *finder) quantity(field string, name core.ResourceName, q resource.Quantity) {
	prefix, _, extended := strings.Cut(string(name), "/")
	switch {
	case q.Sign() < 0:
		f.add(ReasonResourcesInvalid, field, "%s is negative", q.String())
	case overcommits(name):
	case strings.HasPrefix(string(name), core.ResourceHugePagesPrefix):
		if size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), core.ResourceHugePagesPrefix)); err != nil || size.Sign() <= 0 || q.Value()%size.Value() != 0 {
			f.add(ReasonResourcesInvalid, field, "%s is no multiple of the size in the name", q.String())
		}
	case !extended || len(validation.IsQualifiedName(string(name))) > 0 || prefix == "kubernetes.io" || strings.HasSuffix(prefix, ".kubernetes.io") || strings.HasPrefix(prefix, "requests."):
		f.add(ReasonResourcesInvalid, field, "containers have no such resource; use cpu, memory, ephemeral-storage, hugepages-<size> or domain/name")
	case q.MilliValue()%1000 != 0:
		f.add(ReasonResourcesInvalid, field, "%s is no whole number", q.String())
	}
}

// overcommits says whether containers may share a resource: then requests may be below limits.
func overcommits(name core.ResourceName) bool {
	return name == core.ResourceCPU || name == core.ResourceMemory || name == core.ResourceEphemeralStorage
}

func (f *finder) pod() {
	pod := podSettings(f.server)
	f.metadata("spec.pod.labels", pod.Labels, true)
	f.metadata("spec.pod.annotations", pod.Annotations, false)
	f.metadata("spec.pod.serviceAccountAnnotations", pod.ServiceAccountAnnotations, false)
	for _, key := range slices.Sorted(maps.Keys(pod.NodeSelector)) {
		if len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(pod.NodeSelector[key])) > 0 {
			f.add(ReasonMetadataInvalid, "spec.pod.nodeSelector", "%q: %q is no label", key, pod.NodeSelector[key])
		}
	}
	for _, name := range pod.ImagePullSecrets {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			f.add(ReasonNameInvalid, "spec.pod.imagePullSecrets", "%q is no name of a Secret", name)
		}
	}
	for i, constraint := range pod.TopologySpreadConstraints {
		f.selector(ReasonMetadataInvalid, fmt.Sprintf("spec.pod.topologySpreadConstraints[%d].labelSelector", i), constraint.LabelSelector)
	}
	f.classNames(pod)
	f.volumes(pod)
	if user := pod.SecurityContext; user != nil {
		f.nobodyIsRoot(user)
	}
	if probes := pod.Probes; probes != nil {
		f.probe("spec.pod.probes.startup", probes.Startup)
		f.probe("spec.pod.probes.readiness", probes.Readiness)
		f.probe("spec.pod.probes.liveness", probes.Liveness)
	}
}

// metadata checks labels or annotations of the user. Annotations that switch off a protection of the runtime are refused
// as the restricted Pod Security Standard refuses them.
func (f *finder) metadata(field string, entries map[string]string, labels bool) {
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		prefix, _, _ := strings.Cut(key, "/")
		switch {
		case len(validation.IsQualifiedName(strings.ToLower(key))) > 0, labels && len(validation.IsValidLabelValue(entries[key])) > 0:
			f.add(ReasonMetadataInvalid, field, "%q is no valid key, or its value is none; see the Kubernetes documentation on labels and annotations", key)
		case prefix == "bartizan.dev", labels && prefix == "app.kubernetes.io":
			f.add(ReasonMetadataInvalid, field, "%q is set by the operator; remove it", key)
		case !labels && (prefix == "container.apparmor.security.beta.kubernetes.io" || strings.HasPrefix(prefix, "seccomp.security.alpha.kubernetes.io") || strings.HasPrefix(prefix, "container.seccomp.security.alpha.kubernetes.io")):
			f.add(ReasonMetadataInvalid, field, "%q would change the confinement of the containers, which is fixed; remove it", key)
		}
	}
}

func (f *finder) classNames(pod v1alpha1.PodSettings) {
	if pod.PriorityClassName != "" && len(validation.IsDNS1123Subdomain(pod.PriorityClassName)) > 0 {
		f.add(ReasonNameInvalid, "spec.pod.priorityClassName", "%q is no name of a PriorityClass", pod.PriorityClassName)
	}
	if pod.RuntimeClassName != "" && len(validation.IsDNS1123Subdomain(pod.RuntimeClassName)) > 0 {
		f.add(ReasonNameInvalid, "spec.pod.runtimeClassName", "%q is no name of a RuntimeClass", pod.RuntimeClassName)
	}
}

func (f *finder) volumes(pod v1alpha1.PodSettings) {
	volumes := map[string]v1alpha1.Volume{}
	for _, v := range pod.Volumes {
		field := fmt.Sprintf("spec.pod.volumes[%s]", v.Name)
		switch {
		case len(validation.IsDNS1123Label(v.Name)) > 0:
			f.add(ReasonVolumeInvalid, field, "its name is no DNS label")
		case strings.HasPrefix(v.Name, operatorPrefix+"-"):
			f.add(ReasonNameReserved, field, "names that begin with %q are those of the operator's own volumes; rename it here and in spec.pod.volumeMounts", operatorPrefix+"-")
		case volumes[v.Name].Name != "":
			f.add(ReasonVolumeInvalid, field, "it is there twice; rename one")
		case sources(v) != 1:
			f.add(ReasonVolumeInvalid, field, "set exactly one of emptyDir, configMap and persistentVolumeClaim")
		case v.EmptyDir != nil && (v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0):
			f.add(ReasonVolumeInvalid, field+".emptyDir.sizeLimit", "it must be a positive quantity such as 64Mi")
		case v.ConfigMap != nil && len(validation.IsDNS1123Subdomain(v.ConfigMap.Name)) > 0:
			f.add(ReasonVolumeInvalid, field+".configMap.name", "%q is no name of a ConfigMap", v.ConfigMap.Name)
		case v.PersistentVolumeClaim != nil && len(validation.IsDNS1123Subdomain(v.PersistentVolumeClaim.ClaimName)) > 0:
			f.add(ReasonVolumeInvalid, field+".persistentVolumeClaim.claimName", "%q is no name of a PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName)
		}
		volumes[v.Name] = v
	}
	f.volumeMounts(pod.VolumeMounts, volumes)
}

func (f *finder) volumeMounts(mounts []v1alpha1.VolumeMount, volumes map[string]v1alpha1.Volume) {
	paths := map[string]bool{}
	for _, m := range mounts {
		field := fmt.Sprintf("spec.pod.volumeMounts[%s]", m.MountPath)
		clean := path.Clean(m.MountPath)
		switch {
		case volumes[m.Name].Name == "":
			f.add(ReasonVolumeMountWithoutVolume, field, "there is no volume %q in spec.pod.volumes; add it or correct the name", m.Name)
		case volumes[m.Name].ConfigMap != nil && m.Mode == v1alpha1.VolumeReadWrite:
			f.add(ReasonVolumeInvalid, field+".mode", "a ConfigMap cannot be written to; use ReadOnly, or an emptyDir")
		}
		switch {
		case !path.IsAbs(m.MountPath) || strings.Contains(m.MountPath, ":") || hasParent(m.MountPath) || clean == "/":
			f.add(ReasonMountPathInvalid, field, "it must be an absolute path below the root, without ':' and '..'")
		case within(clean, "/var/run/secrets") || within(clean, "/run/secrets"):
			f.add(ReasonMountPathInvalid, field, "tokens and spec.secrets live below /var/run/secrets; mount it elsewhere")
		case slices.ContainsFunc([]string{gateconfig.InstallDirectory, gateconfig.StdioDirectory}, func(own string) bool { return within(clean, own) || within(clean, "/var"+own) }):
			f.add(ReasonMountPathInvalid, field, "the operator uses it; mount it elsewhere")
		case within(clean, "/proc") || within(clean, "/sys") || within(clean, "/dev"):
			f.add(ReasonMountPathInvalid, field, "the container runtime owns %s; mount it elsewhere", clean)
		case paths[clean]:
			f.add(ReasonMountPathInvalid, field, "two volumes are mounted there; mount one elsewhere")
		}
		paths[clean] = true
		if path.IsAbs(m.SubPath) || hasParent(m.SubPath) {
			f.add(ReasonMountPathInvalid, field+".subPath", "it must be a relative path without '..'")
		}
	}
}

func sources(v v1alpha1.Volume) int {
	n := 0
	for _, set := range []bool{v.EmptyDir != nil, v.ConfigMap != nil, v.PersistentVolumeClaim != nil} {
		if set {
			n++
		}
	}
	return n
}

// within says whether a clean path is a folder or below it.
func within(clean, folder string) bool {
	return clean == folder || strings.HasPrefix(clean, folder+"/")
}

func hasParent(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

func (f *finder) nobodyIsRoot(user *v1alpha1.PodSecurity) {
	for _, id := range []struct {
		field string
		value *int64
	}{{"runAsUser", user.RunAsUser}, {"runAsGroup", user.RunAsGroup}, {"fsGroup", user.FSGroup}} {
		if id.value != nil && (*id.value < 1 || *id.value > 2147483647) {
			f.add(ReasonRunsAsRoot, "spec.pod.securityContext."+id.field, "%d is root or no id at all; use a number from 1 to 2147483647", *id.value)
		}
	}
}

// probe checks a probe of the server's container. The kubelet is outside the pod and has no certificate: it reaches
// neither the server, which listens on the loopback address, nor what is behind the gate.
func (f *finder) probe(field string, probe *core.Probe) {
	if probe == nil {
		return
	}
	handlers := 0
	if probe.Exec != nil {
		handlers++
	}
	if http := probe.HTTPGet; http != nil {
		handlers++
		f.probeHost(field+".httpGet.host", http.Host)
		f.probePort(field+".httpGet.port", http.Port)
	}
	if tcp := probe.TCPSocket; tcp != nil {
		handlers++
		f.probeHost(field+".tcpSocket.host", tcp.Host)
		f.probePort(field+".tcpSocket.port", tcp.Port)
	}
	if grpc := probe.GRPC; grpc != nil {
		handlers++
		f.probePort(field+".grpc.port", intstr.FromInt32(grpc.Port))
	}
	if handlers != 1 {
		f.add(ReasonProbeInvalid, field, "set exactly one of exec, httpGet, tcpSocket and grpc")
	}
	for _, n := range []int32{probe.InitialDelaySeconds, probe.TimeoutSeconds, probe.PeriodSeconds, probe.SuccessThreshold, probe.FailureThreshold} {
		if n < 0 {
			f.add(ReasonProbeInvalid, field, "a number in it is negative")
			break
		}
	}
}

func (f *finder) probeHost(field, host string) {
	if host != "" {
		f.add(ReasonProbeInvalid, field, "the restricted Pod Security Standard forbids probes of other hosts; remove it")
	}
}

func (f *finder) probePort(field string, port intstr.IntOrString) {
	switch {
	case stdio(f.server):
		f.add(ReasonProbeInvalid, field, "a Stdio server listens on no port; use exec, or remove the probe: the gate checks the server by itself")
	case port.Type != intstr.Int:
		f.add(ReasonProbeInvalid, field, "the server's container has no named ports; write a number")
	case port.IntVal < 1 || port.IntVal > 65535:
		f.add(ReasonProbeInvalid, field, "%d is not a port; choose one from 1 to 65535", port.IntVal)
	case port.IntVal == f.server.Spec.Transport.Port:
		f.add(ReasonProbeInvalid, field, "the kubelet cannot reach the server's port, which is open on 127.0.0.1 only; use exec, or remove the probe: the gate checks that port by itself")
	case isGatePort(port.IntVal):
		f.add(ReasonProbeInvalid, field, "%d is the gate's own port, and the gate has probes of its own; use exec, or remove the probe", port.IntVal)
	}
}

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// PodSettings adjust a server's pods without opening what the posture closes.
type PodSettings struct {
	// labels of the pods, beside the operator's own.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('bartizan.dev/') && !k.startsWith('app.kubernetes.io/'))",message="pod.labels must not set bartizan.dev/ or app.kubernetes.io/ labels: the operator owns them"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// annotations of the pods, beside the operator's own.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('bartizan.dev/'))",message="pod.annotations must not set bartizan.dev/ annotations: the operator owns them"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// volumes of the pods. Secrets come through spec.secrets, host paths not at all.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +optional
	Volumes []Volume `json:"volumes,omitempty"`
	// volumeMounts of the server's container. The root filesystem is read-only: mount an emptyDir where it writes.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=mountPath
	// +optional
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
	// imagePullSecrets are names of Secrets with the registries' credentials.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
	// nodeSelector selects nodes by label.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// topologySpreadConstraints of the pods. Without a selector they count this server's pods.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// priorityClassName of the pods.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// runtimeClassName of the pods, for sandboxed runtimes.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	RuntimeClassName string `json:"runtimeClassName,omitempty"`
	// securityContext is the user that the server runs as. Everything else is fixed by the restricted Pod Security Standard.
	// +optional
	SecurityContext *PodSecurity `json:"securityContext,omitempty"`
	// probes of the server's container. Without them the gate's check of the server's port decides.
	// +optional
	Probes *Probes `json:"probes,omitempty"`
	// serviceAccountAnnotations are put on the ServiceAccount that the operator makes, for cloud identities.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations,omitempty"`
}

// PodSecurity is the user that a server runs as.
type PodSecurity struct {
	// runAsUser is the numeric user. Without it the image's, which must not be root.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	RunAsUser *int64 `json:"runAsUser,omitempty"`
	// runAsGroup is the numeric group.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	// fsGroup owns the volumes.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	FSGroup *int64 `json:"fsGroup,omitempty"`
}

// Probes of the server's container. They must not need a token: the kubelet has none.
type Probes struct {
	// startup tells when the server has started.
	// +optional
	Startup *corev1.Probe `json:"startup,omitempty"`
	// readiness tells when the server can answer.
	// +optional
	Readiness *corev1.Probe `json:"readiness,omitempty"`
	// liveness tells when the server must be restarted.
	// +optional
	Liveness *corev1.Probe `json:"liveness,omitempty"`
}

// Volume is a volume with exactly one source.
//
// +kubebuilder:validation:XValidation:rule="[has(self.emptyDir), has(self.configMap), has(self.persistentVolumeClaim)].filter(x, x).size() == 1",message="set exactly one of emptyDir, configMap and persistentVolumeClaim"
type Volume struct {
	// name of the volume.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name,omitempty"`
	// emptyDir is an empty directory that lives as long as the pod.
	// +optional
	EmptyDir *EmptyDir `json:"emptyDir,omitempty"`
	// configMap is a ConfigMap's content.
	// +optional
	ConfigMap *ConfigMapVolume `json:"configMap,omitempty"`
	// persistentVolumeClaim is a claim in the server's namespace.
	// +optional
	PersistentVolumeClaim *ClaimVolume `json:"persistentVolumeClaim,omitempty"`
}

// EmptyDir is an empty directory that lives as long as the pod.
//
// +kubebuilder:validation:MinProperties=1
type EmptyDir struct {
	// sizeLimit bounds the directory.
	// +required
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
	// medium Memory keeps the files in memory.
	// +kubebuilder:validation:Enum=Memory
	// +optional
	Medium corev1.StorageMedium `json:"medium,omitempty"`
}

// ConfigMapVolume is a ConfigMap's content.
type ConfigMapVolume struct {
	// name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
}

// ClaimVolume is a PersistentVolumeClaim.
type ClaimVolume struct {
	// claimName is the name of the claim.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	ClaimName string `json:"claimName,omitempty"`
}

// VolumeMode says whether a mount can be written to.
// +kubebuilder:validation:Enum=ReadOnly;ReadWrite
type VolumeMode string

// The modes of a mount.
const (
	VolumeReadOnly  VolumeMode = "ReadOnly"
	VolumeReadWrite VolumeMode = "ReadWrite"
)

// VolumeMount mounts a volume of spec.pod.volumes into the server's container.
type VolumeMount struct {
	// name of the volume.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +required
	Name string `json:"name,omitempty"`
	// mountPath in the container.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^/[^:]*$`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(/var)?/run/secrets(/|$)')",message="pod.volumeMounts.mountPath must not be below /var/run/secrets: tokens and spec.secrets live there"
	// +kubebuilder:validation:XValidation:rule="!(self + '/').contains('//') && !self.split('/').exists(p, p == '.' || p == '..')",message="pod.volumeMounts.mountPath must be a path below /, without empty, '.' and '..' segments"
	// +required
	MountPath string `json:"mountPath,omitempty"`
	// subPath of the volume.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="pod.volumeMounts.subPath must be relative, without '..' segments"
	// +optional
	SubPath string `json:"subPath,omitempty"`
	// mode of the mount.
	// +kubebuilder:default=ReadOnly
	// +optional
	Mode VolumeMode `json:"mode,omitempty"`
}

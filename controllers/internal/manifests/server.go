package manifests

import (
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Where the server finds its secrets and its identity.
const (
	// SecretsDirectory holds one folder for each secret group.
	SecretsDirectory = "/var/run/secrets/mcp"
	tokenDirectory   = "/var/run/secrets/kubernetes.io/serviceaccount"
)

const tokenVolume = operatorPrefix + "-token"

// readOnlyMode lets everybody in a container read a file, and nobody write it.
const readOnlyMode = 0o444

// tokenSeconds is the lifetime of a ServiceAccount token, the one that the API server gives to pods by itself.
const tokenSeconds = 3607

// serverContainer is the user's container. It has no ports: the gate reaches it on the loopback address, and nobody else
// does.
func serverContainer(p Params) (*corev1.ContainerApplyConfiguration, error) {
	spec := &p.Server.Spec
	c := corev1.Container().
		WithName(ServerContainer).
		WithImage(spec.Image).
		WithImagePullPolicy(core.PullIfNotPresent).
		WithCommand(spec.Command...).
		WithArgs(spec.Args...).
		WithEnv(secretEnv(p)...).
		WithEnv(userEnv(spec.Env)...).
		WithResources(resources(spec.Resources)).
		WithSecurityContext(serverSecurity(podSettings(p.Server).SecurityContext)).
		WithVolumeMounts(secretMounts(p)...).
		WithVolumeMounts(tokenMounts(p)...).
		WithVolumeMounts(userMounts(podSettings(p.Server).VolumeMounts)...).
		// The gate drains meanwhile: see docs/shutdown.md.
		WithLifecycle(corev1.Lifecycle().WithPreStop(
			corev1.LifecycleHandler().WithSleep(corev1.SleepAction().WithSeconds(gateconfig.DrainSeconds))))
	if stdio(p.Server) {
		wrap(c, p.Server)
	}
	return c, probes(c, podSettings(p.Server).Probes)
}

func serverSecurity(user *v1alpha1.PodSecurity) *corev1.SecurityContextApplyConfiguration {
	security := restricted()
	if user != nil && user.RunAsUser != nil {
		security.WithRunAsUser(*user.RunAsUser)
	}
	if user != nil && user.RunAsGroup != nil {
		security.WithRunAsGroup(*user.RunAsGroup)
	}
	return security
}

func probes(c *corev1.ContainerApplyConfiguration, spec *v1alpha1.Probes) (err error) {
	if spec == nil {
		return nil
	}
	for _, probe := range []struct {
		from *core.Probe
		to   **corev1.ProbeApplyConfiguration
	}{
		{spec.Startup, &c.StartupProbe},
		{spec.Readiness, &c.ReadinessProbe},
		{spec.Liveness, &c.LivenessProbe},
	} {
		if probe.from == nil {
			continue
		}
		if *probe.to, err = convert[corev1.ProbeApplyConfiguration](probe.from); err != nil {
			return err
		}
	}
	return nil
}

// userEnv comes after secretEnv, so that a value can be put together with $(NAME) of a secret.
func userEnv(vars []v1alpha1.EnvVar) []*corev1.EnvVarApplyConfiguration {
	var all []*corev1.EnvVarApplyConfiguration
	for _, v := range vars {
		env := corev1.EnvVar().WithName(v.Name)
		switch {
		case v.ConfigMapKeyRef != nil:
			env.WithValueFrom(corev1.EnvVarSource().WithConfigMapKeyRef(
				corev1.ConfigMapKeySelector().WithName(v.ConfigMapKeyRef.Name).WithKey(v.ConfigMapKeyRef.Key)))
		case v.FieldPath != "":
			env.WithValueFrom(corev1.EnvVarSource().WithFieldRef(
				corev1.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(v.FieldPath)))
		case v.Value != nil && *v.Value != "":
			env.WithValue(*v.Value)
		}
		all = append(all, env)
	}
	return all
}

func secretEnv(p Params) []*corev1.EnvVarApplyConfiguration {
	var all []*corev1.EnvVarApplyConfiguration
	for _, group := range p.Server.Spec.Secrets {
		for _, data := range group.Data {
			if data.Env == "" {
				continue
			}
			all = append(all, corev1.EnvVar().WithName(data.Env).WithValueFrom(corev1.EnvVarSource().WithSecretKeyRef(
				corev1.SecretKeySelector().WithName(ExternalSecretName(p.Server.Name, group.Name)).WithKey(secretKey(data)))))
		}
	}
	return all
}

// secretVolumes are the files of the secret groups, without the values that are environment variables.
func secretVolumes(p Params) []*corev1.VolumeApplyConfiguration {
	var all []*corev1.VolumeApplyConfiguration
	for i := range p.Server.Spec.Secrets {
		group := &p.Server.Spec.Secrets[i]
		if !hasFiles(group) {
			continue
		}
		source := corev1.SecretVolumeSource().
			WithSecretName(ExternalSecretName(p.Server.Name, group.Name)).
			WithDefaultMode(readOnlyMode)
		for _, data := range group.Data {
			if data.File != "" {
				source.WithItems(corev1.KeyToPath().WithKey(secretKey(data)).WithPath(data.File))
			}
		}
		all = append(all, corev1.Volume().WithName(secretVolume(group.Name)).WithSecret(source))
	}
	return all
}

// secretMounts have no subPath: a file behind one is never updated.
func secretMounts(p Params) []*corev1.VolumeMountApplyConfiguration {
	var all []*corev1.VolumeMountApplyConfiguration
	for i := range p.Server.Spec.Secrets {
		if group := &p.Server.Spec.Secrets[i]; hasFiles(group) {
			all = append(all, corev1.VolumeMount().
				WithName(secretVolume(group.Name)).
				WithMountPath(SecretsDirectory+"/"+group.Name).
				WithReadOnly(true))
		}
	}
	return all
}

func hasFiles(group *v1alpha1.SecretGroup) bool {
	return slices.ContainsFunc(group.Data, func(data v1alpha1.SecretData) bool { return data.File != "" })
}

// tokenVolumes are the identity at the Kubernetes API, in the form that its clients expect.
func tokenVolumes(p Params) []*corev1.VolumeApplyConfiguration {
	if p.Server.Spec.KubernetesAccess == nil {
		return nil
	}
	return []*corev1.VolumeApplyConfiguration{
		corev1.Volume().WithName(tokenVolume).WithProjected(corev1.ProjectedVolumeSource().
			WithDefaultMode(readOnlyMode).
			WithSources(
				corev1.VolumeProjection().WithServiceAccountToken(
					corev1.ServiceAccountTokenProjection().WithPath("token").WithExpirationSeconds(tokenSeconds)),
				corev1.VolumeProjection().WithConfigMap(
					corev1.ConfigMapProjection().WithName("kube-root-ca.crt").
						WithItems(corev1.KeyToPath().WithKey("ca.crt").WithPath("ca.crt"))),
				corev1.VolumeProjection().WithDownwardAPI(
					corev1.DownwardAPIProjection().WithItems(corev1.DownwardAPIVolumeFile().
						WithPath("namespace").
						WithFieldRef(corev1.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath("metadata.namespace")))),
			)),
	}
}

func tokenMounts(p Params) []*corev1.VolumeMountApplyConfiguration {
	if p.Server.Spec.KubernetesAccess == nil {
		return nil
	}
	return []*corev1.VolumeMountApplyConfiguration{
		corev1.VolumeMount().WithName(tokenVolume).WithMountPath(tokenDirectory).WithReadOnly(true),
	}
}

func userVolumes(settings v1alpha1.PodSettings) ([]*corev1.VolumeApplyConfiguration, error) {
	var all []*corev1.VolumeApplyConfiguration
	for _, v := range settings.Volumes {
		volume := corev1.Volume().WithName(v.Name)
		switch {
		case v.EmptyDir != nil:
			dir, err := convert[corev1.EmptyDirVolumeSourceApplyConfiguration](v.EmptyDir)
			if err != nil {
				return nil, err
			}
			volume.WithEmptyDir(dir)
		case v.ConfigMap != nil:
			volume.WithConfigMap(corev1.ConfigMapVolumeSource().WithName(v.ConfigMap.Name))
		case v.PersistentVolumeClaim != nil:
			volume.WithPersistentVolumeClaim(corev1.PersistentVolumeClaimVolumeSource().WithClaimName(v.PersistentVolumeClaim.ClaimName))
		}
		all = append(all, volume)
	}
	return all, nil
}

// userMounts are read-only unless the spec says otherwise.
func userMounts(mounts []v1alpha1.VolumeMount) []*corev1.VolumeMountApplyConfiguration {
	var all []*corev1.VolumeMountApplyConfiguration
	for _, m := range mounts {
		mount := corev1.VolumeMount().WithName(m.Name).WithMountPath(m.MountPath)
		if m.SubPath != "" {
			mount.WithSubPath(m.SubPath)
		}
		if m.Mode != v1alpha1.VolumeReadWrite {
			mount.WithReadOnly(true)
		}
		all = append(all, mount)
	}
	return all
}

// What a server may use when its spec does not say.
var (
	defaultRequests = core.ResourceList{core.ResourceCPU: resource.MustParse("50m"), core.ResourceMemory: resource.MustParse("64Mi")}
	defaultLimits   = core.ResourceList{core.ResourceCPU: resource.MustParse("1"), core.ResourceMemory: resource.MustParse("512Mi")}
)

// resources are those of the spec, filled up so that CPU and memory are always limited. A default gives way to what the
// spec says: a limit is never below its request.
func resources(spec *core.ResourceRequirements) *corev1.ResourceRequirementsApplyConfiguration {
	requests, limits := core.ResourceList{}, core.ResourceList{}
	if spec != nil {
		maps.Copy(requests, spec.Requests)
		maps.Copy(limits, spec.Limits)
	}
	for name, limit := range defaultLimits {
		_, limited := limits[name]
		request, requested := requests[name]
		if !limited {
			limits[name] = larger(limit, request)
		}
		if !requested {
			requests[name] = smaller(defaultRequests[name], limits[name])
		}
	}
	return corev1.ResourceRequirements().WithRequests(requests).WithLimits(limits)
}

func larger(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}

func smaller(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) > 0 {
		return b
	}
	return a
}

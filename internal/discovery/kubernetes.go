package discovery

import (
	"cmp"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FromPod is what a pod shows of the workload that it is of.
func FromPod(pod *corev1.Pod) Workload {
	kind, name := owner(pod)
	w := FromTemplate(kind, pod.Namespace, name, &corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec})
	for _, status := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		for i := range w.Containers {
			if at := digest.FindString(status.ImageID); w.Containers[i].Name == status.Name && at != "" {
				w.Containers[i].Digest = strings.TrimPrefix(at, "@")
			}
		}
	}
	return w
}

var digest = regexp.MustCompile(`(?:^|@)sha256:[0-9a-f]{64}$`)

// owner is the workload that a pod is of, as far as the pod tells.
func owner(pod *corev1.Pod) (kind, name string) {
	controller := metav1.GetControllerOfNoCopy(pod)
	if controller == nil {
		return "Pod", cmp.Or(pod.Name, pod.GenerateName)
	}
	if hash := pod.Labels["pod-template-hash"]; controller.Kind == "ReplicaSet" && hash != "" && strings.HasSuffix(controller.Name, "-"+hash) {
		return "Deployment", strings.TrimSuffix(controller.Name, "-"+hash)
	}
	return controller.Kind, controller.Name
}

// FromTemplate is a workload with a template of pods.
func FromTemplate(kind, namespace, name string, template *corev1.PodTemplateSpec) Workload {
	w := Workload{Kind: kind, Namespace: namespace, Name: name, Labels: template.Labels, HostNetwork: template.Spec.HostNetwork}
	for i := range template.Spec.InitContainers {
		// One that ends before the others begin serves nobody.
		if c := &template.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			w.Containers = append(w.Containers, fromContainer(c))
		}
	}
	for i := range template.Spec.Containers {
		w.Containers = append(w.Containers, fromContainer(&template.Spec.Containers[i]))
	}
	return w
}

func fromContainer(c *corev1.Container) Container {
	out := Container{Name: c.Name, Image: c.Image, Command: len(c.Command)}
	out.Words = append(append(out.Words, c.Command...), c.Args...)
	for i := range c.Env {
		out.Variables = append(out.Variables, c.Env[i].Name)
	}
	for _, p := range c.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			out.Ports = append(out.Ports, Port{Name: p.Name, Number: p.ContainerPort})
		}
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if probe != nil && probe.HTTPGet != nil {
			out.Paths = append(out.Paths, probe.HTTPGet.Path)
		}
	}
	return out
}

// FromService is what a Service shows.
func FromService(service *corev1.Service) Service {
	s := Service{Namespace: service.Namespace, Name: service.Name, Labels: service.Labels, Selector: service.Spec.Selector}
	for _, p := range service.Spec.Ports {
		port := Port{Name: p.Name, Number: p.Port}
		if p.AppProtocol != nil {
			port.Protocol = *p.AppProtocol
		}
		s.Ports = append(s.Ports, port)
	}
	return s
}

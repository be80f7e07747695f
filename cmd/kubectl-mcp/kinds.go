package main

import (
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/discovery"
)

// namespaced are the objects of Kubernetes' own kinds in a namespace that are looked at.
type namespaced struct {
	configMaps      map[string]*corev1.ConfigMap
	networkPolicies []networkingv1.NetworkPolicy
	services        []corev1.Service
}

// in are the objects of a namespace.
func (m *manifests) in(namespace string) *namespaced {
	if m.namespaced[namespace] == nil {
		m.namespaced[namespace] = &namespaced{configMaps: map[string]*corev1.ConfigMap{}}
	}
	return m.namespaced[namespace]
}

// kubernetesKinds read one object each of Kubernetes' own kinds. No error of theirs repeats what the object holds.
var kubernetesKinds = map[string]func(*manifests, []byte) error{
	"v1 ConfigMap": taking(func(m *manifests, o *corev1.ConfigMap) {
		m.in(o.Namespace).configMaps[o.Name] = o
	}),
	"v1 Service": taking(func(m *manifests, o *corev1.Service) {
		in := m.in(o.Namespace)
		in.services = append(in.services, *o)
	}),
	"v1 Namespace": taking(func(m *manifests, o *corev1.Namespace) {
		labels := map[string]string{corev1.LabelMetadataName: o.Name}
		for key, value := range o.Labels {
			labels[key] = value
		}
		m.namespaces[o.Name] = labels
	}),
	"networking.k8s.io/v1 NetworkPolicy": taking(func(m *manifests, o *networkingv1.NetworkPolicy) {
		in := m.in(o.Namespace)
		in.networkPolicies = append(in.networkPolicies, *o)
	}),
	"rbac.authorization.k8s.io/v1 Role":        taking(func(m *manifests, o *rbacv1.Role) { m.roles["Role "+o.Namespace+"/"+o.Name] = o.Rules }),
	"rbac.authorization.k8s.io/v1 ClusterRole": taking(func(m *manifests, o *rbacv1.ClusterRole) { m.roles["ClusterRole "+o.Name] = o.Rules }),
	"rbac.authorization.k8s.io/v1 RoleBinding": taking(func(m *manifests, o *rbacv1.RoleBinding) {
		m.bindings = append(m.bindings, declared.NamespaceBinding(o))
	}),
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": taking(func(m *manifests, o *rbacv1.ClusterRoleBinding) {
		m.bindings = append(m.bindings, declared.ClusterBinding(o))
	}),
	"v1 Pod":              taking(func(m *manifests, o *corev1.Pod) { m.workloads = append(m.workloads, discovery.FromPod(o)) }),
	"apps/v1 Deployment":  taking(func(m *manifests, o *appsv1.Deployment) { m.runs("Deployment", o, &o.Spec.Template) }),
	"apps/v1 StatefulSet": taking(func(m *manifests, o *appsv1.StatefulSet) { m.runs("StatefulSet", o, &o.Spec.Template) }),
	"apps/v1 DaemonSet":   taking(func(m *manifests, o *appsv1.DaemonSet) { m.runs("DaemonSet", o, &o.Spec.Template) }),
	"batch/v1 Job":        taking(func(m *manifests, o *batchv1.Job) { m.runs("Job", o, &o.Spec.Template) }),
	"batch/v1 CronJob":    taking(func(m *manifests, o *batchv1.CronJob) { m.runs("CronJob", o, &o.Spec.JobTemplate.Spec.Template) }),
}

// taking reads an object of a kind and has it taken.
func taking[T any, O interface {
	*T
	metav1.Object
}](take func(*manifests, O)) func(*manifests, []byte) error {
	return func(m *manifests, content []byte) error {
		object := O(new(T))
		if err := yaml.Unmarshal(content, object); err != nil {
			return errors.New("it is not of its kind") // the error could repeat what it holds
		}
		object.SetNamespace(namespaceOf(object))
		take(m, object)
		return nil
	}
}

// runs adds a workload.
func (m *manifests) runs(kind string, object metav1.Object, template *corev1.PodTemplateSpec) {
	m.workloads = append(m.workloads, discovery.FromTemplate(kind, object.GetNamespace(), object.GetName(), template))
}

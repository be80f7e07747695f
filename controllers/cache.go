package controllers

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/floor"
)

// Where the Kubernetes API and cluster DNS answer, outside the namespaces that are looked after.
var infrastructure = map[string]string{metav1.NamespaceDefault: "kubernetes", metav1.NamespaceSystem: "kube-dns"}

// CacheOptions restrict what the operator holds in memory, and what it can see without asking: of most kinds only what
// carries our label. Exceptions are our own kinds, and those that decide together who reaches a pod.
func CacheOptions(operatorNamespace string, watchNamespaces []string) cache.Options {
	options := cache.Options{
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{apply.ManagedByLabel: apply.ManagedBy}),
		DefaultTransform:     apply.Strip,
	}
	everything := cache.ByObject{Label: labels.Everything()}
	ours, services := everything, everything
	pods := cache.ByObject{Label: labelled(v1alpha1.LabelServer)}
	if len(watchNamespaces) > 0 {
		options.DefaultNamespaces = map[string]cache.Config{operatorNamespace: {}}
		ours.Namespaces, services.Namespaces = map[string]cache.Config{}, map[string]cache.Config{}
		for namespace, name := range infrastructure {
			services.Namespaces[namespace] = cache.Config{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name)}
		}
		services.Namespaces[operatorNamespace] = cache.Config{}
		for _, namespace := range watchNamespaces {
			options.DefaultNamespaces[namespace] = cache.Config{}
			ours.Namespaces[namespace] = cache.Config{}
			services.Namespaces[namespace] = cache.Config{}
		}
	}
	endpoints := cache.ByObject{Namespaces: map[string]cache.Config{}}
	for namespace, name := range infrastructure {
		endpoints.Namespaces[namespace] = cache.Config{LabelSelector: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name})}
	}
	definitions := &metav1.PartialObjectMetadata{}
	definitions.SetGroupVersionKind(definitionKind)
	all := cache.ByObject{Label: labels.Everything()} // of the cluster
	options.ByObject = map[client.Object]cache.ByObject{
		&v1alpha1.MCPSecurityProfile{}: all,
		floor.Namespace(""):            all,
		&v1alpha1.MCPServer{}:          ours,
		&v1alpha1.MCPClient{}:          ours,
		&v1alpha1.MCPAccessPolicy{}:    ours,
		&networkingv1.NetworkPolicy{}:  everything,
		// Whatever the Services lead to, whoever made it.
		&corev1.Pod{}:                pods,
		&corev1.Service{}:            services,
		&discoveryv1.EndpointSlice{}: endpoints,
		definitions:                  {Label: labels.Everything(), Transform: nameOnly},
	}
	return options
}

// labelled selects what has a label, whatever its value.
func labelled(key string) labels.Selector {
	has, err := labels.NewRequirement(key, selection.Exists, nil)
	if err != nil {
		panic("no label: " + err.Error())
	}
	return labels.NewSelector().Add(*has)
}

var definitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// nameOnly keeps of a definition what is looked at: that it is there.
func nameOnly(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetAnnotations(nil)
		o.SetLabels(nil)
		o.SetManagedFields(nil)
	}
	return object, nil
}

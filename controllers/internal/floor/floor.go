// Package floor reads what the security profiles of a namespace ask for.
package floor

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// Of a namespace only the labels are read.
//
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpsecurityprofiles,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch

// Of is the floor of a namespace. Profiles that cannot be read are an error: nothing is above a floor that nobody knows.
func Of(ctx context.Context, reader client.Reader, namespace string) (profile.Floor, error) {
	profiles := &v1alpha1.MCPSecurityProfileList{}
	if err := reader.List(ctx, profiles); err != nil || len(profiles.Items) == 0 {
		return profile.Floor{}, err
	}
	object := Namespace(namespace)
	if err := reader.Get(ctx, client.ObjectKeyFromObject(object), object); client.IgnoreNotFound(err) != nil {
		return profile.Floor{}, err
	}
	return profile.Of(profiles.Items, object.Labels), nil
}

// Namespace is the metadata of a namespace, which is all that caches hold of it.
func Namespace(name string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return object
}

// LabelsChanged lets pass what changes which profiles select a namespace.
func LabelsChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

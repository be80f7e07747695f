// Package v1alpha1 is the API of Bartizan: MCP servers, their clients, and what each client may do.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=bartizan.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this API.
var GroupVersion = schema.GroupVersion{Group: "bartizan.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion by the name that generated code uses.
var SchemeGroupVersion = GroupVersion

var schemeBuilder = runtime.NewSchemeBuilder(func(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&MCPServer{}, &MCPServerList{},
		&MCPClient{}, &MCPClientList{},
		&MCPAccessPolicy{}, &MCPAccessPolicyList{},
		&MCPSecurityProfile{}, &MCPSecurityProfileList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
})

// AddToScheme adds the kinds of this package to a scheme.
var AddToScheme = schemeBuilder.AddToScheme

// Resource returns the group resource of a plural name.
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

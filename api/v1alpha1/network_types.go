package v1alpha1

import (
	networkingv1 "k8s.io/api/networking/v1"
)

// InternetAccess says whether the server may reach addresses outside the cluster.
// +kubebuilder:validation:Enum=Denied;Allowed
type InternetAccess string

// Whether the internet may be reached.
const (
	InternetDenied  InternetAccess = "Denied"
	InternetAllowed InternetAccess = "Allowed"
)

// Network opens the pods' default-deny network policy where it is needed.
type Network struct {
	// ingress are further peers that may reach the gate, beside the pods that granted MCPClients select.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Ingress []NetworkIngress `json:"ingress,omitempty"`
	// egress are the peers that the server may reach.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Egress []NetworkEgress `json:"egress,omitempty"`
	// internet Allowed lets the server reach every address that is not private, link-local or loopback.
	// +kubebuilder:default=Denied
	// +optional
	Internet InternetAccess `json:"internet,omitempty"`
}

// NetworkIngress are peers that may reach the gate. An entry without peers is not possible: name who.
type NetworkIngress struct {
	// from are the peers.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(p, has(p.ipBlock) != (has(p.podSelector) || has(p.namespaceSelector)))",message="each peer needs either an ipBlock, or a podSelector, a namespaceSelector or both"
	// +required
	From []networkingv1.NetworkPolicyPeer `json:"from,omitempty"`
}

// NetworkEgress are peers that the server may reach, and on which ports.
type NetworkEgress struct {
	// to are the peers.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(p, has(p.ipBlock) != (has(p.podSelector) || has(p.namespaceSelector)))",message="each peer needs either an ipBlock, or a podSelector, a namespaceSelector or both"
	// +required
	To []networkingv1.NetworkPolicyPeer `json:"to,omitempty"`
	// ports are the ports; without them every port.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Ports []networkingv1.NetworkPolicyPort `json:"ports,omitempty"`
}

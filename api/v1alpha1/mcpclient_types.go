package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MCPClient is one caller of MCP servers: an agent, an application, a person's tool. It names the servers that it wants;
// an MCPAccessPolicy beside each server says what it gets. For each namespace of servers that grants it anything it has one
// API key and one client certificate, in Secrets of its own namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mcpc,categories=mcp
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Secrets",type=string,JSONPath=`.status.credentials[*].secretName`
// +kubebuilder:printcolumn:name="Next rotation",type=string,JSONPath=`.status.credentials[*].nextRotation`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",message="metadata.name must be a DNS label: lower-case letters, digits and '-', at most 63 characters"
type MCPClient struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what the client wants.
	// +required
	Spec MCPClientSpec `json:"spec,omitzero"`
	// status is what the client has.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status MCPClientStatus `json:"status,omitzero"`
}

// MCPClientSpec is what the client wants.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.apiKey) && self.apiKey.mode == 'Disabled' && has(self.certificate) && self.certificate.mode == 'Disabled')",message="apiKey and certificate cannot both be Disabled: the client could never authenticate"
type MCPClientSpec struct {
	// servers are the MCPServers that this client wants to use. A server is reached only where it is named here and an
	// MCPAccessPolicy in its namespace names this client.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +required
	Servers []ServerRef `json:"servers,omitempty"`
	// podSelector selects the client's pods in its own namespace. The network policies of its servers let them reach the
	// gates. Without it, open the network yourself in MCPServer spec.network.ingress.
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// apiKey is about the API keys of the client.
	// +kubebuilder:default={}
	// +optional
	APIKey ClientAPIKey `json:"apiKey,omitzero"`
	// certificate is about the certificates of the client.
	// +kubebuilder:default={}
	// +optional
	Certificate ClientCertificate `json:"certificate,omitzero"`
	// rotation says when API keys are replaced, and for how long their predecessors are still accepted. Without it, a key
	// is replaced in time before it is 90 days old.
	// +kubebuilder:default={}
	// +optional
	Rotation *KeyRotation `json:"rotation,omitempty"`
	// revokedKeys are the ids of keys that are refused at once, wherever they are in their life: mcpk_<id>_…. The client
	// gets a new key in place of one that it has. An id may be taken off the list once no key in the status has it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=16
	// +kubebuilder:validation:items:Pattern=`^[a-z2-7]{16}$`
	// +listType=set
	// +optional
	RevokedKeys []string `json:"revokedKeys,omitempty"`
}

// ServerRef names an MCPServer.
type ServerRef struct {
	// namespace of the MCPServer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Namespace string `json:"namespace,omitempty"`
	// name of the MCPServer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name,omitempty"`
}

// MCPClientStatus is what the client has.
type MCPClientStatus struct {
	// observedGeneration is the generation of the spec that this status is about; -1 until the operator has seen the object.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, which sums up, CredentialsIssued, which says whether keys and certificates are there, and
	// RotationSucceeded, which says whether keys are replaced as they should be.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// credentials are the keys and certificates, one entry for each namespace of servers.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=namespace
	// +optional
	Credentials []ClientCredential `json:"credentials,omitempty"`
	// servers are the servers of the spec, and whether each grants the client anything.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=name
	// +optional
	Servers []ClientServerStatus `json:"servers,omitempty"`
}

// ClientServerState says whether a server grants a client anything.
// +kubebuilder:validation:Enum=Granted;NotGranted;NotFound
type ClientServerState string

// The states of a server for a client.
const (
	// ServerGranted: a policy beside the server names this client.
	ServerGranted ClientServerState = "Granted"
	// ServerNotGranted: the server exists, but no policy beside it names this client.
	ServerNotGranted ClientServerState = "NotGranted"
	// ServerNotFound: there is no such server.
	ServerNotFound ClientServerState = "NotFound"
)

// ClientServerStatus is one server of the spec.
type ClientServerStatus struct {
	// namespace of the MCPServer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace,omitempty"`
	// name of the MCPServer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name,omitempty"`
	// state says whether the server grants this client anything.
	// +required
	State ClientServerState `json:"state,omitempty"`
	// url of the server.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	URL string `json:"url,omitempty"`
}

// ClientCredential is what a client has for the servers of one namespace.
type ClientCredential struct {
	// namespace of the servers.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace,omitempty"`
	// secretName is the Secret, in the client's namespace, with api-key, ca.crt (the servers' authority), namespace and
	// mcp.json (a client configuration). A client without keys has all but api-key.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretName string `json:"secretName,omitempty"`
	// certificateSecretName is the Secret, in the client's namespace, with tls.crt and tls.key: the client certificate.
	// Absent for a client without certificates.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	CertificateSecretName string `json:"certificateSecretName,omitempty"`
	// keys are the API keys by id.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=id
	// +optional
	Keys []ClientKey `json:"keys,omitempty"`
	// nextRotation is when the next key will be made; absent while one is on its way, or waits.
	// +optional
	NextRotation *metav1.Time `json:"nextRotation,omitempty"`
	// ungrantedSince is since when no server of the namespace grants the client anything. The Secrets are kept for ten minutes,
	// so that a grant that comes back finds the same key; no gate accepts it meanwhile. Absent while there is a grant.
	// +optional
	UngrantedSince *metav1.Time `json:"ungrantedSince,omitempty"`
}

// KeyState is where an API key is in its life.
// +kubebuilder:validation:Enum=Pending;Distributed;Current;Draining;Retired;Revoked
type KeyState string

// The states of an API key, in the order of a rotation; Revoked can follow any other.
const (
	// KeyPending: generated; its hash is on its way to the gates.
	KeyPending KeyState = "Pending"
	// KeyDistributed: every ready gate accepts it.
	KeyDistributed KeyState = "Distributed"
	// KeyCurrent: the client's Secret holds it.
	KeyCurrent KeyState = "Current"
	// KeyDraining: replaced, and still accepted for the overlap, and while it is in use.
	KeyDraining KeyState = "Draining"
	// KeyRetired: accepted nowhere.
	KeyRetired KeyState = "Retired"
	// KeyRevoked: refused at once, before its time.
	KeyRevoked KeyState = "Revoked"
)

// ClientKey is one API key. The key itself is only in the client's Secret.
type ClientKey struct {
	// id is the public part of the key: mcpk_<id>_….
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +required
	ID string `json:"id,omitempty"`
	// sha256 is the hash of the key, which is what gates compare with. A key has 256 random bits: it cannot be guessed from
	// its hash.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	SHA256 string `json:"sha256,omitempty"`
	// state of the key.
	// +required
	State KeyState `json:"state,omitempty"`
	// issuedAt is when the key was made.
	// +required
	IssuedAt metav1.Time `json:"issuedAt,omitzero"`
	// notAfter is when gates stop accepting the key.
	// +required
	NotAfter metav1.Time `json:"notAfter,omitzero"`
	// activatedAt is when the client's Secret was seen to hold the key; absent before.
	// +optional
	ActivatedAt *metav1.Time `json:"activatedAt,omitempty"`
	// replacedAt is when the client's Secret was seen to hold the key's successor; absent before. The overlap begins then.
	// +optional
	ReplacedAt *metav1.Time `json:"replacedAt,omitempty"`
	// lastUsed is the hour in which a gate is known to have accepted the key last. The gates are asked once an hour and
	// when their pods end; one that is killed forgets. Absent while no use is known.
	// +optional
	LastUsed *metav1.Time `json:"lastUsed,omitempty"`
}

// MCPClientList is a list of MCPClients.
// +kubebuilder:object:root=true
type MCPClientList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the clients.
	Items []MCPClient `json:"items"`
}

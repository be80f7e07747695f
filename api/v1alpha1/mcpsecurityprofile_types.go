package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MCPSecurityProfile is the organisation's floor for the namespaces that it selects: what MCPServers and MCPClients there must
// at least have. Where several select a namespace, every one must be met, so that the strictest wins. What is below is refused
// at admission, and what exists already is Stalled, never changed.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mcpsp,categories=mcp
// +kubebuilder:printcolumn:name="Enforcement",type=string,JSONPath=`.spec.enforcement`
// +kubebuilder:printcolumn:name="Namespaces",type=integer,JSONPath=`.status.namespaces`
// +kubebuilder:printcolumn:name="Servers",type=integer,JSONPath=`.status.servers`
// +kubebuilder:printcolumn:name="Clients",type=integer,JSONPath=`.status.clients`
// +kubebuilder:printcolumn:name="Below",type=integer,JSONPath=`.status.below`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type MCPSecurityProfile struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is the floor.
	// +required
	Spec MCPSecurityProfileSpec `json:"spec,omitzero"`
	// status is what is below it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status MCPSecurityProfileStatus `json:"status,omitzero"`
}

// ProfileEnforcement says what becomes of what is below a profile.
// +kubebuilder:validation:Enum=Enforce;DryRun
type ProfileEnforcement string

// The ways to enforce a profile.
const (
	// ProfileEnforce: it is refused at admission, and Stalled where it exists.
	ProfileEnforce ProfileEnforcement = "Enforce"
	// ProfileDryRun: it is only listed in the status of the profile.
	ProfileDryRun ProfileEnforcement = "DryRun"
)

// Permission says whether something is allowed.
// +kubebuilder:validation:Enum=Allowed;Denied
type Permission string

// The permissions.
const (
	PermissionAllowed Permission = "Allowed"
	PermissionDenied  Permission = "Denied"
)

// MCPSecurityProfileSpec is the floor. What it does not mention, it leaves open, but for two things: images are by digest, and
// cluster-scoped stores and issuers are only those that it lists.
type MCPSecurityProfileSpec struct {
	// namespaceSelector selects the namespaces by their labels; {} selects all.
	// +required
	NamespaceSelector *NamespaceSelector `json:"namespaceSelector,omitempty"`
	// enforcement DryRun refuses nothing: the status lists what the profile would break.
	// +kubebuilder:default=Enforce
	// +optional
	Enforcement ProfileEnforcement `json:"enforcement,omitempty"`
	// authentication is the floor of spec.authentication of servers, and of clients' keys.
	// +optional
	Authentication *ProfileAuthentication `json:"authentication,omitempty"`
	// images is the floor of spec.image, and of what others report about the image that runs.
	// +optional
	Images *ProfileImages `json:"images,omitempty"`
	// tools is the floor of spec.tools.
	// +optional
	Tools *ProfileTools `json:"tools,omitempty"`
	// kubernetesAccess is the floor of spec.kubernetesAccess.
	// +optional
	KubernetesAccess *ProfileKubernetesAccess `json:"kubernetesAccess,omitempty"`
	// network is the floor of spec.network.
	// +optional
	Network *ProfileNetwork `json:"network,omitempty"`
	// clusterScoped lists the cluster-scoped stores and issuers that servers and clients may name. Without a profile they may name
	// none.
	// +optional
	ClusterScoped *ProfileClusterScoped `json:"clusterScoped,omitempty"`
	// exemptions take controls out of the posture of all servers of the namespaces, until a day, with somebody who answers for it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=control
	// +optional
	Exemptions []Exemption `json:"exemptions,omitempty"`
	// attestations vouch for what no API of the cluster shows.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +listType=map
	// +listMapKey=control
	// +optional
	Attestations []Attestation `json:"attestations,omitempty"`
	// protection keeps people of the namespaces from the servers' children and pods.
	// +optional
	Protection *Protection `json:"protection,omitempty"`
}

// NamespaceSelector selects namespaces by their labels, as a label selector does.
type NamespaceSelector struct {
	// matchLabels are labels that a namespace must have.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	// matchExpressions are conditions on labels, which must all be met.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	MatchExpressions []NamespaceRequirement `json:"matchExpressions,omitempty"`
}

// NamespaceOperator relates a label of a namespace to values.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type NamespaceOperator string

// The operators.
const (
	NamespaceIn           NamespaceOperator = "In"
	NamespaceNotIn        NamespaceOperator = "NotIn"
	NamespaceExists       NamespaceOperator = "Exists"
	NamespaceDoesNotExist NamespaceOperator = "DoesNotExist"
)

// NamespaceRequirement is a condition on one label of a namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.values) == (self.operator in ['In', 'NotIn'])",message="values are for operator In and NotIn, which need them"
type NamespaceRequirement struct {
	// key of the label.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +required
	Key string `json:"key,omitempty"`
	// operator relates the label to the values. NotIn and DoesNotExist are met by a namespace without the label, too.
	// +required
	Operator NamespaceOperator `json:"operator,omitempty"`
	// values of the label.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Values []string `json:"values,omitempty"`
}

// ProfileAuthentication is the floor of how callers show who they are.
type ProfileAuthentication struct {
	// clientCertificates is the least that spec.authentication.clientCertificates.mode of a server must be: Required for mutual
	// TLS. TLS is 1.3 everywhere, whatever a profile says.
	// +kubebuilder:validation:XValidation:rule="self != 'Disabled'",message="authentication.clientCertificates must be Required or Optional; leave it out to ask for nothing"
	// +optional
	ClientCertificates ClientCertificateMode `json:"clientCertificates,omitempty"`
	// maximumKeyAge is the most that spec.rotation.maximumAge of a client may be.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('10m') && duration(self) <= duration('8760h')",message="authentication.maximumKeyAge must be between 10m and 8760h, in h, m and s"
	// +optional
	MaximumKeyAge string `json:"maximumKeyAge,omitempty"`
	// tokenIssuers are the only issuers of tokens that a server may name with type OIDC.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=issuer
	// +optional
	TokenIssuers []AllowedTokenIssuer `json:"tokenIssuers,omitempty"`
	// serviceAccountTokens Denied allows no tokens of type Kubernetes.
	// +optional
	ServiceAccountTokens Permission `json:"serviceAccountTokens,omitempty"`
}

// AllowedTokenIssuer is an issuer of tokens that servers may name.
type AllowedTokenIssuer struct {
	// issuer is the exact oidc.issuer of a server.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Issuer string `json:"issuer,omitempty"`
	// jwksURI is the exact oidc.jwksURI of a server. Without it a server must have none: who names the keys of an issuer speaks
	// for it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	JWKSURI string `json:"jwksURI,omitempty"`
}

// ProfileTools is the floor of what servers offer.
//
// +kubebuilder:validation:MinProperties=1
type ProfileTools struct {
	// forbidden are the names of tools that nobody may call or see on any server of the namespaces, written as those of
	// spec.tools.forbidden of a server and in force beside them: the gates obey both.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Forbidden []string `json:"forbidden,omitempty"`
	// pinning is the least that spec.tools.pinning of a server must be.
	// +kubebuilder:validation:XValidation:rule="self != 'Off'",message="tools.pinning must be Audit or Enforce; leave it out to ask for nothing"
	// +optional
	Pinning PinningMode `json:"pinning,omitempty"`
}

// ProfileKubernetesAccess is the floor of the servers' rights at the Kubernetes API.
//
// +kubebuilder:validation:MinProperties=1
type ProfileKubernetesAccess struct {
	// forbidden are rights that no rule of a server may have any part of.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Forbidden []ForbiddenRights `json:"forbidden,omitempty"`
	// ownServiceAccounts Denied allows no spec.kubernetesAccess.serviceAccountName: what is bound to such an account, no
	// admission shows.
	// +optional
	OwnServiceAccounts Permission `json:"ownServiceAccounts,omitempty"`
}

// ForbiddenRights are verbs on resources. "*" stands for all; a rule of a server with "*" is within every entry.
type ForbiddenRights struct {
	// apiGroups of the resources; "" is that of Kubernetes' core.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +required
	APIGroups []string `json:"apiGroups,omitempty"`
	// resources are those that are meant, such as secrets or pods/exec.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +required
	Resources []string `json:"resources,omitempty"`
	// verbs are those that are meant, such as get or escalate.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +required
	Verbs []string `json:"verbs,omitempty"`
}

// ProfileNetwork is the floor of the servers' network.
type ProfileNetwork struct {
	// internet Denied allows neither spec.network.internet Allowed, nor ranges of addresses in spec.network.egress that are larger
	// than a /8.
	// +required
	Internet InternetAccess `json:"internet,omitempty"`
}

// ProfileClusterScoped lists what is of the cluster and may be named in the namespaces.
//
// +kubebuilder:validation:MinProperties=1
type ProfileClusterScoped struct {
	// stores are names of ClusterSecretStores.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	Stores []string `json:"stores,omitempty"`
	// issuers are cluster-scoped issuers of serving certificates.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=group
	// +listMapKey=kind
	// +listMapKey=name
	// +optional
	Issuers []ClusterIssuerRef `json:"issuers,omitempty"`
}

// ClusterIssuerRef names a cluster-scoped issuer.
type ClusterIssuerRef struct {
	// group of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:default=cert-manager.io
	// +optional
	Group string `json:"group,omitempty"`
	// kind of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:default=ClusterIssuer
	// +optional
	Kind string `json:"kind,omitempty"`
	// name of the issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
}

// AttestedControl is a control for which somebody has to vouch.
// +kubebuilder:validation:Enum=ENC-8;ENC-9
type AttestedControl string

// The controls that are attested.
const (
	// AttestedSecrets: Secrets are encrypted at rest.
	AttestedSecrets AttestedControl = "ENC-8"
	// AttestedVolumes: volumes that hold data are encrypted.
	AttestedVolumes AttestedControl = "ENC-9"
)

// Attestation vouches for a control that no API shows.
type Attestation struct {
	// control is ENC-8, Secrets are encrypted at rest, or ENC-9, volumes that hold data are encrypted.
	// +required
	Control AttestedControl `json:"control,omitempty"`
	// owner answers for it: a team or an address.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Owner string `json:"owner,omitempty"`
	// evidence says what shows it: a document, a setting, a ticket.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Evidence string `json:"evidence,omitempty"`
	// notAfter is when the control is unknown again.
	// +required
	NotAfter metav1.Time `json:"notAfter,omitzero"`
}

// ChildrenMode says who writes the objects that the operator makes.
// +kubebuilder:validation:Enum=Anybody;OperatorOnly
type ChildrenMode string

// Who writes children.
const (
	ChildrenAnybody      ChildrenMode = "Anybody"
	ChildrenOperatorOnly ChildrenMode = "OperatorOnly"
)

// Protection keeps people of the namespaces from the servers' children and pods. Deletions pass always. The operator,
// cert-manager, external-secrets, Kubernetes' own controllers and kubelets may do all of it that they have to.
//
// +kubebuilder:validation:MinProperties=1
type Protection struct {
	// children OperatorOnly lets nobody else make or change the objects that the operator makes, or make others that look like them.
	// +optional
	Children ChildrenMode `json:"children,omitempty"`
	// certificateRequests OperatorOnly lets nobody else ask the operator's private authorities for a certificate: who can is any
	// client of the namespace.
	// +optional
	CertificateRequests ChildrenMode `json:"certificateRequests,omitempty"`
	// podAccess Denied refuses exec, attach, port-forward and ephemeral containers. Of the first three admission sees a pod's name and
	// not what it is, so it is about every pod of the namespaces.
	// +optional
	PodAccess Permission `json:"podAccess,omitempty"`
	// barePods Denied refuses pods that no controller made, and pods that pass for a server's.
	// +optional
	BarePods Permission `json:"barePods,omitempty"`
	// detours Denied refuses Services and NetworkPolicies that select the servers' pods, and addresses of Services that are written
	// by hand.
	// +optional
	Detours Permission `json:"detours,omitempty"`
	// trustedUsers are names of users and ServiceAccounts to whom nothing of this applies, such as
	// system:serviceaccount:kube-system:backup.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	TrustedUsers []string `json:"trustedUsers,omitempty"`
	// trustedGroups are groups to whose members nothing of this applies, such as those who mend things at night.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	TrustedGroups []string `json:"trustedGroups,omitempty"`
}

// MCPSecurityProfileStatus is what is below the profile. An operator that looks after named namespaces only does not write it.
type MCPSecurityProfileStatus struct {
	// observedGeneration is the generation of the spec that this status is about; -1 until the operator has seen the object.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, which says whether the profile is in force.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// namespaces is the number of namespaces that the profile selects.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Namespaces *int32 `json:"namespaces,omitempty"`
	// servers is the number of MCPServers there.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Servers *int32 `json:"servers,omitempty"`
	// clients is the number of MCPClients there.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Clients *int32 `json:"clients,omitempty"`
	// below is the number of MCPServers and MCPClients that are below the profile.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Below *int32 `json:"below,omitempty"`
	// violations are those of up to 32 of them, in the order of their names: with DryRun what the profile would break.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Violations []ProfileViolation `json:"violations,omitempty"`
}

// ProfileViolation is an object that is below a profile.
type ProfileViolation struct {
	// kind of the object.
	// +kubebuilder:validation:Enum=MCPServer;MCPClient
	// +required
	Kind string `json:"kind,omitempty"`
	// namespace of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace,omitempty"`
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
	// fields are those that are below.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=atomic
	// +required
	Fields []string `json:"fields,omitempty"`
}

// MCPSecurityProfileList is a list of MCPSecurityProfiles.
// +kubebuilder:object:root=true
type MCPSecurityProfileList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the profiles.
	Items []MCPSecurityProfile `json:"items"`
}

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MCPServer runs one MCP server behind a gate that authenticates every client, allows only what an MCPAccessPolicy
// names, and is the only way to the server. It becomes a Deployment with the gate as a sidecar, a Service, certificates,
// network policies, a ServiceAccount and, where asked for, ExternalSecrets and a Role.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mcps,categories=mcp
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Replicas",type=string,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Class",type=string,JSONPath=`.spec.classification.level`
// +kubebuilder:printcolumn:name="Posture",type=integer,JSONPath=`.status.posture.score`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.classification.owner`,priority=1
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.status.image`,priority=1
// +kubebuilder:printcolumn:name="Verified",type=string,JSONPath=`.status.conditions[?(@.type=="Verified")].status`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS label that starts with a letter, because a Service has this name: lower-case letters, digits and '-'"
type MCPServer struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what runs and the posture that it must have.
	// +required
	Spec MCPServerSpec `json:"spec,omitzero"`
	// status is what is, as the operator last saw it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status MCPServerStatus `json:"status,omitzero"`
}

// MCPServerSpec is what runs and the posture that it must have.
//
// +kubebuilder:validation:XValidation:rule="self.transport.type != 'Stdio' || has(self.command)",message="command must be set with transport.type Stdio: it is what the gate's helper in the server's container starts"
type MCPServerSpec struct {
	// image is the server's container image, by digest: registry/name@sha256:… . A tag may stand before the digest.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Image string `json:"image,omitempty"`
	// command replaces the image's entrypoint. With transport.type Stdio it is required: it is what a child process runs.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=4096
	// +listType=atomic
	// +optional
	Command []string `json:"command,omitempty"`
	// args are the arguments of the entrypoint. Have the server listen on 127.0.0.1: the gate reaches it there, and nobody
	// else should.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=4096
	// +listType=atomic
	// +optional
	Args []string `json:"args,omitempty"`
	// env are environment variables of the server. Credentials belong into spec.secrets.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +listType=map
	// +listMapKey=name
	// +optional
	Env []EnvVar `json:"env,omitempty"`
	// resources are the compute resources of the server's container. Without limits it may use 1 CPU and 512Mi.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// replicas is the number of pods. Leave it out where an autoscaler sets it through the scale subresource: then it starts at
	// 1, and applying the manifest again does not set it back.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +kubebuilder:default=1
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// suspend stops all pods while it is true. Keys, certificates and policies are kept and go on being renewed.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`
	// pod adjusts the pods: scheduling, volumes, metadata, identity.
	// +optional
	Pod *PodSettings `json:"pod,omitempty"`
	// transport is how the gate talks to the server.
	// +required
	Transport Transport `json:"transport,omitzero"`
	// endpoint is how clients address the server, where that differs from its Service.
	// +optional
	Endpoint *Endpoint `json:"endpoint,omitempty"`
	// classification names what the server gives access to, and who answers for it.
	// +optional
	Classification *Classification `json:"classification,omitempty"`
	// authentication says which credentials clients must show.
	// +kubebuilder:default={}
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
	// tls is about the serving certificate.
	// +kubebuilder:default={}
	// +optional
	TLS *TLS `json:"tls,omitempty"`
	// secrets are groups of secrets that external-secrets brings from a secret manager.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Secrets []SecretGroup `json:"secrets,omitempty"`
	// network opens the pods' default-deny network policy where it is needed.
	// +optional
	Network *Network `json:"network,omitempty"`
	// kubernetesAccess gives the server an identity at the Kubernetes API. Without it the pods have no token at all.
	// +optional
	KubernetesAccess *KubernetesAccess `json:"kubernetesAccess,omitempty"`
	// limits bound each request.
	// +kubebuilder:default={}
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// tools limits the server's tools, whatever the policies say.
	// +optional
	Tools *Tools `json:"tools,omitempty"`
	// audit says what the gates' audit logs have of the arguments of calls.
	// +optional
	Audit *Audit `json:"audit,omitempty"`
	// tracing has the gates' spans join the traces of their callers.
	// +optional
	Tracing *Tracing `json:"tracing,omitempty"`
	// verification says how the operator attacks the server to show that its controls hold.
	// +optional
	Verification *Verification `json:"verification,omitempty"`
}

// EnvVar is one environment variable, with exactly one source.
//
// +kubebuilder:validation:XValidation:rule="[has(self.value), has(self.configMapKeyRef), has(self.fieldPath)].filter(x, x).size() == 1",message="set exactly one of value, configMapKeyRef and fieldPath; a credential belongs into spec.secrets"
type EnvVar struct {
	// name of the variable.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_.-]*$`
	// +required
	Name string `json:"name,omitempty"`
	// value is the literal value; "" sets an empty one.
	// +kubebuilder:validation:MinLength=0
	// +kubebuilder:validation:MaxLength=32768
	// +optional
	Value *string `json:"value,omitempty"`
	// configMapKeyRef takes the value from a ConfigMap.
	// +optional
	ConfigMapKeyRef *ConfigMapKeyRef `json:"configMapKeyRef,omitempty"`
	// fieldPath takes the value from a field of the pod, such as metadata.namespace or status.podIP.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs))$`
	// +optional
	FieldPath string `json:"fieldPath,omitempty"`
}

// ConfigMapKeyRef names a key of a ConfigMap in the server's namespace.
type ConfigMapKeyRef struct {
	// name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
	// key in the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Key string `json:"key,omitempty"`
}

// Endpoint is how clients address the server, where that differs from its Service.
type Endpoint struct {
	// url that clients are told to use. Its host is accepted and put into the certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() == 'https' && url(self).getHostname() != '' && !self.matches('[@?#]')",message="endpoint.url must be an https URL with a host, and without user, query and fragment"
	// +optional
	URL string `json:"url,omitempty"`
	// hosts are further Host headers to accept, with a port where clients send one. They are put into the certificate.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=260
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[0-9]{1,5})?$`
	// +listType=set
	// +optional
	Hosts []string `json:"hosts,omitempty"`
	// origins are the Origin headers of browser-based clients to accept. Every other Origin is refused.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=260
	// +kubebuilder:validation:items:Pattern=`^https?://[a-z0-9.-]+(:[0-9]{1,5})?$`
	// +listType=set
	// +optional
	Origins []string `json:"origins,omitempty"`
}

// ClassificationLevel is how sensitive the data behind a server is.
// +kubebuilder:validation:Enum=Public;Internal;Confidential;Restricted
type ClassificationLevel string

// Classification names what a server gives access to, and who answers for it.
type Classification struct {
	// level is how sensitive the data behind the server is.
	// +required
	Level ClassificationLevel `json:"level,omitempty"`
	// categories name the kinds of data, such as UserData or APIKeys.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Categories []string `json:"categories,omitempty"`
	// owner answers for the server: a team or an address.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Owner string `json:"owner,omitempty"`
}

// KubernetesAccess gives the server an identity at the Kubernetes API.
//
// +kubebuilder:validation:XValidation:rule="has(self.rules) != has(self.serviceAccountName)",message="set exactly one of rules and serviceAccountName"
type KubernetesAccess struct {
	// rules of the Role that the operator makes in the server's namespace. They must be within the operator's grantable
	// rules; for more, bind a ServiceAccount of your own and name it in serviceAccountName.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(r, size(r.verbs) > 0 && has(r.apiGroups) && size(r.apiGroups) > 0 && has(r.resources) && size(r.resources) > 0 && !has(r.nonResourceURLs))",message="each rule needs verbs, apiGroups and resources, and no nonResourceURLs: a Role cannot grant those"
	// +optional
	Rules []rbacv1.PolicyRule `json:"rules,omitempty"`
	// serviceAccountName is a ServiceAccount of yours in the server's namespace. It must consent, with the annotation
	// bartizan.dev/mcpserver: <name of this MCPServer>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// Limits bound each request.
type Limits struct {
	// requestBytes is the largest request body, as a quantity: 1Ki to 64Mi.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && quantity(self).compareTo(quantity('1Ki')) >= 0 && quantity(self).compareTo(quantity('64Mi')) <= 0",message="limits.requestBytes must be a quantity between 1Ki and 64Mi"
	// +kubebuilder:default="4Mi"
	// +optional
	RequestBytes string `json:"requestBytes,omitempty"`
	// depth is the deepest nesting of JSON in a request.
	// +kubebuilder:validation:Minimum=8
	// +kubebuilder:validation:Maximum=1000
	// +kubebuilder:default=64
	// +optional
	Depth int32 `json:"depth,omitempty"`
	// answerWithin is how long the server may take for the whole answer to one request, from when it has the request. Then it
	// is told to stop, and the caller gets 504, or an error as the last event of a stream that has begun. Every try counts by
	// itself, one that brings what the server asked for, too. Streams that answer no call stand for longer: those of GET, and
	// subscriptions/listen.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="limits.answerWithin must be between 1s and 24h, in h, m and s"
	// +kubebuilder:default="1h"
	// +optional
	AnswerWithin string `json:"answerWithin,omitempty"`
	// perClient bounds how often each client, or each subject of a token, may ask each replica. Beyond it the answer is 429.
	// +optional
	PerClient *ClientRate `json:"perClient,omitempty"`
	// perTool bounds how often each client, or each subject of a token, may call each tool (tools/call) of each replica. Calls
	// that are not allowed do not count. Beyond it the answer is 429. A rate for some clients or tools only is that of a rule
	// of an MCPAccessPolicy.
	// +optional
	PerTool *ClientRate `json:"perTool,omitempty"`
}

// ClientRate bounds how often something may be asked for: a token bucket.
type ClientRate struct {
	// rps is how many requests a second are allowed in the long run.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +required
	RPS int32 `json:"rps,omitempty"`
	// burst is how many requests are allowed at once; as many as rps where it is absent.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Burst int32 `json:"burst,omitempty"`
}

// MCPServerStatus is what is, as the operator last saw it.
type MCPServerStatus struct {
	// observedGeneration is the generation of the spec that this status is about; -1 until the operator has seen the object.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, which sums up, and what it is made of: CertificatesReady, SecretsReady, WorkloadReady,
	// ConfigurationInForce and Isolated. Reconciling and Stalled are there while they are true. Verified, which Ready does not
	// need, says whether the last attacks on the server failed.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// url is where clients reach the server.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	URL string `json:"url,omitempty"`
	// caBundle names the ConfigMap key that vouches for the serving certificate, for clients that need it.
	// +optional
	CABundle *CABundleRef `json:"caBundle,omitempty"`
	// image is the server's image that was last rolled out.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Image string `json:"image,omitempty"`
	// gate is the state of the gates.
	// +optional
	Gate *GateStatus `json:"gate,omitempty"`
	// posture sums up the security controls of the server.
	// +optional
	Posture *PostureStatus `json:"posture,omitempty"`
	// tools sums up what the server offers.
	// +optional
	Tools *ToolsStatus `json:"tools,omitempty"`
	// clients is the number of MCPClients that may reach the server.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Clients *int32 `json:"clients,omitempty"`
	// replicas is the number of pods.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// readyReplicas is the number of ready pods.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ReadyReplicas *int32 `json:"readyReplicas,omitempty"`
	// selector selects the pods, for autoscalers.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Selector string `json:"selector,omitempty"`
}

// CABundleRef names a key of a ConfigMap in the server's namespace.
type CABundleRef struct {
	// configMapName is the name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	ConfigMapName string `json:"configMapName,omitempty"`
	// key in the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Key string `json:"key,omitempty"`
}

// GateStatus is the state of the gates of one server.
type GateStatus struct {
	// image is the gate's image.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Image string `json:"image,omitempty"`
	// generation is the configuration that the gates should run.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Generation string `json:"generation,omitempty"`
	// acknowledged is the number of ready gates that report this configuration in force.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Acknowledged *int32 `json:"acknowledged,omitempty"`
	// certificateNotAfter is when the serving certificate ends.
	// +optional
	CertificateNotAfter *metav1.Time `json:"certificateNotAfter,omitempty"`
}

// MCPServerList is a list of MCPServers.
// +kubebuilder:object:root=true
type MCPServerList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the servers.
	Items []MCPServer `json:"items"`
}

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MCPAccessPolicy allows clients to use tools, prompts, resources and methods of the MCPServers in its namespace. It only
// ever allows: what no policy names is denied.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mcpap,categories=mcp
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Servers",type=integer,JSONPath=`.status.matchedServers`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
type MCPAccessPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is who may do what.
	// +required
	Spec MCPAccessPolicySpec `json:"spec,omitzero"`
	// status is what became of it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status MCPAccessPolicyStatus `json:"status,omitzero"`
}

// MCPAccessPolicySpec is who may do what on which servers.
type MCPAccessPolicySpec struct {
	// servers are the MCPServers of this namespace that the policy is about.
	// +required
	Servers ServerSelection `json:"servers,omitzero"`
	// rules allow. A request passes when any rule of any policy allows it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Rules []AccessRule `json:"rules,omitempty"`
}

// ServerSelection selects MCPServers of the policy's namespace, by name or by label.
//
// +kubebuilder:validation:XValidation:rule="has(self.names) != has(self.selector)",message="set exactly one of names and selector"
type ServerSelection struct {
	// names of MCPServers.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Names []string `json:"names,omitempty"`
	// selector selects MCPServers by label; {} selects all in the namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// AccessRule allows its subjects what it names.
//
// +kubebuilder:validation:XValidation:rule="!has(self.expression) || !has(self.methods)",message="expression is about calls of tools, prompts and resources: put methods into a rule of their own"
// +kubebuilder:validation:XValidation:rule="!has(self.actors) || self.subjects.all(s, s.type != 'MCPClient')",message="actors act for the holders of tokens: write a rule of its own for subjects of type MCPClient"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || self.subjects.all(s, s.type == 'Claims')",message="scopes need subjects of type Claims: only their tokens have scopes"
// +kubebuilder:validation:XValidation:rule="!has(self.expression) || !has(self.serverRequests)",message="expression is about calls of tools, prompts and resources: put serverRequests into a rule of their own"
// +kubebuilder:validation:XValidation:rule="has(self.elicitationHosts) == (has(self.serverRequests) && 'ElicitationURL' in self.serverRequests)",message="elicitationHosts and ElicitationURL in serverRequests need each other: name the hosts that a user may be sent to"
// +kubebuilder:validation:XValidation:rule="has(self.tools) || has(self.prompts) || has(self.resources) || has(self.methods) || has(self.serverRequests)",message="name at least one of tools, prompts, resources, methods and serverRequests"
type AccessRule struct {
	// subjects are who may.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Subjects []Subject `json:"subjects,omitempty"`
	// actors are MCPClients one of which must show its certificate beside the token: a rule with actors allows what the
	// subjects may do through them. Without actors the subjects may act by themselves, or through anybody.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Actors []MCPClientSubject `json:"actors,omitempty"`
	// scopes are those that the token must have for what the rule allows. Who lacks one is told which to ask for.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[#-\[\]-~]+$`
	// +kubebuilder:validation:XValidation:rule="!('offline_access' in self)",message="rules.scopes must not have offline_access: it is for a client and its issuer"
	// +listType=set
	// +optional
	Scopes []string `json:"scopes,omitempty"`
	// tools are the names of tools. * stands for any characters but /, ** for any.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Tools []string `json:"tools,omitempty"`
	// prompts are the names of prompts, with * and ** as for tools.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +optional
	Prompts []string `json:"prompts,omitempty"`
	// resources are the URIs of resources, with * and ** as for tools: file:///docs/** .
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=set
	// +optional
	Resources []string `json:"resources,omitempty"`
	// methods are further MCP methods that have no target of their own, such as logging/setLevel. The lists, ping and
	// the handshake come with any rule.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=set
	// +optional
	Methods []string `json:"methods,omitempty"`
	// serverRequests are what the servers may ask of the subjects, whatever they were called for: of their users, by a form
	// (ElicitationForm) or on a web page (ElicitationURL), of their language models (Sampling), and for the folders that they
	// have open (Roots). What is not named here never reaches them: the server is told that the client does not do it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +listType=set
	// +optional
	ServerRequests []ServerRequest `json:"serverRequests,omitempty"`
	// elicitationHosts are the hosts of the web pages of ElicitationURL, with their port where it is not 443: login.example.com,
	// *.example.com for what is one label longer, login.example.com:8443. Pages are https and nothing else.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=259
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?$`
	// +listType=set
	// +optional
	ElicitationHosts []string `json:"elicitationHosts,omitempty"`
	// expression is a further condition on each call, in CEL: true or false. It knows arguments, the call's arguments as a map,
	// and name, that of the tool or prompt or the URI of the resource: arguments.namespace == "demo" && arguments.limit <= 100.
	// A call for which it fails, because an argument is missing for example, is not allowed by the rule; nor is one with numbers
	// beyond 2^53, with arguments called __proto__, constructor or prototype, or with names that differ from each other, or from
	// one in the expression, only in case, hyphens and underscores.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Expression string `json:"expression,omitempty"`
	// rate bounds how often each subject may use the rule at each replica. Beyond it another rule may allow the call; else the
	// answer is 429.
	// +optional
	Rate *RuleRate `json:"rate,omitempty"`
	// notAfter ends the rule by itself.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// ServerRequest is a kind of request that a server sends to its client.
// +kubebuilder:validation:Enum=ElicitationForm;ElicitationURL;Sampling;Roots
type ServerRequest string

// The kinds of requests of servers.
const (
	// ServerRequestElicitationForm asks the user to fill in a form.
	ServerRequestElicitationForm ServerRequest = "ElicitationForm"
	// ServerRequestElicitationURL asks the user to open a web page.
	ServerRequestElicitationURL ServerRequest = "ElicitationURL"
	// ServerRequestSampling asks for a completion by the client's language model.
	ServerRequestSampling ServerRequest = "Sampling"
	// ServerRequestRoots asks which folders the client has open.
	ServerRequestRoots ServerRequest = "Roots"
)

// RuleRate bounds how often a rule may be used: a token bucket.
type RuleRate struct {
	// requests is how many requests are allowed at once, and come back in the time of per.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +required
	Requests int32 `json:"requests,omitempty"`
	// per is the time in which all requests come back.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="rate.per must be between 1s and 24h, in h, m and s"
	// +kubebuilder:default="1m"
	// +optional
	Per string `json:"per,omitempty"`
}

// SubjectType is a kind of subject.
// +kubebuilder:validation:Enum=MCPClient;ServiceAccount;Claims
type SubjectType string

// The kinds of subjects.
const (
	// SubjectMCPClient is an MCPClient.
	SubjectMCPClient SubjectType = "MCPClient"
	// SubjectServiceAccount is a ServiceAccount of this cluster.
	SubjectServiceAccount SubjectType = "ServiceAccount"
	// SubjectClaims is the holders of tokens that carry certain claims.
	SubjectClaims SubjectType = "Claims"
)

// Subject is who a rule is for.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'MCPClient' ? has(self.mcpClient) : !has(self.mcpClient)",message="mcpClient is required when type is MCPClient, and forbidden otherwise"
// +kubebuilder:validation:XValidation:rule="self.type == 'ServiceAccount' ? has(self.serviceAccount) : !has(self.serviceAccount)",message="serviceAccount is required when type is ServiceAccount, and forbidden otherwise"
// +kubebuilder:validation:XValidation:rule="self.type == 'Claims' ? has(self.claims) : !has(self.claims)",message="claims is required when type is Claims, and forbidden otherwise"
// +union
type Subject struct {
	// type of the subject.
	// +unionDiscriminator
	// +required
	Type SubjectType `json:"type,omitempty"`
	// mcpClient is the client.
	// +optional
	MCPClient *MCPClientSubject `json:"mcpClient,omitempty"`
	// serviceAccount is the ServiceAccount, which shows a token of the server's issuer of type Kubernetes.
	// +optional
	ServiceAccount *ServiceAccountSubject `json:"serviceAccount,omitempty"`
	// claims are those of a token of one of the server's issuers.
	// +optional
	Claims *ClaimsSubject `json:"claims,omitempty"`
}

// ServiceAccountSubject names a ServiceAccount.
type ServiceAccountSubject struct {
	// namespace of the ServiceAccount.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace,omitempty"`
	// name of the ServiceAccount.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`
}

// ClaimsSubject is the holders of tokens of one issuer that carry certain claims.
type ClaimsSubject struct {
	// issuer is the name of a token issuer in the MCPServer's authentication.tokens.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Issuer string `json:"issuer,omitempty"`
	// match are conditions, all of which the token must meet. [sub] is the path of the one holder.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +required
	Match []ClaimCondition `json:"match,omitempty"`
}

// MCPClientSubject names an MCPClient.
type MCPClientSubject struct {
	// namespace of the MCPClient.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Namespace string `json:"namespace,omitempty"`
	// name of the MCPClient.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name,omitempty"`
}

// MCPAccessPolicyStatus is what became of a policy.
type MCPAccessPolicyStatus struct {
	// observedGeneration is the generation of the spec that this status is about; -1 until the operator has seen the object.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, which says that the rules are valid and given to the gates of the selected servers.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// matchedServers is the number of MCPServers that the policy selects.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MatchedServers *int32 `json:"matchedServers,omitempty"`
}

// MCPAccessPolicyList is a list of MCPAccessPolicies.
// +kubebuilder:object:root=true
type MCPAccessPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the policies.
	Items []MCPAccessPolicy `json:"items"`
}

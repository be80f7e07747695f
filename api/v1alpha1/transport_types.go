package v1alpha1

// TransportType is a kind of transport between gate and server.
// +kubebuilder:validation:Enum=StreamableHTTP;Stdio
type TransportType string

// The transports between gate and server.
const (
	// TransportStreamableHTTP is MCP's Streamable HTTP transport on the pod's loopback address.
	TransportStreamableHTTP TransportType = "StreamableHTTP"
	// TransportStdio is MCP's stdio transport: the server's command runs as a child process, and nothing listens on the network.
	TransportStdio TransportType = "Stdio"
)

// SessionMode says whether the server keeps state between the requests of a session.
// +kubebuilder:validation:Enum=Stateless;Stateful
type SessionMode string

// The session modes.
const (
	// SessionsStateless: any replica may answer any request.
	SessionsStateless SessionMode = "Stateless"
	// SessionsStateful: a session lives in one pod; the Service keeps a client at one replica.
	SessionsStateful SessionMode = "Stateful"
)

// ProtocolRevision is a revision of the MCP specification.
// +kubebuilder:validation:Enum="2025-06-18";"2025-11-25";"2026-07-28"
type ProtocolRevision string

// Transport is how the gate talks to the server.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'StreamableHTTP' ? has(self.port) : !has(self.port)",message="transport.port must be set with type StreamableHTTP, and only then: a Stdio server listens on no port"
// +kubebuilder:validation:XValidation:rule="self.type == 'StreamableHTTP' || !has(self.path)",message="transport.path must not be set with type Stdio: clients use /mcp, or the path of endpoint.url"
// +kubebuilder:validation:XValidation:rule="self.type == 'Stdio' || !has(self.stdio)",message="transport.stdio must not be set with type StreamableHTTP: it is about the children of a Stdio server"
type Transport struct {
	// type of the transport. StreamableHTTP is a server that listens on 127.0.0.1. Stdio is one that speaks MCP over its standard
	// input and output: spec.command is run as a child process of the server's container, and the gate reaches it through a Unix
	// socket.
	// +unionDiscriminator
	// +required
	Type TransportType `json:"type,omitempty"`
	// port that a StreamableHTTP server listens on, at 127.0.0.1. The gate's own ports, 15443 to 15445, cannot be used.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
	// path of a StreamableHTTP server's MCP endpoint, which is also the path that clients use. Without it that is /mcp.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9._~/-]*$`
	// +kubebuilder:validation:XValidation:rule="!self.contains('//') && !self.split('/').exists(p, p == '.' || p == '..')",message="transport.path must not contain empty, '.' or '..' segments"
	// +optional
	Path string `json:"path,omitempty"`
	// sessions says whether the server keeps state between the requests of a session. With Stdio, a session of a Stateful server
	// lives as long as its child process; of a Stateless one any replica answers any request.
	// +kubebuilder:default=Stateful
	// +optional
	Sessions SessionMode `json:"sessions,omitempty"`
	// minRevision is the lowest revision of the MCP specification that clients may speak.
	// +kubebuilder:default="2025-06-18"
	// +optional
	MinRevision ProtocolRevision `json:"minRevision,omitempty"`
	// stdio is about the child processes of a Stdio server.
	// +optional
	Stdio *Stdio `json:"stdio,omitempty"`
}

// StdioChildren says who shares a child process.
// +kubebuilder:validation:Enum=PerPrincipal;Shared
type StdioChildren string

// Who shares a child process of a Stdio server.
const (
	// StdioPerPrincipal: every client, or subject of a token, has a child of its own.
	StdioPerPrincipal StdioChildren = "PerPrincipal"
	// StdioShared: one child answers everybody.
	StdioShared StdioChildren = "Shared"
)

// Stdio is about the child processes of a Stdio server.
type Stdio struct {
	// children says who shares a child process. PerPrincipal: every client, or subject of a token, has one of its own. Shared: one
	// child answers everybody, which is for servers that keep nothing about their callers; it cannot ask a client anything back,
	// and logging and resource subscriptions are not offered, because nobody could say whose they are.
	// +kubebuilder:default=PerPrincipal
	// +optional
	Children StdioChildren `json:"children,omitempty"`
	// maxChildren is how many children a replica has at most. When all are needed, the one that has been idle for longest ends; when
	// none is idle, the caller gets 503.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	// +kubebuilder:default=16
	// +optional
	MaxChildren int32 `json:"maxChildren,omitempty"`
	// idleTimeout is after how long without a request or an open stream a child ends, and with it its sessions: 10s to 24h.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s))+$') && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="transport.stdio.idleTimeout must be between 10s and 24h, in h, m and s"
	// +kubebuilder:default="10m"
	// +optional
	IdleTimeout string `json:"idleTimeout,omitempty"`
	// childMemory bounds the resident memory of one child, with the processes that it starts; a child above it is ended, and its
	// callers get an error. Without it only the limit of the container bounds them, all together.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('64Gi')) <= 0",message="transport.stdio.childMemory must be a quantity between 1Mi and 64Gi"
	// +optional
	ChildMemory string `json:"childMemory,omitempty"`
}

package api_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// rules are changes that break an object of the samples, and all that the user then reads.
var rules = []struct {
	name  string
	base  string
	patch string
	want  []string
}{
	{"server name with a dot", "server", `metadata: {name: a.b}`, []string{
		`<nil>: Invalid value: metadata.name must be a DNS label that starts with a letter, because a Service has this name: lower-case letters, digits and '-'`,
	}},
	{"server name that starts with a digit", "server", `metadata: {name: 1st}`, []string{
		`<nil>: Invalid value: metadata.name must be a DNS label that starts with a letter, because a Service has this name: lower-case letters, digits and '-'`,
	}},
	{"server name that is too long for a Service, which the operator says", "server", `metadata: {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}`, nil},
	{"client name with a dot", "client", `metadata: {name: a.b}`, []string{
		`<nil>: Invalid value: metadata.name must be a DNS label: lower-case letters, digits and '-', at most 63 characters`,
	}},
	{"client name that is too long", "client", `metadata: {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}`, []string{
		`<nil>: Invalid value: metadata.name must be a DNS label: lower-case letters, digits and '-', at most 63 characters`,
	}},
	{"all credentials disabled", "server", `spec: {authentication: {apiKeys: {mode: Disabled}, clientCertificates: {mode: Disabled}}}`, []string{
		`spec.authentication: Invalid value: apiKeys and clientCertificates cannot both be Disabled without tokens: no client could ever authenticate`,
	}},
	{"endpoint without https", "server", `spec: {endpoint: {url: 'http://mcp.example.com/mcp'}}`, []string{
		`spec.endpoint.url: Invalid value: "http://mcp.example.com/mcp": endpoint.url must be an https URL with a host, and without user, query and fragment`,
	}},
	{"endpoint that is no URL", "server", `spec: {endpoint: {url: 'mcp.example.com'}}`, []string{
		`spec.endpoint.url: Invalid value: "mcp.example.com": endpoint.url must be an https URL with a host, and without user, query and fragment`,
	}},
	{"endpoint with a user", "server", `spec: {endpoint: {url: 'https://me:secret@mcp.example.com/mcp'}}`, []string{
		`spec.endpoint.url: Invalid value: "https://me:secret@mcp.example.com/mcp": endpoint.url must be an https URL with a host, and without user, query and fragment`,
	}},
	{"endpoint with a query", "server", `spec: {endpoint: {url: 'https://mcp.example.com/mcp?x=1'}}`, []string{
		`spec.endpoint.url: Invalid value: "https://mcp.example.com/mcp?x=1": endpoint.url must be an https URL with a host, and without user, query and fragment`,
	}},
	{"environment variable with two sources", "server", `spec: {env: [{name: A, value: a, fieldPath: metadata.name}]}`, []string{
		`spec.env[0]: Invalid value: set exactly one of value, configMapKeyRef and fieldPath; a credential belongs into spec.secrets`,
	}},
	{"environment variable without a source", "server", `spec: {env: [{name: A}]}`, []string{
		`spec.env[0]: Invalid value: set exactly one of value, configMapKeyRef and fieldPath; a credential belongs into spec.secrets`,
	}},
	{"environment variable twice", "server", `spec: {env: [{name: A, value: a}, {name: A, value: b}]}`, []string{
		`spec.env[1]: Duplicate value: {"name":"A"}`,
	}},
	{"expression about methods", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], methods: [logging/setLevel], expression: 'true'}]}`, []string{
		`spec.rules[0]: Invalid value: expression is about calls of tools, prompts and resources: put methods into a rule of their own`,
	}},
	{"expression about what the server asks", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], serverRequests: [Roots], expression: 'true'}]}`, []string{
		`spec.rules[0]: Invalid value: expression is about calls of tools, prompts and resources: put serverRequests into a rule of their own`,
	}},
	{"a page of any host", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], serverRequests: [ElicitationURL]}]}`, []string{
		`spec.rules[0]: Invalid value: elicitationHosts and ElicitationURL in serverRequests need each other: name the hosts that a user may be sent to`,
	}},
	{"hosts for nothing", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], serverRequests: [Sampling], elicitationHosts: [login.example.com]}]}`, []string{
		`spec.rules[0]: Invalid value: elicitationHosts and ElicitationURL in serverRequests need each other: name the hosts that a user may be sent to`,
	}},
	{"rate over more than a day", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], tools: [a], rate: {requests: 1, per: 25h}}]}`, []string{
		`spec.rules[0].rate.per: Invalid value: "25h": rate.per must be between 1s and 24h, in h, m and s`,
	}},
	{"tracing of what nobody asked for", "server", `spec: {tracing: {mode: Always}}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.tracing.mode: Unsupported value: "Always": supported values: "Disabled", "Sampled"`,
	}},
	{"redaction of what is not shown", "server", `spec: {audit: {redact: [iban]}}`, []string{
		`spec.audit: Invalid value: audit.redact is for arguments: Full; otherwise no argument is shown`,
	}},
	{"both rules and a ServiceAccount", "server", `spec: {kubernetesAccess: {serviceAccountName: mine, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}}`, []string{
		`spec.kubernetesAccess: Invalid value: set exactly one of rules and serviceAccountName`,
	}},
	{"neither rules nor a ServiceAccount", "server", `spec: {kubernetesAccess: {}}`, []string{
		`spec.kubernetesAccess: Invalid value: set exactly one of rules and serviceAccountName`,
	}},
	{"request size that is no quantity", "server", `spec: {limits: {requestBytes: 4 MB}}`, []string{
		`spec.limits.requestBytes: Invalid value: "4 MB": limits.requestBytes must be a quantity between 1Ki and 64Mi`,
	}},
	{"request size too large", "server", `spec: {limits: {requestBytes: 65Mi}}`, []string{
		`spec.limits.requestBytes: Invalid value: "65Mi": limits.requestBytes must be a quantity between 1Ki and 64Mi`,
	}},
	{"request size too small", "server", `spec: {limits: {requestBytes: '1023'}}`, []string{
		`spec.limits.requestBytes: Invalid value: "1023": limits.requestBytes must be a quantity between 1Ki and 64Mi`,
	}},
	{"answers at once", "server", `spec: {limits: {answerWithin: 0s}}`, []string{
		`spec.limits.answerWithin: Invalid value: "0s": limits.answerWithin must be between 1s and 24h, in h, m and s`,
	}},
	{"answers after days", "server", `spec: {limits: {answerWithin: 24h1s}}`, []string{
		`spec.limits.answerWithin: Invalid value: "24h1s": limits.answerWithin must be between 1s and 24h, in h, m and s`,
	}},
	{"answers within parts of a second", "server", `spec: {limits: {answerWithin: 1500ms}}`, []string{
		`spec.limits.answerWithin: Invalid value: "1500ms": limits.answerWithin must be between 1s and 24h, in h, m and s`,
	}},
	{"answers within the longest time, few calls of a tool", "server", `spec: {limits: {answerWithin: 24h, perTool: {rps: 1, burst: 1}}}`, nil},
	{"no calls of a tool", "server", `spec: {limits: {perTool: {rps: 0}}}`, []string{
		"spec.limits.perTool.rps: Invalid value: 0: spec.limits.perTool.rps in body should be greater than or equal to 1",
	}},
	{"verification too often", "server", `spec: {verification: {interval: 9s}}`, []string{
		`spec.verification.interval: Invalid value: "9s": verification.interval must be between 10s and 168h, in h, m and s`,
	}},
	{"verification too rarely", "server", `spec: {verification: {interval: 169h}}`, []string{
		`spec.verification.interval: Invalid value: "169h": verification.interval must be between 10s and 168h, in h, m and s`,
	}},
	{"isolation after so many failures, which are only reported", "server", `spec: {verification: {isolateAfter: 2}}`, []string{
		"spec.verification: Invalid value: verification.isolateAfter is for onFailure: Isolate",
	}},
	{"isolation after no failure", "server", `spec: {verification: {onFailure: Isolate, isolateAfter: 0}}`, []string{
		"spec.verification.isolateAfter: Invalid value: 0: spec.verification.isolateAfter in body should be greater than or equal to 1",
	}},
	{"another reaction", "server", `spec: {verification: {onFailure: Ignore}}`, []string{
		"<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
		`spec.verification.onFailure: Unsupported value: "Ignore": supported values: "Report", "Isolate"`,
	}},
	{"isolation", "server", `spec: {verification: {onFailure: Isolate, isolateAfter: 1}}`, nil},
	{"verification as often as can be", "server", `spec: {verification: {interval: 10s}}`, nil},
	{"exemption of what is no control", "server", `spec: {verification: {exemptions: [{control: everything, owner: me, reason: none, notAfter: "2031-01-01T00:00:00Z"}]}}`, []string{
		`spec.verification.exemptions[0].control: Invalid value: "everything": spec.verification.exemptions[0].control in body should match '^[A-Z]{3,5}-[1-9][0-9]?$'`,
	}},
	{"pod annotation of the operator's", "server", `spec: {pod: {annotations: {bartizan.dev/inputs: x}}}`, []string{
		`spec.pod.annotations: Invalid value: pod.annotations must not set bartizan.dev/ annotations: the operator owns them`,
	}},
	{"pod label of the operator's", "server", `spec: {pod: {labels: {bartizan.dev/server: other}}}`, []string{
		`spec.pod.labels: Invalid value: pod.labels must not set bartizan.dev/ or app.kubernetes.io/ labels: the operator owns them`,
	}},
	{"pod label that selects", "server", `spec: {pod: {labels: {app.kubernetes.io/name: other}}}`, []string{
		`spec.pod.labels: Invalid value: pod.labels must not set bartizan.dev/ or app.kubernetes.io/ labels: the operator owns them`,
	}},
	{"mount over the tokens", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}], volumeMounts: [{name: a, mountPath: /var/run/secrets/mcp}]}}`, []string{
		`spec.pod.volumeMounts[0].mountPath: Invalid value: "/var/run/secrets/mcp": pod.volumeMounts.mountPath must not be below /var/run/secrets: tokens and spec.secrets live there`,
	}},
	{"mount over the tokens by another name", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}], volumeMounts: [{name: a, mountPath: /run/secrets}]}}`, []string{
		`spec.pod.volumeMounts[0].mountPath: Invalid value: "/run/secrets": pod.volumeMounts.mountPath must not be below /var/run/secrets: tokens and spec.secrets live there`,
	}},
	{"mount over the parent of the tokens", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}], volumeMounts: [{name: a, mountPath: /var/run}]}}`, nil},
	{"mount over the tokens through dots", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}], volumeMounts: [{name: a, mountPath: /var/lib/../run/secrets}]}}`, []string{
		`spec.pod.volumeMounts[0].mountPath: Invalid value: "/var/lib/../run/secrets": pod.volumeMounts.mountPath must be a path below /, without empty, '.' and '..' segments`,
	}},
	{"mount over the root", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}], volumeMounts: [{name: a, mountPath: /}]}}`, []string{
		`spec.pod.volumeMounts[0].mountPath: Invalid value: "/": pod.volumeMounts.mountPath must be a path below /, without empty, '.' and '..' segments`,
	}},
	{"sub-path that leaves the volume", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}}], volumeMounts: [{name: a, mountPath: /a, subPath: ../b}]}}`, []string{
		`spec.pod.volumeMounts[0].subPath: Invalid value: "../b": pod.volumeMounts.subPath must be relative, without '..' segments`,
	}},
	{"volume with two sources", "server", `spec: {pod: {volumes: [{name: a, emptyDir: {sizeLimit: 1Mi}, configMap: {name: a}}]}}`, []string{
		`spec.pod.volumes[0]: Invalid value: set exactly one of emptyDir, configMap and persistentVolumeClaim`,
	}},
	{"volume without a source", "server", `spec: {pod: {volumes: [{name: a}]}}`, []string{
		`spec.pod.volumes[0]: Invalid value: set exactly one of emptyDir, configMap and persistentVolumeClaim`,
	}},
	{"volume from the host", "server", `spec: {pod: {volumes: [{name: a, hostPath: {path: /}}]}}`, []string{
		`MCPServer in version "v1alpha1" cannot be handled as a MCPServer: strict decoding error: unknown field "spec.pod.volumes[0].hostPath"`,
	}},
	{"secret both file and variable", "server", `spec: {secrets: [{name: a, storeRef: {name: s}, data: [{remoteRef: {key: k}, file: f, env: E}]}]}`, []string{
		`spec.secrets[0].data[0]: Invalid value: set exactly one of file and env; prefer file, which is updated without a restart`,
	}},
	{"secret neither file nor variable", "server", `spec: {secrets: [{name: a, storeRef: {name: s}, data: [{remoteRef: {key: k}}]}]}`, []string{
		`spec.secrets[0].data[0]: Invalid value: set exactly one of file and env; prefer file, which is updated without a restart`,
	}},
	{"secret refreshed too often", "server", `spec: {secrets: [{name: a, storeRef: {name: s}, refreshInterval: 4s, data: [{remoteRef: {key: k}, file: f}]}]}`, []string{
		`spec.secrets[0].refreshInterval: Invalid value: "4s": secrets.refreshInterval must be at least 5s, in h, m and s`,
	}},
	{"secret refreshed never", "server", `spec: {secrets: [{name: a, storeRef: {name: s}, refreshInterval: never, data: [{remoteRef: {key: k}, file: f}]}]}`, []string{
		`spec.secrets[0].refreshInterval: Invalid value: "never": secrets.refreshInterval must be at least 5s, in h, m and s`,
	}},
	{"certificate that lives too long", "server", `spec: {tls: {duration: 2161h}}`, []string{
		`spec.tls.duration: Invalid value: "2161h": tls.duration must be between 1h and 2160h, in h, m and s`,
	}},
	{"certificate that lives too short", "server", `spec: {tls: {duration: 59m, renewBefore: 10m}}`, []string{
		`spec.tls.duration: Invalid value: "59m": tls.duration must be between 1h and 2160h, in h, m and s`,
	}},
	{"certificate lifetime in days", "server", `spec: {tls: {duration: 7d}}`, []string{
		`spec.tls.duration: Invalid value: "7d": tls.duration must be between 1h and 2160h, in h, m and s`,
	}},
	{"certificate lifetime that overflows", "server", `spec: {tls: {duration: 99999999999999h}}`, []string{
		`spec.tls.duration: Invalid value: "99999999999999h": tls.duration must be between 1h and 2160h, in h, m and s`,
	}},
	{"CA bundle that is none", "server", `spec: {tls: {caBundle: see the wiki}}`, []string{
		`spec.tls.caBundle: Invalid value: "see the wiki": tls.caBundle must be certificates in PEM, and nothing else`,
	}},
	{"CA bundle with a key", "server", `spec: {tls: {caBundle: "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"}}`, []string{
		`spec.tls.caBundle: Invalid value: "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----": tls.caBundle must be certificates in PEM, and nothing else`,
	}},
	{"certificate renewed too late", "server", `spec: {tls: {renewBefore: 4m}}`, []string{
		`spec.tls.renewBefore: Invalid value: "4m": tls.renewBefore must be at least 5m, in h, m and s`,
	}},
	{"certificate renewed before it is issued", "server", `spec: {tls: {duration: 8h, renewBefore: 8h}}`, []string{
		`spec.tls: Invalid value: tls.renewBefore must be shorter than tls.duration`,
	}},
	{"path with an empty segment", "server", `spec: {transport: {path: /a//b}}`, []string{
		`spec.transport.path: Invalid value: "/a//b": transport.path must not contain empty, '.' or '..' segments`,
	}},
	{"path with a parent segment", "server", `spec: {transport: {path: /a/../b}}`, []string{
		`spec.transport.path: Invalid value: "/a/../b": transport.path must not contain empty, '.' or '..' segments`,
	}},
	{"path with a query", "server", `spec: {transport: {path: '/mcp?x=1'}}`, []string{
		`spec.transport.path: Invalid value: "/mcp?x=1": spec.transport.path in body should match '^/[A-Za-z0-9._~/-]*$'`,
	}},
	{"transport of another type", "server", `spec: {transport: {type: SSE}}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.transport.type: Unsupported value: "SSE": supported values: "StreamableHTTP", "Stdio"`,
	}},
	{"HTTP without a port", "server", `spec: {transport: {port: null}}`, []string{
		`spec.transport: Invalid value: transport.port must be set with type StreamableHTTP, and only then: a Stdio server listens on no port`,
	}},
	{"HTTP with children", "server", `spec: {transport: {stdio: {maxChildren: 2}}}`, []string{
		`spec.transport: Invalid value: transport.stdio must not be set with type StreamableHTTP: it is about the children of a Stdio server`,
	}},
	{"stdio with a port", "server", `spec: {command: [/server], transport: {type: Stdio, path: null}}`, []string{
		`spec.transport: Invalid value: transport.port must be set with type StreamableHTTP, and only then: a Stdio server listens on no port`,
	}},
	{"stdio with a path", "server", `spec: {command: [/server], transport: {type: Stdio, port: null, path: /mcp}}`, []string{
		`spec.transport: Invalid value: transport.path must not be set with type Stdio: clients use /mcp, or the path of endpoint.url`,
	}},
	{"stdio without a command", "server", `spec: {command: null, transport: {type: Stdio, port: null, path: null}}`, []string{
		`spec: Invalid value: command must be set with transport.type Stdio: it is what the gate's helper in the server's container starts`,
	}},
	{"stdio that is idle too soon", "server", `spec: {command: [/server], transport: {type: Stdio, port: null, path: null, stdio: {idleTimeout: 1s}}}`, []string{
		`spec.transport.stdio.idleTimeout: Invalid value: "1s": transport.stdio.idleTimeout must be between 10s and 24h, in h, m and s`,
	}},
	{"stdio with hardly any memory", "server", `spec: {command: [/server], transport: {type: Stdio, port: null, path: null, stdio: {childMemory: 64Ki}}}`, []string{
		`spec.transport.stdio.childMemory: Invalid value: "64Ki": transport.stdio.childMemory must be a quantity between 1Mi and 64Gi`,
	}},
	{"stdio", "server", `spec: {command: [/server], transport: {type: Stdio, port: null, path: null, stdio: {children: Shared}}}`, nil},
	{"unknown field", "server", `spec: {hostNetwork: true}`, []string{
		`MCPServer in version "v1alpha1" cannot be handled as a MCPServer: strict decoding error: unknown field "spec.hostNetwork"`,
	}},
	{"request to an unknown field of the pod", "server", `spec: {env: [{name: A, fieldPath: spec.containers}]}`, []string{
		`spec.env[0].fieldPath: Invalid value: "spec.containers": spec.env[0].fieldPath in body should match '^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs))$'`,
	}},
	{"peer that is nobody", "server", `spec: {network: {ingress: [{from: [{}]}]}}`, []string{
		`spec.network.ingress[0].from: Invalid value: each peer needs either an ipBlock, or a podSelector, a namespaceSelector or both`,
	}},
	{"peer that is two things", "server", `spec: {network: {egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}}`, []string{
		`spec.network.egress[0].to: Invalid value: each peer needs either an ipBlock, or a podSelector, a namespaceSelector or both`,
	}},
	{"rules for URLs", "server", `spec: {kubernetesAccess: {rules: [{nonResourceURLs: [/metrics], verbs: [get]}]}}`, []string{
		`spec.kubernetesAccess.rules: Invalid value: each rule needs verbs, apiGroups and resources, and no nonResourceURLs: a Role cannot grant those`,
	}},
	{"rules without verbs", "server", `spec: {kubernetesAccess: {rules: [{apiGroups: [''], resources: [pods], verbs: []}]}}`, []string{
		`spec.kubernetesAccess.rules: Invalid value: each rule needs verbs, apiGroups and resources, and no nonResourceURLs: a Role cannot grant those`,
	}},
	{"client of no server", "client", `spec: {servers: []}`, []string{
		`spec.servers: Invalid value: 0: spec.servers in body should have at least 1 items`,
	}},
	{"client of one server twice", "client", `spec: {servers: [{namespace: a, name: b}, {namespace: a, name: b}]}`, []string{
		`spec.servers[1]: Duplicate value: {"name":"b","namespace":"a"}`,
	}},
	{"client of a namespace that cannot be", "client", `spec: {servers: [{namespace: A_b, name: b}]}`, []string{
		`spec.servers[0].namespace: Invalid value: "A_b": spec.servers[0].namespace in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'`,
	}},
	{"policy by name and by label", "policy", `spec: {servers: {selector: {}}}`, []string{
		`spec.servers: Invalid value: set exactly one of names and selector`,
	}},
	{"policy for no server", "policy", `spec: {servers: {names: null}}`, []string{
		`spec.servers: Invalid value: set exactly one of names and selector`,
	}},
	{"policy without rules", "policy", `spec: {rules: []}`, []string{
		`spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items`,
	}},
	{"rule that allows nothing", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}]}]}`, []string{
		`spec.rules[0]: Invalid value: name at least one of tools, prompts, resources, methods and serverRequests`,
	}},
	{"rule for nobody", "policy", `spec: {rules: [{subjects: [], tools: [a]}]}`, []string{
		`spec.rules[0].subjects: Invalid value: 0: spec.rules[0].subjects in body should have at least 1 items`,
	}},
	{"subject without the client", "policy", `spec: {rules: [{subjects: [{type: MCPClient}], tools: [a]}]}`, []string{
		`spec.rules[0].subjects[0]: Invalid value: mcpClient is required when type is MCPClient, and forbidden otherwise`,
	}},
	{"subject of another type", "policy", `spec: {rules: [{subjects: [{type: Group}], tools: [a]}]}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.rules[0].subjects[0].type: Unsupported value: "Group": supported values: "MCPClient", "ServiceAccount", "Claims"`,
	}},
	{"selector with values for nothing", "profile", `spec: {namespaceSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}`, []string{
		`spec.namespaceSelector.matchExpressions[0]: Invalid value: values are for operator In and NotIn, which need them`,
	}},
	{"selector without values", "profile", `spec: {namespaceSelector: {matchExpressions: [{key: a, operator: NotIn}]}}`, []string{
		`spec.namespaceSelector.matchExpressions[0]: Invalid value: values are for operator In and NotIn, which need them`,
	}},
	{"age of keys without a unit", "profile", `spec: {authentication: {maximumKeyAge: "720"}}`, []string{
		`spec.authentication.maximumKeyAge: Invalid value: "720": authentication.maximumKeyAge must be between 10m and 8760h, in h, m and s`,
	}},
	{"age of images without a unit", "profile", `spec: {images: {maximumAge: "720"}}`, []string{
		`spec.images.maximumAge: Invalid value: "720": images.maximumAge must be between 24h and 87600h, in h, m and s`,
	}},
	{"age of images that nobody reaches", "profile", `spec: {images: {maximumAge: 1h}}`, []string{
		`spec.images.maximumAge: Invalid value: "1h": images.maximumAge must be between 24h and 87600h, in h, m and s`,
	}},
	{"nothing asked of images", "profile", `spec: {images: null}`, nil},
	{"images without anything", "profile", `spec: {images: {registries: null, maximumAge: null, vulnerabilities: null, signatures: null}}`, []string{
		`spec.images: Invalid value: 0: spec.images in body should have at least 1 properties`,
	}},
	{"age of vulnerabilities in days", "profile", `spec: {images: {vulnerabilities: [{severity: High, maximumAge: 30d}]}}`, []string{
		`spec.images.vulnerabilities[0].maximumAge: Invalid value: "30d": maximumAge must be 87600h at most, in h, m and s`,
	}},
	{"severity as a scanner spells it", "profile", `spec: {images: {vulnerabilities: [{severity: HIGH, maximumAge: 0s}]}}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.images.vulnerabilities[0].severity: Unsupported value: "HIGH": supported values: "Critical", "High", "Medium", "Low"`,
	}},
	{"severity twice", "profile", `spec: {images: {vulnerabilities: [{severity: High, maximumAge: 0s}, {severity: High, maximumAge: 1h}]}}`, []string{
		`spec.images.vulnerabilities[1]: Duplicate value: {"severity":"High"}`,
	}},
	{"policy of a namespace for signatures", "profile", `spec: {images: {signatures: [{source: kyverno, policy: team-a/mine}]}}`, []string{
		`spec.images.signatures[0].policy: Invalid value: "team-a/mine": spec.images.signatures[0].policy in body should match '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'`,
	}},
	{"verifier that leaves no report", "profile", `spec: {images: {signatures: [{source: policy-controller, policy: a}]}}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.images.signatures[0].source: Unsupported value: "policy-controller": supported values: "kyverno", "KyvernoImageValidatingPolicy"`,
	}},
	{"profile without a selector", "profile", `spec: {namespaceSelector: null}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.namespaceSelector: Required value`,
	}},
	{"attestation of what can be seen", "profile", `spec: {attestations: [{control: ENC-1, owner: a, evidence: b, notAfter: "2030-01-01T00:00:00Z"}]}`, []string{
		`<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`,
		`spec.attestations[0].control: Unsupported value: "ENC-1": supported values: "ENC-8", "ENC-9"`,
	}},
	{"profile that asks for less than nothing of certificates", "profile", `spec: {authentication: {clientCertificates: Disabled}}`, []string{
		`spec.authentication.clientCertificates: Invalid value: "Disabled": authentication.clientCertificates must be Required or Optional; leave it out to ask for nothing`,
	}},
	{"profile that asks for less than nothing of pins", "profile", `spec: {tools: {pinning: "Off"}}`, []string{
		`spec.tools.pinning: Invalid value: "Off": tools.pinning must be Audit or Enforce; leave it out to ask for nothing`,
	}},
	{"tool twice", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], tools: [a, a]}]}`, []string{
		`spec.rules[0].tools[1]: Duplicate value: "a"`,
	}},
}

func TestIntegrationRulesAreEnforced(t *testing.T) {
	c := client(t)
	bases := map[string]*unstructured.Unstructured{
		"server": read(t, samples+"/mcpserver.yaml")[0],
		"client": read(t, samples+"/mcpclient.yaml")[0],
		"policy": read(t, samples+"/mcpaccesspolicy.yaml")[0],

		"profile": read(t, samples+"/mcpsecurityprofile.yaml")[0],
	}
	for _, test := range rules {
		t.Run(test.name, func(t *testing.T) {
			_, got := try(t.Context(), t, c, merged(t, bases[test.base], test.patch))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("what the user reads (-want +got):\n%s", diff)
			}
		})
	}
}

// TestIntegrationEveryRuleIsTested fails when a rule of the schema has a message that no test above expects.
func TestIntegrationEveryRuleIsTested(t *testing.T) {
	messages := map[string]bool{}
	for _, root := range schemas(t) {
		root.walk(func(_ []string, s *node) {
			for _, rule := range s.XValidations {
				messages[rule.Message] = true
			}
		})
	}
	if len(messages) < 10 {
		t.Fatalf("only %d rules found in the schemas", len(messages))
	}
	for _, message := range slices.Sorted(maps.Keys(messages)) {
		tested := slices.ContainsFunc(rules, func(r struct {
			name, base, patch string
			want              []string
		}) bool {
			return slices.ContainsFunc(r.want, func(w string) bool { return strings.Contains(w, message) })
		})
		if !tested {
			t.Errorf("no test breaks the rule %q", message)
		}
	}
}

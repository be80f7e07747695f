package api_test

// tokenRules are the rules about tokens and those who show them.
var tokenRules = []struct {
	name  string
	base  string
	patch string
	want  []string
}{
	{"no credential but tokens", "server", `spec: {authentication: {apiKeys: {mode: Disabled}, clientCertificates: {mode: Disabled}, tokens: [{name: a, type: Kubernetes, kubernetes: {audiences: [a]}}]}}`, nil},
	{"tokens of the cluster twice", "server", `spec: {authentication: {tokens: [{name: a, type: Kubernetes, kubernetes: {audiences: [a]}}, {name: b, type: Kubernetes, kubernetes: {audiences: [b]}}]}}`, []string{
		`spec.authentication.tokens: Invalid value: tokens can have type Kubernetes once only: there is one cluster; name several audiences`,
	}},
	{"an issuer twice", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a]}}, {name: b, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [b]}}]}}`, []string{
		`spec.authentication.tokens: Invalid value: tokens must not name an issuer twice: name several audiences`,
	}},
	{"an issuer's name twice", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a]}}, {name: a, type: OIDC, oidc: {issuer: 'https://b.example', audiences: [b]}}]}}`, []string{
		`spec.authentication.tokens[1]: Duplicate value: {"name":"a"}`,
	}},
	{"OIDC without its field", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC}]}}`, []string{
		`spec.authentication.tokens[0]: Invalid value: oidc is required when type is OIDC, and forbidden otherwise`,
	}},
	{"Kubernetes with both fields", "server", `spec: {authentication: {tokens: [{name: a, type: Kubernetes, kubernetes: {audiences: [a]}, oidc: {issuer: 'https://a.example', audiences: [a]}}]}}`, []string{
		`spec.authentication.tokens[0]: Invalid value: oidc is required when type is OIDC, and forbidden otherwise`,
	}},
	{"Kubernetes without its field", "server", `spec: {authentication: {tokens: [{name: a, type: Kubernetes}]}}`, []string{
		`spec.authentication.tokens[0]: Invalid value: kubernetes is required when type is Kubernetes, and forbidden otherwise`,
	}},
	{"issuer without https", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'http://a.example', audiences: [a]}}]}}`, []string{
		`spec.authentication.tokens[0].oidc.issuer: Invalid value: "http://a.example": oidc.issuer must be an https URL with a host, and without user, query and fragment`,
	}},
	{"issuer with a user", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a@b.example', audiences: [a]}}]}}`, []string{
		`spec.authentication.tokens[0].oidc.issuer: Invalid value: "https://a@b.example": oidc.issuer must be an https URL with a host, and without user, query and fragment`,
	}},
	{"keys without https", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a], jwksURI: 'file:///etc/passwd'}}]}}`, []string{
		`spec.authentication.tokens[0].oidc.jwksURI: Invalid value: "file:///etc/passwd": oidc.jwksURI must be an https URL with a host, and without user and fragment`,
	}},
	{"keys with a query", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a], jwksURI: 'https://a.example/keys?p=one'}}]}}`, nil},
	{"authorities that are none", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a], caBundle: '-----BEGIN PRIVATE KEY-----'}}]}}`, []string{
		`spec.authentication.tokens[0].oidc.caBundle: Invalid value: "-----BEGIN PRIVATE KEY-----": oidc.caBundle must be certificates in PEM, and begin with the first of them`,
	}},
	{"scope of a session demanded", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a], requiredScopes: [a, offline_access]}}]}}`, []string{
		`spec.authentication.tokens[0].oidc.requiredScopes: Invalid value: oidc.requiredScopes must not have offline_access: it is for a client and its issuer`,
	}},
	{"tokens that live too long", "server", `spec: {authentication: {tokens: [{name: a, type: OIDC, oidc: {issuer: 'https://a.example', audiences: [a], maxLifetime: 9000h}}]}}`, []string{
		`spec.authentication.tokens[0].oidc.maxLifetime: Invalid value: "9000h": oidc.maxLifetime must be between 1m and 8760h, in h, m and s`,
	}},
	{"tokens that live shorter than the cluster makes them", "server", `spec: {authentication: {tokens: [{name: a, type: Kubernetes, kubernetes: {audiences: [a], maxLifetime: 5m}}]}}`, []string{
		`spec.authentication.tokens[0].kubernetes.maxLifetime: Invalid value: "5m": kubernetes.maxLifetime must be between 10m and 8760h, in h, m and s`,
	}},
	{"ServiceAccount without its name", "policy", `spec: {rules: [{subjects: [{type: ServiceAccount}], tools: [a]}]}`, []string{
		`spec.rules[0].subjects[0]: Invalid value: serviceAccount is required when type is ServiceAccount, and forbidden otherwise`,
	}},
	{"claims without claims", "policy", `spec: {rules: [{subjects: [{type: Claims}], tools: [a]}]}`, []string{
		`spec.rules[0].subjects[0]: Invalid value: claims is required when type is Claims, and forbidden otherwise`,
	}},
	{"claims beside a client", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}, claims: {issuer: a, match: [{path: [sub], values: [b]}]}}], tools: [a]}]}`, []string{
		`spec.rules[0].subjects[0]: Invalid value: claims is required when type is Claims, and forbidden otherwise`,
	}},
	{"actors for a client", "policy", `spec: {rules: [{subjects: [{type: MCPClient, mcpClient: {namespace: a, name: b}}], actors: [{namespace: a, name: b}], tools: [a]}]}`, []string{
		`spec.rules[0]: Invalid value: actors act for the holders of tokens: write a rule of its own for subjects of type MCPClient`,
	}},
	{"scopes for a ServiceAccount", "policy", `spec: {rules: [{subjects: [{type: ServiceAccount, serviceAccount: {namespace: a, name: b}}], scopes: [a], tools: [a]}]}`, []string{
		`spec.rules[0]: Invalid value: scopes need subjects of type Claims: only their tokens have scopes`,
	}},
	{"scope of a session asked for", "policy", `spec: {rules: [{subjects: [{type: Claims, claims: {issuer: a, match: [{path: [sub], values: [b]}]}}], scopes: [offline_access], tools: [a]}]}`, []string{
		`spec.rules[0].scopes: Invalid value: rules.scopes must not have offline_access: it is for a client and its issuer`,
	}},
}

func init() { rules = append(rules, tokenRules...) }

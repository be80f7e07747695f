// Package gateconfig is the one document that the operator writes for a gate and that the gate obeys: the compiled
// policy, who may call, the authorities that vouch for them, and the limits. It holds hashes of keys, never a key.
//
// The document travels in the Secret "<server>-gate" under the key ConfigFile and is replaced as a whole: a gate runs
// one generation of it or none.
package gateconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Where the parts of the configuration are found in the gate's container. All are items of one projected volume, so the
// kubelet replaces them together.
const (
	Directory       = "/etc/bartizan/gate"
	ConfigFile      = "config.json"
	CertificateFile = "tls.crt"
	PrivateKeyFile  = "tls.key"
)

// The ports of the gate's container. They are high and unusual so that a server's own port rarely meets them; a server
// that asks for one of them is refused.
const (
	// GatePort serves MCP with TLS.
	GatePort = 15443
	// StatusPort serves the gate's status and metrics to the operator and to monitoring, with mutual TLS.
	StatusPort = 15444
	// ProbePort serves /livez and /readyz in plain HTTP to the kubelet, which has no certificate.
	ProbePort = 15445
)

// Version is the schema version of Config. A gate refuses any other.
const Version = 1

// Revision is a revision of the MCP specification, by its date; revisions compare as strings.
type Revision string

// The revisions that the gate speaks.
const (
	Revision20250618 Revision = "2025-06-18"
	Revision20251125 Revision = "2025-11-25"
	Revision20260728 Revision = "2026-07-28"
)

// Mode says whether a way to authenticate is accepted or demanded.
type Mode string

// The modes of authentication. API keys know Enabled and Disabled; client certificates Required, Optional and Disabled.
const (
	Enabled  Mode = "Enabled"
	Required Mode = "Required"
	Optional Mode = "Optional"
	Disabled Mode = "Disabled"
)

// Sessions says whether the server keeps state between requests of a legacy session.
type Sessions string

// How a server treats sessions.
const (
	Stateless Sessions = "Stateless"
	Stateful  Sessions = "Stateful"
)

// Config is one generation of a gate's configuration.
type Config struct {
	// Version is the schema version.
	Version int `json:"version"`
	// Generation names this content: the hash of all other fields, see Seal.
	Generation string `json:"generation"`
	// Server is the MCPServer that the gate guards.
	Server Object `json:"server"`
	// Endpoint is what callers may address.
	Endpoint Endpoint `json:"endpoint"`
	// Upstream is the server behind the gate, in the same pod.
	Upstream Upstream `json:"upstream"`
	// Limits bound requests and their answers.
	Limits Limits `json:"limits"`
	// Authentication says which credentials are accepted or demanded.
	Authentication Authentication `json:"authentication"`
	// Authorities are the certificate authorities, in PEM, by the namespace whose clients they vouch for, and only those.
	Authorities map[string]string `json:"authorities"`
	// Status says who may read the status port.
	Status Status `json:"status"`
	// Clients are the callers that exist and that both sides agreed to, sorted by namespace and name. Any other caller
	// is unknown, whatever certificate it shows.
	Clients []Client `json:"clients"`
	// Verification is what the operator attacks the gate with.
	Verification Verification `json:"verification,omitzero"`
	// Audit says what the audit log has of the arguments of calls.
	Audit Audit `json:"audit,omitzero"`
	// Tracing says which requests the gate writes spans of.
	Tracing Tracing `json:"tracing,omitzero"`
	// Tools says which definitions of the server are approved.
	Tools Tools `json:"tools,omitzero"`
	// Policy is the compiled access policy: what is not allowed here is denied.
	Policy policy.Policy `json:"policy"`
}

// Object names a namespaced object.
type Object struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Endpoint is what a caller may put into the request line and headers.
type Endpoint struct {
	// URL is what clients are told to call.
	URL string `json:"url"`
	// Path is the only path that serves MCP.
	Path string `json:"path"`
	// Hosts are the accepted Host headers, lower case, with a port where a client sends one. Requests to the pod's own
	// names are listed too.
	Hosts []string `json:"hosts"`
	// Origins are the accepted Origin headers. A request with any other Origin is refused; without one it passes.
	Origins []string `json:"origins,omitempty"`
}

// Upstream is the server's own listener: a port on 127.0.0.1, or a Unix socket.
type Upstream struct {
	Port int32 `json:"port,omitempty"`
	// Socket is StdioSocket for a server behind "authproxy stdio", and empty for one with a port. Only on a socket, which nobody
	// else can put a listener on or connect to, is the server told who calls.
	Socket   string   `json:"socket,omitempty"`
	Path     string   `json:"path"`
	Sessions Sessions `json:"sessions"`
	// MinRevision is the lowest accepted revision of the protocol.
	MinRevision Revision `json:"minRevision"`
}

// Limits bound requests. Zero is not a valid limit of one's size.
type Limits struct {
	// RequestBytes bounds the body of a request, in bytes.
	RequestBytes int64 `json:"requestBytes"`
	// Depth bounds the nesting of a request's JSON.
	Depth int `json:"depth"`
	// PerClient bounds how often each client may ask; zero for no bound.
	PerClient ClientRate `json:"perClient,omitzero"`
	// PerTool bounds how often each client may call each tool; zero for no bound.
	PerTool ClientRate `json:"perTool,omitzero"`
	// AnswerWithinSeconds bounds the time that the server may take for an answer; zero for no bound.
	AnswerWithinSeconds int64 `json:"answerWithinSeconds,omitzero"`
}

// MaxAnswerWithin is the longest AnswerWithinSeconds.
const MaxAnswerWithin = 24 * time.Hour

// ClientRate is so many requests at once, and so many more in each second.
type ClientRate struct {
	RPS   int `json:"rps"`
	Burst int `json:"burst"`
}

// Arguments says what the audit log has of the arguments of calls.
type Arguments string

// What the audit log can have of arguments.
const (
	// ArgumentsNone is nothing, ArgumentsHash a keyed hash, ArgumentsFull all but what looks like a secret.
	ArgumentsNone Arguments = "None"
	ArgumentsHash Arguments = "Hash"
	ArgumentsFull Arguments = "Full"
)

// Audit says what the audit log has of the arguments of calls; empty stands for ArgumentsNone.
type Audit struct {
	Arguments Arguments `json:"arguments,omitempty"`
	// Redact are parts of names of members whose values ArgumentsFull does not show, beside those that it never shows.
	Redact []string `json:"redact,omitempty"`
}

// TracingMode says which requests the gate writes spans of.
type TracingMode string

// TracingSampled is those in whose traces the callers say that they keep them. Empty is none.
const TracingSampled TracingMode = "Sampled"

// Tracing is about the gate's spans.
type Tracing struct {
	Mode TracingMode `json:"mode,omitempty"`
}

// Authentication says which credentials are accepted (Enabled, Optional) or demanded (Required). A demanded certificate
// stands beside an API key or a token, not in its place, where those are accepted: then both are needed. With Optional
// either is enough.
type Authentication struct {
	APIKeys            Mode `json:"apiKeys"`
	ClientCertificates Mode `json:"clientCertificates"`
	// Tokens are the issuers whose bearer tokens are accepted.
	Tokens []TokenIssuer `json:"tokens,omitempty"`
}

// Status says who may read the status port: a certificate with one of these URI SANs, vouched for by this authority.
type Status struct {
	Authority  string   `json:"authority"`
	Identities []string `json:"identities"`
}

// Client is one MCPClient that may reach this server, with the keys that are accepted from it now.
type Client struct {
	Object
	Keys []Key `json:"keys,omitempty"`
	// Certificates is Disabled for a client whose certificates are refused, valid ones too; empty otherwise.
	Certificates Mode `json:"certificates,omitempty"`
}

// Operator is the operator as a caller, which its certificate or one of its keys shows. It is given nothing: no policy can name a
// client without a namespace, so all that it asks for is denied. The operator shows with it that denials work.
var Operator = Object{Name: "bartizan-operator"}

// CountedSpan is the parent id (W3C Trace Context, section 3.2.2.4) with which an attack of the operator's is counted as a failed login,
// of a source of its own: so the operator sees that too many are throttled, and holds none against its address.
const CountedSpan = "0000000000000002"

// Verification is what the operator attacks the gate with.
type Verification struct {
	// Keys are accepted from the operator, and rotate like those of any client: so it shows that one which was retired is refused.
	Keys []Key `json:"keys,omitempty"`
	// Tokens are accepted from the operator where those of any issuer are; nil: none are.
	Tokens *OwnTokens `json:"tokens,omitempty"`
}

// Key is one accepted API key.
type Key struct {
	// ID is the public part of the key, unique among all keys of the configuration.
	ID string `json:"id"`
	// SHA256 is the hex SHA-256 of the whole key. A key has 256 random bits, so a plain hash is enough.
	SHA256 string `json:"sha256"`
	// NotAfter is the absolute end of the key; the gate refuses it from then on without being told.
	NotAfter time.Time `json:"notAfter"`
}

// Seal returns the document for the Secret: c as compact JSON, its Generation set to the hash of its content, so that
// equal content always has an equal generation.
func Seal(c Config) (document []byte, generation string, err error) {
	c.Version = Version
	c.Generation = ""
	content, err := json.Marshal(c)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(content)
	c.Generation = hex.EncodeToString(sum[:16])
	document, err = json.Marshal(c)
	return document, c.Generation, err
}

package posture

import "time"

// Snapshot is all that an evaluation of one server looks at. It is gathered by somebody else; nothing in it is a secret.
type Snapshot struct {
	// Server is the server, as "<namespace>/<name>".
	Server string
	// Now is the time of the evaluation.
	Now time.Time
	// StaleAfter is how old observed and proven evidence may be; older counts as unknown.
	StaleAfter time.Duration
	// Exemptions are controls that somebody answers for.
	Exemptions []Exemption

	Classification Fact[Classification]
	// Offers is how many tools, prompts and resources the gates have seen.
	Offers Fact[int]
	// Tools are the tools that the gates have seen.
	Tools Fact[[]Tool]
	// Sensitive are tools that are approved, and that by their names give raw commands or sensitive files; known only where there are any.
	Sensitive Fact[[]string]
	// Unmanaged are MCP servers without a gate.
	Unmanaged Fact[Unmanaged]

	// Clients are the MCPClients that may reach the server.
	Clients Fact[[]Client]
	// Shared are keys that are of more than one client of the namespace's servers; known only where there are any.
	Shared Fact[[]string]
	// StaleKeys say which keys gates accept that no MCPClient has in use.
	StaleKeys Fact[[]string]
	// APIKeys says whether the server accepts API keys.
	APIKeys Fact[bool]
	// Bearer says whether the server accepts tokens of any issuer, Tokens whether of one that callers can ask for some.
	Bearer, Tokens Fact[bool]
	// LoginAlerts says whether an alert rule watches for failed logins.
	LoginAlerts Fact[bool]

	// Grants are the rules of policies that are in force.
	Grants Fact[[]Grant]
	// Unpinned are definitions of tools, prompts and instructions that no pin covers.
	Unpinned Fact[[]string]
	// Unconstrained are grants on risky tools that do not constrain arguments.
	Unconstrained Fact[[]string]

	Certificate Fact[Certificate]
	Authority   Fact[Authority]
	// Literals are places that hold what looks like a secret; never the secret.
	Literals Fact[[]string]
	// AtRest and Volumes are attestations that Secrets and volumes are encrypted.
	AtRest, Volumes Fact[Attestation]

	Audit Fact[Audit]
	// Alerts and Scraped say whether alert rules are installed and metrics are read.
	Alerts, Scraped Fact[bool]

	Image Fact[Image]
	// OldImage says why the image is too old; empty: it is not.
	OldImage Fact[string]
	// Vulnerabilities are known ones of the images that run.
	Vulnerabilities Fact[Vulnerabilities]
	// Unsigned are the pods whose images' signatures did not pass the policies that count.
	Unsigned Fact[[]string]
	Gate     Fact[Gate]

	// Run is the last verification.
	Run Fact[Run]
	// ServerRequests are requests of the server to its clients that nobody granted.
	ServerRequests Fact[[]string]

	// PodSecurity, Containers, Rights, NetworkOpenings, Listeners, Egress and Detours are what is wrong; empty: nothing.
	PodSecurity     Fact[[]string]
	Containers      Fact[[]string]
	Token           Fact[ServiceAccountToken]
	Rights          Fact[[]string]
	NetworkOpenings Fact[[]string]
	Listeners       Fact[[]string]
	Egress          Fact[[]string]
	Detours         Fact[[]string]
}

// Fact is one piece of evidence: a value that is known, or why it is not. The zero Fact is not known.
type Fact[T any] struct {
	Value T
	Known bool
	// Kind is how it is known.
	Kind Kind
	// Source is where it is from, such as "MCPServer spec.image".
	Source string
	// Time is when it was so. Declared facts have none: the spec is as it is.
	Time time.Time
	// Missing says what would show it, when it is not known.
	Missing string
}

// Say is a declared fact.
func Say[T any](value T, source string) Fact[T] {
	return Fact[T]{Value: value, Known: true, Kind: Declared, Source: source}
}

// See is an observed fact.
func See[T any](value T, source string, at time.Time) Fact[T] {
	return Fact[T]{Value: value, Known: true, Kind: Observed, Source: source, Time: at}
}

// Prove is a proven fact.
func Prove[T any](value T, source string, at time.Time) Fact[T] {
	return Fact[T]{Value: value, Known: true, Kind: Proven, Source: source, Time: at}
}

// Unknown is a fact that is not known, and what would show it.
func Unknown[T any](missing string) Fact[T] { return Fact[T]{Missing: missing} }

// Classification is what a server says about its data.
type Classification struct {
	Level, Owner string
	Categories   []string
}

// Tool is a tool and what is risky about it.
type Tool struct {
	Name string
	// Writes: it changes something, or does not say that it does not.
	Writes bool
	// Forbidden: it gives raw commands or sensitive files.
	Forbidden bool
}

// Unmanaged are MCP servers without a gate.
type Unmanaged struct {
	// Certain are those in the server's namespace that can hardly be something else, Likely those that look like one.
	Certain, Likely []string
	// Elsewhere: there are some in other namespaces, whose names are not for everybody.
	Elsewhere bool
}

// Vulnerabilities are known ones over the threshold.
type Vulnerabilities struct {
	// Over are those for which there is a mended version, Unmended those for which there is none yet.
	Over, Unmended []string
}

// Client is an MCPClient and its keys for the server's namespace.
type Client struct {
	// Name is "<namespace>/<name>".
	Name string
	// Listed says that the client's status lists its credentials.
	Listed bool
	Keys   []Key
	// MaximumAge is how old a key may get.
	MaximumAge time.Duration
	// RotationFailed says why the last rotation did not succeed; empty: it did, or none was due.
	RotationFailed string
}

// Key is an API key, by its id.
type Key struct {
	ID                 string
	IssuedAt, NotAfter time.Time
	// Accepted: gates are meant to accept it. A retired or revoked key is not.
	Accepted bool
}

// Grant is one rule of an MCPAccessPolicy.
type Grant struct {
	// Rule is "<policy>/<index>".
	Rule  string
	Tools []string
}

// Certificate is the serving certificate as it is asked for.
type Certificate struct {
	// Algorithm is ECDSA, Ed25519 or RSA; Bits is the key's size, 0 where the algorithm has one only.
	Algorithm string
	Bits      int
	// FreshKeys: each renewal has a new key.
	FreshKeys bool
}

// Authority is what issued the serving certificate.
type Authority struct {
	NotAfter, LeafNotAfter time.Time
	// RollsOver: it can be replaced without a failed request.
	RollsOver bool
}

// Attestation is what somebody vouches for because no API shows it.
type Attestation struct {
	Owner, Evidence string
	Expires         time.Time
}

// Audit is the state of the audit log.
type Audit struct {
	// Replicas are the gates, Chained those whose chain has a head.
	Replicas, Chained int
	// Broken says what is wrong with chains, by the heads that were seen before.
	Broken []string
}

// Image is the server's image.
type Image struct {
	// Spec is as the spec says, Running are the distinct images that the pods' specs say.
	Spec    string
	Running []string
	// Reported are the distinct images that nodes say run in the pods.
	Reported []ReportedImage
}

// ReportedImage is what a node says of the image that a container runs.
type ReportedImage struct {
	// Runtime is what runs the container, such as containerd.
	Runtime string
	// ID is the image: by a digest of a registry, or by the id that the runtime has for it.
	ID string
}

// Gate is what gates run.
type Gate struct {
	// Want is the image that the operator ships, Running are the distinct images of the gates.
	Want    string
	Running []string
	// Reported are the distinct images that nodes say run as gates.
	Reported []ReportedImage
}

// ServiceAccountToken says whether pods have a token for the Kubernetes API.
type ServiceAccountToken struct {
	// Asked: the spec has kubernetesAccess.
	Asked bool
	// Mounted are the pods that have one that was not asked for, and whose it is where that is not plain.
	Mounted []string
}

// Exemption takes a control out until a day, with somebody who answers for it.
type Exemption struct {
	Control, Owner, Reason string
	Expires                time.Time
}

// Run is one verification of a server.
type Run struct {
	// Interval is how often one is due.
	Interval time.Duration
	Probes   []Probe
	// Incomplete says why the run could not try everything; empty: it could.
	Incomplete string
}

// Outcome is what became of a probe.
type Outcome string

// The outcomes.
const (
	// Held: the attack failed, beside a positive control that succeeded.
	Held Outcome = "held"
	// Broken: the attack succeeded.
	Broken Outcome = "broken"
	// Inconclusive: the attack could not be tried, or nothing showed that it was.
	Inconclusive Outcome = "inconclusive"
)

// Probe is one attack that was tried.
type Probe struct {
	// Name is what was tried, from a closed list; Control what it attacks.
	Name, Control string
	// Pod is what was attacked.
	Pod     string
	Outcome Outcome
	// Detail says in fixed words what happened.
	Detail string
}

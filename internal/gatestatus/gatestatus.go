// Package gatestatus is what a gate tells the operator about itself over its status port.
package gatestatus

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// Path is where the status port serves Status as JSON.
const Path = "/status"

// Status is one gate's account of itself. It holds identifiers, never a credential.
type Status struct {
	// Version is the version of the gate's binary.
	Version string `json:"version"`
	// Boot is a random id of this process.
	Boot string `json:"boot"`
	// Generation is the generation of the configuration in force; empty when none is.
	Generation string `json:"generation"`
	// ConfigError says why a newer configuration on disk is not in force; empty when there is none.
	ConfigError string `json:"configError,omitempty"`
	// Authorities are the digests (see Digest) of the bundles that vouch for clients, by the clients' namespace.
	Authorities map[string]string `json:"authorities,omitempty"`
	// SystemAuthority is that of the bundle that vouches for the operator.
	SystemAuthority string `json:"systemAuthority,omitempty"`
	// CertificateSerial is the serving certificate's serial number in hex.
	CertificateSerial string `json:"certificateSerial,omitempty"`
	// CertificateAuthority is the serving certificate's authority key identifier (RFC 5280, section 4.2.1.1) in hex; empty where it has none.
	CertificateAuthority string `json:"certificateAuthority,omitempty"`
	// CertificateNotAfter is when the serving certificate ends.
	CertificateNotAfter time.Time `json:"certificateNotAfter,omitzero"`
	// UpstreamReady says whether the server accepts connections.
	UpstreamReady bool `json:"upstreamReady"`
	// Audit is the last line of the audit log; nil before the first.
	Audit *AuditHead `json:"audit,omitempty"`
	// Keys are the accepted API keys, by id.
	Keys []Key `json:"keys,omitempty"`
	// UnknownKeys are the issuers in whose name tokens came that are signed with a key which is not in the configuration in
	// force: the issuer may have a new one, or somebody makes it up.
	UnknownKeys []UnknownKey `json:"unknownKeys,omitempty"`
	// Tools is what the server offers; nil before the gate has tried to list it.
	Tools *Tools `json:"tools,omitempty"`
	// ServerRequests are what the server asked of its clients in this boot and nobody granted; nil when the gate does not count.
	ServerRequests []ServerRequest `json:"serverRequests"`
	// MetricsReadAt is when monitoring last read the gate's metrics; absent when it has not since the gate began.
	MetricsReadAt time.Time `json:"metricsReadAt,omitzero"`
	// Listeners are sockets in the pod's network namespace that listen on an address other than loopback and are not the
	// gate's own, as "address:port", sorted, at most 32; "unknown" alone when the gate cannot see them.
	Listeners []string `json:"listeners,omitempty"`
}

// Digest names a bundle of certificates by its content.
func Digest(bundle string) string {
	sum := sha256.Sum256([]byte(bundle))
	return hex.EncodeToString(sum[:])
}

// AuditHead names a line of the audit log of a boot: its place, and the hex SHA-256 of its bytes.
type AuditHead struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// Key is one accepted API key and when this gate last accepted it.
type Key struct {
	ID       string    `json:"id"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
}

// UnknownKey counts the tokens of one issuer that name an unknown key, since the configuration came into force.
type UnknownKey struct {
	// Issuer is the issuer's name in the configuration.
	Issuer string    `json:"issuer"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last"`
}

// InventoryPath is where the status port serves Inventory as JSON.
const InventoryPath = "/inventory"

// Tools is what a gate tells of its server's definitions.
type Tools struct {
	// Digest names the whole of what the server offers; empty before the first listing.
	Digest string `json:"digest,omitempty"`
	// ListedAt is when the gate last listed the server.
	ListedAt time.Time `json:"listedAt,omitzero"`
	// Problem is why there is no newer listing: one word of a closed list; empty when there is none.
	Problem string `json:"problem,omitempty"`
	// Unapproved are definitions that no pin names, or that cannot be used, at most 64; in quarantine where pins are enforced.
	Unapproved []Unapproved `json:"unapproved,omitempty"`
	// UnapprovedCount is the number of all of them.
	UnapprovedCount int `json:"unapprovedCount,omitempty"`
}

// Unapproved is a definition that no pin names.
type Unapproved struct {
	Kind   inventory.Kind   `json:"kind"`
	Name   string           `json:"name"`
	SHA256 string           `json:"sha256"`
	Reason inventory.Reason `json:"reason"`
}

// Inventory is all that a server offers.
type Inventory struct {
	// Digest names the whole; empty before the first listing.
	Digest string           `json:"digest,omitempty"`
	Items  []inventory.Item `json:"items,omitempty"`
}

// ServerRequest counts the requests of one kind.
type ServerRequest struct {
	// Kind is a kind of MCPAccessPolicy's serverRequests, or "other" for what no rule can grant.
	Kind  string    `json:"kind"`
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
}

// Package config holds the gate's configuration: read as a whole from one directory, checked as a whole, swapped as a
// whole. A directory that cannot be obeyed changes nothing.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Generation is one generation of the configuration with everything derived from it. It is immutable.
type Generation struct {
	gateconfig.Config
	// Certificate is the gate's serving certificate; its Leaf is set.
	Certificate tls.Certificate
	// Table is the compiled policy.
	Table *decision.Table
	// Tokens verifies bearer tokens, and remembers which rules are for their holders.
	Tokens *token.Verifier[*decision.Match]
	// Pins are the approved definitions.
	Pins inventory.Pins
	// AuthorityDigests are those of the bundles that vouch for clients, by the clients' namespace.
	AuthorityDigests map[string]string
	// OAuth is what callers are told about authorization; nil without an issuer that they could ask for a token.
	OAuth *OAuth

	authorities map[string]*x509.CertPool
	status      *x509.CertPool
	clients     map[gateconfig.Object]gateconfig.Mode // of certificates
	keys        map[string]Key
}

// Key is an accepted API key.
type Key struct {
	Client gateconfig.Object
	// Name is the client's, as "<namespace>/<name>".
	Name     string
	SHA256   [32]byte
	NotAfter time.Time
}

// Authority returns the certificates that vouch for the clients of a namespace, and for no other; nil when there are none.
func (g *Generation) Authority(namespace string) *x509.CertPool { return g.authorities[namespace] }

// StatusAuthority returns the certificates that vouch for readers of the status port; nil when nobody may read it.
func (g *Generation) StatusAuthority() *x509.CertPool { return g.status }

// Has says whether the client exists and may reach this server.
func (g *Generation) Has(client gateconfig.Object) bool {
	_, ok := g.clients[client]
	return ok
}

// TakesCertificates says whether certificates of a client are accepted.
func (g *Generation) TakesCertificates(client gateconfig.Object) bool {
	mode, ok := g.clients[client]
	return ok && mode != gateconfig.Disabled
}

// Key returns the API key with an id.
func (g *Generation) Key(id string) (Key, bool) {
	key, ok := g.keys[id]
	return key, ok
}

// AcceptsHost says whether a Host header, in lower case, is one of the endpoint's.
func (g *Generation) AcceptsHost(host string) bool { return slices.Contains(g.Endpoint.Hosts, host) }

// AcceptsOrigin says whether an Origin header is one of the endpoint's.
func (g *Generation) AcceptsOrigin(origin string) bool {
	return slices.Contains(g.Endpoint.Origins, origin)
}

// Load reads a directory. The kubelet replaces a projected volume by one rename of the link "..data"; so the files are
// read behind that link, resolved once, and belong together. The errors never repeat what is in the files.
func Load(directory string, server gateconfig.Object) (*Generation, error) {
	at := directory
	if real, err := filepath.EvalSymlinks(filepath.Join(directory, dataLink)); err == nil {
		at = real
	}
	document, err := read(at, gateconfig.ConfigFile)
	if err != nil {
		return nil, err
	}
	certificate, err := read(at, gateconfig.CertificateFile)
	if err != nil {
		return nil, err
	}
	key, err := read(at, gateconfig.PrivateKeyFile)
	if err != nil {
		return nil, err
	}
	parsed, err := gateconfig.Parse(document)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", gateconfig.ConfigFile, err)
	}
	if parsed.Server != server {
		return nil, fmt.Errorf("%s: server: the configuration is for another server than --server says", gateconfig.ConfigFile)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: not a certificate and its private key", gateconfig.CertificateFile, gateconfig.PrivateKeyFile)
	}
	return derive(parsed, pair)
}

func derive(c gateconfig.Config, pair tls.Certificate) (*Generation, error) {
	g := &Generation{
		Config:      c,
		Certificate: pair,
		Pins:        inventory.NewPins(c.Tools.Pins),
		authorities: make(map[string]*x509.CertPool, len(c.Authorities)),
		clients:     make(map[gateconfig.Object]gateconfig.Mode, len(c.Clients)),
		keys:        map[string]Key{},

		AuthorityDigests: make(map[string]string, len(c.Authorities)),
	}
	var err error
	if g.Table, err = decision.Compile(c.Policy); err != nil {
		return nil, fmt.Errorf("%s: policy: it cannot be compiled", gateconfig.ConfigFile)
	}
	if g.Tokens, err = token.New(c.TokenIssuers(), func(t *token.Token, claims policy.Token) *decision.Match {
		if t.Issuer.Type == gateconfig.OwnIssuer {
			return nil // no rule is for the operator
		}
		return g.Table.Match(claims, t.Scopes)
	}); err != nil {
		return nil, fmt.Errorf("%s: authentication.tokens: a key is not one", gateconfig.ConfigFile)
	}
	g.OAuth = newOAuth(c)
	for namespace, bundle := range c.Authorities {
		if g.authorities[namespace], err = gateconfig.Pool(bundle); err != nil {
			return nil, fmt.Errorf("%s: authorities: %w", gateconfig.ConfigFile, err)
		}
		g.AuthorityDigests[namespace] = gatestatus.Digest(bundle)
	}
	if c.Status.Authority != "" {
		if g.status, err = gateconfig.Pool(c.Status.Authority); err != nil {
			return nil, fmt.Errorf("%s: status.authority: %w", gateconfig.ConfigFile, err)
		}
	}
	// The operator is a client like any other as far as its keys go. Its certificates need no entry.
	for _, client := range append(slices.Clone(c.Clients), gateconfig.Client{Object: gateconfig.Operator, Keys: c.Verification.Keys, Certificates: gateconfig.Disabled}) {
		g.clients[client.Object] = client.Certificates
		name := client.Object.Namespace + "/" + client.Object.Name
		for _, key := range client.Keys {
			sum, err := hex.DecodeString(key.SHA256)
			if err != nil || len(sum) != 32 {
				return nil, fmt.Errorf("%s: clients: a hash is not one", gateconfig.ConfigFile)
			}
			g.keys[key.ID] = Key{Client: client.Object, Name: name, SHA256: [32]byte(sum), NotAfter: key.NotAfter}
		}
	}
	return g, nil
}

// UpstreamAddress is where the server listens: on loopback, or at a Unix socket.
func (g *Generation) UpstreamAddress() string {
	if g.Upstream.Socket != "" {
		return upstream.SocketAddress(g.Upstream.Socket)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(g.Upstream.Port))
}

func read(directory, file string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(directory, file))
	switch {
	case err == nil:
		return content, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s: missing in the configuration's directory", file)
	default:
		return nil, fmt.Errorf("%s: it cannot be read", file)
	}
}

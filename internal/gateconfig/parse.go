package gateconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// maxDocument bounds a document, in bytes; see Pack for what fits into a Secret.
const maxDocument = 8 << 20

var keyID = regexp.MustCompile(`^[a-z2-7]{16}$`)

// Parse reads a document that Seal made, packed or not, and refuses every other: an unknown field, another schema version, a generation
// that is not the hash of the content, a value that the gate could not obey. Its errors name the field and never repeat
// the content, so that they can be shown in a status.
func Parse(document []byte) (Config, error) {
	document, err := unpack(document)
	if err != nil {
		return Config{}, err
	}
	if len(document) > maxDocument {
		return Config{}, fmt.Errorf("the document is larger than %d bytes", maxDocument)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(document, &head); err != nil {
		return Config{}, errors.New("the document is not JSON of the expected shape")
	}
	if head.Version != Version {
		return Config{}, fmt.Errorf("version: this gate obeys schema version %d only; operator and gate must be of the same release", Version)
	}
	var c Config
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return Config{}, errors.New("the document has an unknown field or one of the wrong type; operator and gate must be of the same release")
	}
	// Byte equality also refuses what encoding/json lets pass: duplicate and case-folded names, trailing data.
	sealed, generation, err := Seal(c)
	if err != nil {
		return Config{}, errors.New("the document cannot be written again")
	}
	if generation != c.Generation {
		return Config{}, errors.New("generation: it is not the hash of the content")
	}
	if !bytes.Equal(sealed, document) {
		return Config{}, errors.New("the document is not in the form that the operator writes")
	}
	return c, c.validate()
}

// Pool returns the certificates of a PEM bundle as a pool of authorities. A bundle with anything else in it is refused.
func Pool(bundle string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	rest := []byte(strings.TrimSpace(bundle))
	if len(rest) == 0 {
		return nil, errors.New("no certificate in it")
	}
	for len(rest) > 0 {
		var block *pem.Block
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("not a bundle of PEM certificates")
		}
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("not a bundle of PEM certificates")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("a certificate cannot be parsed")
		}
		if !certificate.BasicConstraintsValid || !certificate.IsCA {
			return nil, errors.New("a certificate is not an authority's")
		}
		pool.AddCert(certificate)
		rest = bytes.TrimSpace(rest)
	}
	return pool, nil
}

func (c *Config) validate() error {
	if !isLabel(c.Server.Namespace) || !isName(c.Server.Name) {
		return errors.New("server: not a namespace and a name")
	}
	if err := c.Endpoint.validate(); err != nil {
		return err
	}
	if err := c.Upstream.validate(); err != nil {
		return err
	}
	if c.Limits.RequestBytes <= 0 {
		return errors.New("limits.requestBytes: not positive")
	}
	if c.Limits.Depth <= 0 {
		return errors.New("limits.depth: not positive")
	}
	if !c.Limits.PerClient.valid() {
		return errors.New("limits.perClient: not a rate of at least one request")
	}
	if !c.Limits.PerTool.valid() {
		return errors.New("limits.perTool: not a rate of at least one request")
	}
	if s := c.Limits.AnswerWithinSeconds; s < 0 || s > int64(MaxAnswerWithin.Seconds()) {
		return errors.New("limits.answerWithinSeconds: not a time of up to 24 hours")
	}
	if m := c.Authentication.APIKeys; m != Enabled && m != Disabled {
		return errors.New("authentication.apiKeys: not Enabled or Disabled")
	}
	if m := c.Authentication.ClientCertificates; m != Required && m != Optional && m != Disabled {
		return errors.New("authentication.clientCertificates: not Required, Optional or Disabled")
	}
	if err := validateTokens(c.Authentication.Tokens); err != nil {
		return err
	}
	for namespace, bundle := range c.Authorities {
		if !isLabel(namespace) {
			return errors.New("authorities: a key is not a namespace")
		}
		if _, err := Pool(bundle); err != nil {
			return fmt.Errorf("authorities: %w", err)
		}
	}
	if err := c.Status.validate(); err != nil {
		return err
	}
	ids := map[string]bool{}
	if err := validateClients(c.Clients, ids); err != nil {
		return err
	}
	if err := validateKeys("verification", c.Verification.Keys, ids); err != nil {
		return err
	}
	if err := c.Verification.Tokens.validate(); err != nil {
		return err
	}
	if c.Tracing.Mode != "" && c.Tracing.Mode != TracingSampled {
		return errors.New("tracing.mode: not Sampled or empty")
	}
	switch c.Audit.Arguments {
	case "", ArgumentsNone, ArgumentsHash, ArgumentsFull:
	default:
		return errors.New("audit.arguments: not None, Hash or Full")
	}
	if err := c.Tools.validate(); err != nil {
		return err
	}
	for i, rule := range c.Policy.Rules {
		if rule.ID == "" {
			return fmt.Errorf("policy.rules[%d].id: empty", i)
		}
	}
	return nil
}

func (r ClientRate) valid() bool { return r == (ClientRate{}) || r.RPS > 0 && r.Burst > 0 }

func (e *Endpoint) validate() error {
	if u, err := url.Parse(e.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("endpoint.url: not an https URL")
	}
	if !ValidPath(e.Path) {
		return errors.New("endpoint.path: not a plain absolute path")
	}
	if len(e.Hosts) == 0 {
		return errors.New("endpoint.hosts: empty")
	}
	for i, host := range e.Hosts {
		if u, err := url.Parse("https://" + host); host == "" || err != nil || u.Host != host || host != strings.ToLower(host) {
			return fmt.Errorf("endpoint.hosts[%d]: not a lower-case host or host:port", i)
		}
	}
	for i, origin := range e.Origins {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("endpoint.origins[%d]: not scheme://host", i)
		}
	}
	return nil
}

func (u *Upstream) validate() error {
	switch {
	case u.Socket != "" && u.Socket != StdioSocket:
		return errors.New("upstream.socket: not the socket of a Stdio server")
	case u.Socket != "" && u.Port != 0:
		return errors.New("upstream.port: set beside upstream.socket")
	case u.Socket == "" && (u.Port < 1 || u.Port > 65535):
		return errors.New("upstream.port: not a port")
	}
	if u.Port == GatePort || u.Port == StatusPort || u.Port == ProbePort {
		return errors.New("upstream.port: one of the gate's own ports")
	}
	if !ValidPath(u.Path) {
		return errors.New("upstream.path: not a plain absolute path")
	}
	if u.Sessions != Stateless && u.Sessions != Stateful {
		return errors.New("upstream.sessions: not Stateless or Stateful")
	}
	switch u.MinRevision {
	case Revision20250618, Revision20251125, Revision20260728:
		return nil
	default:
		return errors.New("upstream.minRevision: not a revision that the gate speaks")
	}
}

// validate lets an empty Status pass: then nobody may read the status port.
func (s *Status) validate() error {
	if s.Authority == "" && len(s.Identities) == 0 {
		return nil
	}
	if _, err := Pool(s.Authority); err != nil {
		return fmt.Errorf("status.authority: %w", err)
	}
	if len(s.Identities) == 0 {
		return errors.New("status.identities: empty")
	}
	for i, identity := range s.Identities {
		if u, err := url.Parse(identity); err != nil || u.Scheme == "" || u.Host == "" {
			return fmt.Errorf("status.identities[%d]: not a URI", i)
		}
	}
	return nil
}

func validateClients(clients []Client, ids map[string]bool) error {
	for i, client := range clients {
		if !isLabel(client.Namespace) || !isLabel(client.Name) {
			return fmt.Errorf("clients[%d]: not a namespace and a name", i)
		}
		if i > 0 && !clients[i-1].before(client) {
			return fmt.Errorf("clients[%d]: not sorted by namespace and name, or listed twice", i)
		}
		if client.Certificates != "" && client.Certificates != Disabled {
			return fmt.Errorf("clients[%d].certificates: not Disabled", i)
		}
		if err := validateKeys(fmt.Sprintf("clients[%d]", i), client.Keys, ids); err != nil {
			return err
		}
	}
	return nil
}

// validateKeys checks the keys of somebody; ids are those of all keys so far.
func validateKeys(of string, keys []Key, ids map[string]bool) error {
	for i, key := range keys {
		field := fmt.Sprintf("%s.keys[%d]", of, i)
		if !keyID.MatchString(key.ID) {
			return fmt.Errorf("%s.id: not the id of a key", field)
		}
		if ids[key.ID] {
			return fmt.Errorf("%s.id: used twice", field)
		}
		ids[key.ID] = true
		if sum, err := hex.DecodeString(key.SHA256); err != nil || len(sum) != 32 || key.SHA256 != strings.ToLower(key.SHA256) {
			return fmt.Errorf("%s.sha256: not 64 lower-case hex digits", field)
		}
		if key.NotAfter.IsZero() {
			return fmt.Errorf("%s.notAfter: missing", field)
		}
	}
	return nil
}

func (c Client) before(other Client) bool {
	if c.Namespace != other.Namespace {
		return c.Namespace < other.Namespace
	}
	return c.Name < other.Name
}

func isLabel(s string) bool { return len(validation.IsDNS1123Label(s)) == 0 }

func isName(s string) bool { return len(validation.IsDNS1123Subdomain(s)) == 0 }

// ValidPath says whether p has one spelling only: what compares it as bytes and what parses it as a URL agree.
func ValidPath(p string) bool {
	if !strings.HasPrefix(p, "/") || len(p) > 1024 {
		return false
	}
	segments := strings.Split(p[1:], "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." || (segment == "" && i < len(segments)-1) {
			return false
		}
	}
	for _, b := range []byte(p) {
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`%?#;\"<>^`+"`{|}", b) >= 0 {
			return false
		}
	}
	return true
}

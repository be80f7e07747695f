// Package token verifies bearer tokens: JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, signed by one of the
// configured issuers' keys. It is a parser of its own because the accepted part of the standards is so small: one form,
// five algorithms, a key that is known beforehand. Everything else is refused, not ignored.
package token

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

const (
	// MaxLength bounds a token, in bytes.
	MaxLength = 8 << 10
	// Skew is how far an issuer's clock and this one may be apart: a token is accepted that much before its beginning and
	// after its end.
	Skew = 30 * time.Second
)

// Failure is why a token is refused: one word of a closed list, for the audit log. The caller is not told it.
type Failure string

// The failures.
const (
	Malformed  Failure = "token-malformed"
	Algorithm  Failure = "token-algorithm"
	Header     Failure = "token-header"
	Issuer     Failure = "token-issuer"
	UnknownKey Failure = "token-key-unknown"
	Signature  Failure = "token-signature"
	Audience   Failure = "token-audience"
	Expired    Failure = "token-expired"
	NotYet     Failure = "token-not-yet"
	Time       Failure = "token-time"
	Lifetime   Failure = "token-lifetime"
	Subject    Failure = "token-subject"
	Claims     Failure = "token-claims"
	Scopes     Failure = "token-scopes"
)

// Failures are all of them.
var Failures = []Failure{
	Malformed, Algorithm, Header, Issuer, UnknownKey, Signature, Audience, Expired, NotYet, Time, Lifetime, Subject, Claims, Scopes,
}

// Token is a verified token. It holds no part of the signature.
type Token struct {
	// Issuer is the configured issuer.
	Issuer *gateconfig.TokenIssuer
	// Subject is the token's "sub".
	Subject string
	// Scopes are those of the token.
	Scopes []string
	// NotBefore and NotAfter are when the token is accepted, the skew included.
	NotBefore, NotAfter time.Time
}

// Verifier verifies the tokens of a set of issuers. It is for one generation of the configuration: what it remembers goes
// with it, so that no token outlives a key, a policy or an issuer.
type Verifier[T any] struct {
	issuers map[string]*issuer
	derive  func(*Token, policy.Token) T
	memory  memory[T]
}

type issuer struct {
	*gateconfig.TokenIssuer
	keys map[string]key
	// unknown counts tokens that name a key which is not known, last is the Unix time of the last one.
	unknown, last atomic.Int64
}

type key struct {
	algorithms []gateconfig.Algorithm
	public     any
	notAfter   time.Time // zero: none
}

// ended says whether a time is over for the key.
func (k *key) ended(now time.Time) bool { return !k.notAfter.IsZero() && !now.Before(k.notAfter) }

// Verified is a verified token and what was derived from it.
type Verified[T any] struct {
	Token
	Derived T
}

// New returns a Verifier. Derive is called once for each token that is verified, with its claims; its result is remembered
// with the token.
func New[T any](issuers []gateconfig.TokenIssuer, derive func(*Token, policy.Token) T) (*Verifier[T], error) {
	v := &Verifier[T]{issuers: map[string]*issuer{}, derive: derive}
	for i := range issuers {
		one := &issuer{TokenIssuer: &issuers[i], keys: map[string]key{}}
		for _, k := range issuers[i].Keys {
			public, err := k.Public()
			if err != nil {
				return nil, err
			}
			one.keys[k.ID] = key{algorithms: k.Algorithms, public: public, notAfter: k.NotAfter}
		}
		v.issuers[one.TokenIssuer.Issuer] = one
	}
	return v, nil
}

// Known returns a token that was verified before and is still good. It costs a hash.
func (v *Verifier[T]) Known(text string, now time.Time) (*Verified[T], bool) {
	if len(text) > MaxLength {
		return nil, false
	}
	found, ok := v.memory.get(digest(text))
	if !ok || now.Before(found.NotBefore) || !now.Before(found.NotAfter) {
		return nil, false
	}
	return found, true
}

// Verify verifies a token, and remembers it if it is good. It costs a signature check at most: who wants to bound what
// strangers can have the gate compute does so between Known and this.
func (v *Verifier[T]) Verify(text string, now time.Time) (*Verified[T], Failure) {
	claims, failure := v.verify(text, now)
	if failure != "" {
		return nil, failure
	}
	verified := &Verified[T]{Token: claims.token}
	verified.Derived = v.derive(&verified.Token, claims)
	v.memory.put(digest(text), verified)
	return verified, ""
}

func (v *Verifier[T]) verify(text string, now time.Time) (*claims, Failure) {
	p, failure := split(text)
	if failure != "" {
		return nil, failure
	}
	h, failure := readHeader(p.header)
	if failure != "" {
		return nil, failure
	}
	c, failure := readClaims(p.payload)
	if failure != "" {
		return nil, failure
	}
	from, ok := v.issuers[c.issuer]
	if !ok {
		return nil, Issuer
	}
	with, ok := from.keys[h.key]
	if !ok || with.ended(now) {
		from.unknown.Add(1)
		from.last.Store(now.Unix())
		return nil, UnknownKey
	}
	if !slices.Contains(with.algorithms, h.algorithm) {
		return nil, Algorithm
	}
	if !signed(h.algorithm, with.public, p.signed, p.signature) {
		return nil, Signature
	}
	failure = c.judge(from.TokenIssuer, now)
	if with.ended(c.token.NotAfter) {
		c.token.NotAfter = with.notAfter
	}
	return c, failure
}

// Unknown is what was seen of tokens that name a key which is not known.
type Unknown struct {
	// Issuer is the name of the issuer.
	Issuer string
	Count  int64
	Last   time.Time
}

// Unknown returns the issuers that were said to have signed with an unknown key, sorted by name. The operator knows its own.
func (v *Verifier[T]) Unknown() []Unknown {
	var all []Unknown
	for _, i := range v.issuers {
		if n := i.unknown.Load(); n > 0 && i.Type != gateconfig.OwnIssuer {
			all = append(all, Unknown{Issuer: i.Name, Count: n, Last: time.Unix(i.last.Load(), 0).UTC()})
		}
	}
	slices.SortFunc(all, func(a, b Unknown) int { return strings.Compare(a.Issuer, b.Issuer) })
	return all
}

// digest hashes a token. Most are short enough for a buffer that costs little to clear.
func digest(text string) [32]byte {
	var short [1 << 10]byte
	if len(text) <= len(short) {
		return sha256.Sum256(short[:copy(short[:], text)])
	}
	var buffer [MaxLength]byte
	return sha256.Sum256(buffer[:copy(buffer[:], text)])
}

// memory holds verified tokens by the hash of the whole token, signature included. It has two halves: when the young one
// is full it becomes the old one, whose tokens are forgotten, so the bound needs no order.
type memory[T any] struct {
	mu         sync.RWMutex
	young, old map[[32]byte]*Verified[T]
}

// half bounds one half of the memory, in tokens of about half a kilobyte.
const half = 2048

func (m *memory[T]) get(key [32]byte) (*Verified[T], bool) {
	m.mu.RLock()
	found, ok := m.young[key]
	aged := false
	if !ok {
		found, aged = m.old[key]
	}
	m.mu.RUnlock()
	if aged {
		m.put(key, found)
	}
	return found, ok || aged
}

func (m *memory[T]) put(key [32]byte, verified *Verified[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || len(m.young) >= half {
		m.old, m.young = m.young, map[[32]byte]*Verified[T]{}
	}
	m.young[key] = verified
}

package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"
)

// Signer signs tokens of the operator's own for the gates of one server. There is one beside each key of a series: it is accepted,
// and retired, with that.
type Signer struct {
	// ID is the "kid" of its tokens.
	ID string
	// NotAfter is when gates that nobody tells accept it no more.
	NotAfter time.Time

	private ed25519.PrivateKey
}

// Public is the key that its signatures are checked with.
func (s Signer) Public() ed25519.PublicKey { return s.private.Public().(ed25519.PublicKey) }

// Sign signs a message with Ed25519.
func (s Signer) Sign(message []byte) []byte { return ed25519.Sign(s.private, message) }

// String keeps the private key out of logs and errors.
func (s Signer) String() string { return "signer " + s.ID }

// GoString keeps the private key out of %#v.
func (s Signer) GoString() string { return s.String() }

// Audience is whom the operator's own tokens are for: the server of the series, and no other.
func (s Series) Audience() string { return "urn:uuid:" + s.Name }

// Signer is the one beside the key at a place of the series.
func (s Series) Signer(n int) (Signer, error) {
	seed, err := hkdf.Key(sha256.New, s.Secret, nil, fmt.Sprintf("bartizan synthetic issuer\x00%s\x00%d\x00%d", s.Name, s.Since.Unix(), n), ed25519.SeedSize)
	if err != nil {
		return Signer{}, fmt.Errorf("deriving a key to sign tokens with: %w", err)
	}
	signer := Signer{NotAfter: s.ends(n), private: ed25519.NewKeyFromSeed(seed)}
	sum := sha256.Sum256(signer.Public())
	signer.ID = encoding.EncodeToString(sum[:10])
	return signer, nil
}

// Signers are those whose tokens gates accept at a time: beside the keys that they accept.
func (s Series) Signers(now time.Time) ([]Signer, error) {
	var all []Signer
	present, _ := s.Present(now)
	for n := present; n <= present+1; n++ {
		signer, err := s.Signer(n)
		if err != nil {
			return nil, err
		}
		all = append(all, signer)
	}
	return all, nil
}

// Package keys is the format of API keys, mcpk_<id>_<secret>: the id is public and names the key in configurations,
// statuses and logs; the secret has 256 random bits, so a plain hash of the key is enough to recognise it.
package keys

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Prefix begins every key, so that scanners for leaked secrets find it.
const Prefix = "mcpk_"

// The lengths of the parts of a key, in characters of lower-case base32 without padding.
const (
	IDLength     = 16
	SecretLength = 52
)

// Length is the length of a key, in bytes.
const Length = len(Prefix) + IDLength + 1 + SecretLength

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// errFormat never repeats the text: it may be a key with a typing error.
var errFormat = errors.New("not an API key of the form mcpk_<id>_<secret>")

// Key is an API key in plain text, for the one who makes it.
type Key struct {
	ID string
	// Text is the whole key. It is a secret.
	Text string
}

// String keeps the secret out of logs and errors.
func (k Key) String() string { return Prefix + k.ID + "_…" }

// GoString keeps the secret out of %#v.
func (k Key) GoString() string { return k.String() }

// New makes a key from a source of randomness.
func New(random io.Reader) (Key, error) {
	var bits [10 + 32]byte
	if _, err := io.ReadFull(random, bits[:]); err != nil {
		return Key{}, fmt.Errorf("making an API key: %w", err)
	}
	id := encoding.EncodeToString(bits[:10])
	return Key{ID: id, Text: Prefix + id + "_" + encoding.EncodeToString(bits[10:])}, nil
}

// Parse returns the id of a key. It says nothing about whether the key is accepted anywhere.
func Parse(text string) (id string, err error) {
	if len(text) != Length || !strings.HasPrefix(text, Prefix) || text[len(Prefix)+IDLength] != '_' {
		return "", errFormat
	}
	id = text[len(Prefix) : len(Prefix)+IDLength]
	if !isBase32(id) || !isBase32(text[len(Prefix)+IDLength+1:]) {
		return "", errFormat
	}
	return id, nil
}

// The bounds of a key that was not made here, in characters: 43 of base64url have 256 bits.
const (
	MinForeign = 43
	MaxForeign = 256
	// minDistinct is how many different characters a key that was not made here has at least: what has fewer was not drawn at
	// random.
	minDistinct = 12
)

var errForeign = fmt.Errorf("neither a key of the form mcpk_<id>_<secret>, nor %d to %d random characters of A-Z, a-z, 0-9, - and _, at least %d different ones",
	MinForeign, MaxForeign, minDistinct)

// Identify returns the id of a key of either form: ours, or one that was made elsewhere, whose id are the first 80 bits of its
// hash. So a gate finds both by what the caller shows, and the id tells nothing that the hash does not.
func Identify(text string) (id string, err error) {
	if strings.HasPrefix(text, Prefix) {
		return Parse(text)
	}
	if len(text) < MinForeign || len(text) > MaxForeign {
		return "", errForeign
	}
	var seen [128]bool
	distinct := 0
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", errForeign
		}
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	if distinct < minDistinct {
		return "", errForeign
	}
	sum := sha256.Sum256([]byte(text))
	return encoding.EncodeToString(sum[:10]), nil
}

// Hash is the hex SHA-256 of the whole key: what gates are given.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func isBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

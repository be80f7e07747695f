// Package handle seals what a server gives its client to bring back: the state of a request that wants input, and the ids of
// tasks. What is sealed opens only for whom and for what it was made. Unlike a session it may come back to another replica, so
// all replicas of a server seal alike: with a key that follows from the private key of the certificate that they share.
package handle

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"
)

const (
	// MaxPlain bounds what is sealed, in bytes; maxSealed follows.
	MaxPlain  = 64 << 10
	maxSealed = MaxPlain*4/3 + 128
	// maxKeys is how many keys of earlier certificates still open. Certificates are renewed once in hours.
	maxKeys = 4
	// settle is for how long a new key only opens: until every replica has its certificate.
	settle = 5 * time.Minute

	nonceSize = 12
)

// ErrUnknown is the one answer to a handle that does not open: made up, of another principal or request, or too old.
var ErrUnknown = errors.New("unknown handle")

// Ring is the keys that follow from a server's certificates. Its zero value has none. It is safe for concurrent use.
type Ring struct {
	mu sync.RWMutex
	// keys are the newest first.
	keys []*key
}

type key struct {
	id    [sha256.Size]byte
	since time.Time
	aead  cipher.AEAD
	nonce []byte
}

// Learn adds the key that follows from a private key for a server, if it is not known.
func (r *Ring) Learn(private crypto.PrivateKey, server string, now time.Time) error {
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return errors.New("the private key is of a kind that has no form")
	}
	derive := func(what string, n int) []byte {
		if err == nil {
			var b []byte
			if b, err = hkdf.Key(sha256.New, secret, nil, "bartizan gate handles: "+what+" "+server, n); err == nil {
				return b
			}
		}
		return nil
	}
	id, encrypt, nonce := derive("id", sha256.Size), derive("key", 32), derive("nonce", 32)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(encrypt)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range r.keys {
		if subtle.ConstantTimeCompare(known.id[:], id) == 1 {
			return nil
		}
	}
	r.keys = append([]*key{{id: [sha256.Size]byte(id), since: now, aead: aead, nonce: nonce}}, r.keys...)
	r.keys = r.keys[:min(len(r.keys), maxKeys)]
	return nil
}

// Seal seals bytes, bound to parts which Open must be given again. Equal bytes and parts give the same handle for as long as
// the key is in use.
func (r *Ring) Seal(now time.Time, plain []byte, parts ...string) (string, error) {
	if len(plain) > MaxPlain {
		return "", errors.New("too long to be sealed")
	}
	k := r.current(now)
	if k == nil {
		return "", errors.New("there is no key to seal with")
	}
	bound := binding(parts)
	// The nonce is a function of all that is sealed, so that no two messages ever share one.
	mac := hmac.New(sha256.New, k.nonce)
	_, _ = mac.Write(bound)
	_, _ = mac.Write(plain)
	nonce := mac.Sum(nil)[:nonceSize]
	return base64.RawURLEncoding.EncodeToString(k.aead.Seal(nonce, nonce, plain, bound)), nil
}

// current is the newest key that other replicas have too; a process that has just begun takes what there is.
func (r *Ring) current(now time.Time) *key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i, k := range r.keys {
		if i == len(r.keys)-1 || now.Sub(k.since) >= settle {
			return k
		}
	}
	return nil
}

// Open returns what was sealed with the same parts.
func (r *Ring) Open(sealed string, parts ...string) ([]byte, error) {
	// encoding/base64 skips line breaks; a handle has one spelling.
	if len(sealed) > maxSealed || strings.ContainsAny(sealed, "\r\n") {
		return nil, ErrUnknown
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(raw) < nonceSize {
		return nil, ErrUnknown
	}
	bound := binding(parts)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, k := range r.keys {
		if plain, err := k.aead.Open(nil, raw[:nonceSize], raw[nonceSize:], bound); err == nil {
			return plain, nil
		}
	}
	return nil, ErrUnknown
}

// SealUntil is Seal for what is worth something only until a time.
func (r *Ring) SealUntil(end, now time.Time, plain []byte, parts ...string) (string, error) {
	return r.Seal(now, append(binary.BigEndian.AppendUint64(nil, uint64(end.Unix())), plain...), parts...)
}

// OpenUntil opens what SealUntil sealed, if its time is not over.
func (r *Ring) OpenUntil(now time.Time, sealed string, parts ...string) ([]byte, error) {
	plain, err := r.Open(sealed, parts...)
	if err != nil || len(plain) < 8 || uint64(now.Unix()) >= binary.BigEndian.Uint64(plain) {
		return nil, ErrUnknown
	}
	return plain[8:], nil
}

// binding joins parts so that no two lists of parts give the same bytes.
func binding(parts []string) []byte {
	var b []byte
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

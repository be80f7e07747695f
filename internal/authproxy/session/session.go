// Package session seals what a server gives out as handles of a legacy session: session ids and event ids. A sealed
// handle opens only for the principal that it was made for, so no table is kept and a stolen handle is worth nothing.
package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// maxHandle bounds a server's own handle, in bytes; maxSealed follows for ours.
const (
	maxHandle = 1024
	// maxAbout bounds what an event's stream is about: a kind and a name.
	maxAbout  = 1 + 2048
	maxSealed = (maxHandle+maxAbout)*4/3 + 128
	// separator is in no handle.
	separator = ' '
)

// ErrUnknown is the one answer to a handle that does not open: unknown, of another principal, of before a restart.
var ErrUnknown = errors.New("unknown session")

// ErrHandle is for a server's handle that MCP does not allow: not visible ASCII, empty or too long.
var ErrHandle = errors.New("the server's handle is not visible ASCII")

// Sealer seals with a key of its own: handles do not outlive it.
type Sealer struct{ aead cipher.AEAD }

// NewSealer makes a Sealer with a random key.
func NewSealer() (*Sealer, error) {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead}, nil
}

// Session is what a sealed session id stands for.
type Session struct {
	// ID is the server's own session id.
	ID string
	// Revision is the revision of the protocol that the session was begun with.
	Revision gateconfig.Revision
	// Process names the process of the server that began it; empty where that is not known.
	Process string
}

// SealSession seals a session for a principal.
func (s *Sealer) SealSession(principal string, session Session) (string, error) {
	if !isHandle(session.ID) || strings.ContainsRune(string(session.Revision)+session.Process, separator) {
		return "", ErrHandle
	}
	plain := string(session.Revision) + string(separator) + session.Process + string(separator) + session.ID
	return s.seal([]byte(plain), binding("session", principal)), nil
}

// OpenSession returns the session of a sealed session id.
func (s *Sealer) OpenSession(principal, sealed string) (Session, error) {
	plain, err := s.open(sealed, binding("session", principal))
	if err != nil {
		return Session{}, err
	}
	revision, rest, _ := strings.Cut(string(plain), string(separator))
	process, id, _ := strings.Cut(rest, string(separator))
	return Session{ID: id, Revision: gateconfig.Revision(revision), Process: process}, nil
}

// SealEvent seals a server's event id for a principal and its session, named by the server's own session id, with what the stream
// is about that it is from.
func (s *Sealer) SealEvent(principal, session, id, about string) (string, error) {
	if !isHandle(id) || len(about) > maxAbout {
		return "", ErrHandle
	}
	return s.seal([]byte(id+string(separator)+about), binding("event", principal, session)), nil
}

// OpenEvent returns the server's event id of a sealed one, and what its stream is about.
func (s *Sealer) OpenEvent(principal, session, sealed string) (id, about string, err error) {
	plain, err := s.open(sealed, binding("event", principal, session))
	id, about, _ = strings.Cut(string(plain), string(separator))
	return id, about, err
}

func (s *Sealer) seal(plain, bound []byte) string {
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, bound))
}

func (s *Sealer) open(sealed string, bound []byte) ([]byte, error) {
	// encoding/base64 skips line breaks; a handle has one spelling.
	if len(sealed) > maxSealed || strings.ContainsAny(sealed, "\r\n") {
		return nil, ErrUnknown
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return nil, ErrUnknown
	}
	plain, err := s.aead.Open(nil, nil, raw, bound)
	if err != nil {
		return nil, ErrUnknown
	}
	return plain, nil
}

// binding joins parts so that no two lists of parts give the same bytes.
func binding(parts ...string) []byte {
	var b []byte
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

func isHandle(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return s != "" && len(s) <= maxHandle
}

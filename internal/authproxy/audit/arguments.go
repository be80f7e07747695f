package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// redacted stands for what is not shown.
const redacted = `"[redacted]"`

// secretNames are parts of the names of members that hold secrets, as fold writes them.
var secretNames = []string{"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "credential", "authorization", "cookie", "session"}

// secretTexts are parts of texts that hold secrets, wherever they are.
var secretTexts = []string{"mcpk_", "-----BEGIN ", "Bearer ", "bearer ", "BEARER ", "Basic ", "eyJ", "AKIA", "ghp_", "github_pat_", "xoxb-", "sk-"}

// Hasher makes keyed hashes of arguments. Its key is random and leaves the process by no way: equal arguments can be told
// to be equal within a boot, and nobody can try out what they were.
type Hasher struct{ key [32]byte }

// NewHasher returns a Hasher with a key of its own.
func NewHasher() (*Hasher, error) {
	h := &Hasher{}
	_, err := rand.Read(h.key[:])
	return h, err
}

// Hash returns the keyed hash of a JSON value, the same for each of its spellings.
func (h *Hasher) Hash(arguments []byte) string {
	canonical := jsontext.Value(append([]byte(nil), arguments...))
	if canonical.Canonicalize() != nil {
		canonical = arguments
	}
	mac := hmac.New(sha256.New, h.key[:])
	_, _ = mac.Write(canonical)
	return hex.EncodeToString(mac.Sum(nil))
}

// Redact returns a JSON value that was read strictly, compact, without what looks like a secret: the values of members with
// names that contain one of names or of the built-in ones, and texts that look like a credential, be they values or names. It errs
// on the side of hiding, and cannot know every secret.
func Redact(arguments []byte, depth int, names []string) []byte {
	folded := make([]string, 0, len(names))
	for _, name := range names {
		if f := fold(name); f != "" {
			folded = append(folded, f)
		}
	}
	s := strictjson.New(arguments, depth)
	defer s.Release()
	out := redact(make([]byte, 0, len(arguments)), s, append(folded, secretNames...))
	if s.End() != nil {
		return nil
	}
	return out
}

func redact(out []byte, s *strictjson.Scanner, names []string) []byte {
	switch s.Kind() {
	case '{':
		out = append(out, '{')
		first, hidden := true, false
		for s.Enter('{', nil); s.Member(); {
			name := string(s.Name())
			secret := hides(name, secretTexts)
			if secret && hidden {
				// No name is there twice.
				s.Skip()
				continue
			}
			if !first {
				out = append(out, ',')
			}
			first = false
			if secret {
				hidden = true
				s.Skip()
				out = append(append(append(out, redacted...), ':'), redacted...)
				continue
			}
			out = append(appendText(out, name, maxArguments), ':')
			if hides(fold(name), names) {
				s.Skip()
				out = append(out, redacted...)
				continue
			}
			out = redact(out, s, names)
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		first := true
		for s.Enter('[', nil); s.Element(); first = false {
			if !first {
				out = append(out, ',')
			}
			out = redact(out, s, names)
		}
		return append(out, ']')
	case '"':
		text := string(s.String())
		if hides(text, secretTexts) {
			return append(out, redacted...)
		}
		return appendText(out, text, 2*maxArguments)
	}
	return append(out, s.Skip()...)
}

func hides(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// fold is a name in lower case, without what separates its words.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '-', '_', '.', ' ':
			return -1
		}
		return r
	}, strings.ToLower(name))
}

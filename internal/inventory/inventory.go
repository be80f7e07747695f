// Package inventory is what an MCP server offers, definition by definition: the canonical form and hash of each, which
// tools are risky, and how two definitions differ. It is pure; what it reads comes from servers and is hostile.
package inventory

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// Kind is a kind of definition.
type Kind string

// The kinds of definitions. Resources are listed but never pinned: they come and go with the data behind a server.
const (
	Tool     Kind = "Tool"
	Prompt   Kind = "Prompt"
	Template Kind = "ResourceTemplate"
	// Instructions is the text that a server gives to the model; its name is InstructionsName.
	Instructions Kind = "Instructions"
	Resource     Kind = "Resource"
)

// InstructionsName is the name of the one definition of the kind Instructions.
const InstructionsName = "instructions"

const (
	// MaxName bounds a name, in bytes. Those of resources and templates are URIs.
	MaxName = 2048
	// MaxDefinition bounds one definition, in bytes.
	MaxDefinition = 256 << 10
	// maxDepth bounds the nesting of a definition.
	maxDepth = 128
)

// The ways in which something is no definition. They tell nothing of its content.
var (
	ErrDefinition = errors.New("a definition is not an object with a name, or has more than one reading")
	ErrSize       = errors.New("a definition is larger than 256 KiB, or its name longer than 2048 bytes")
)

// Item is one definition.
type Item struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// SHA256 is the hex SHA-256 of the canonical form.
	SHA256 string `json:"sha256"`
	// Definition is the canonical form (RFC 8785) of the whole definition; empty where it was left out to save space.
	Definition json.RawMessage `json:"definition,omitempty"`
}

// Key names what a server may have one definition of.
type Key struct {
	Kind Kind
	Name string
}

// Key returns the item's Key.
func (i Item) Key() Key { return Key{i.Kind, i.Name} }

// Compare orders items by kind, name and hash.
func (i Item) Compare(other Item) int {
	if c := strings.Compare(string(i.Kind), string(other.Kind)); c != 0 {
		return c
	}
	if c := strings.Compare(i.Name, other.Name); c != 0 {
		return c
	}
	return strings.Compare(i.SHA256, other.SHA256)
}

// Pinnable says whether definitions of a kind can be pinned.
func (k Kind) Pinnable() bool {
	return k == Tool || k == Prompt || k == Template || k == Instructions
}

// nameField is the member that names a definition of a kind.
func (k Kind) nameField() string {
	switch k {
	case Resource:
		return "uri"
	case Template:
		return "uriTemplate"
	}
	return "name"
}

// names are the members of a definition that are read by name. A name that a lenient parser takes for one of them is refused.
var names = strictjson.Open("name", "uri", "uriTemplate", "title", "description", "inputSchema", "outputSchema", "annotations", "icons", "_meta")

// NewItem reads a definition as a server listed it: an object, or for Instructions a string. Nothing is kept of raw.
func NewItem(kind Kind, raw []byte) (Item, error) {
	if len(raw) > MaxDefinition {
		return Item{}, ErrSize
	}
	name, err := nameOf(kind, raw)
	if err != nil {
		return Item{}, err
	}
	canonical, err := Canonical(raw)
	if err != nil {
		return Item{}, err
	}
	sum := sha256.Sum256(canonical)
	return Item{Kind: kind, Name: name, SHA256: hex.EncodeToString(sum[:]), Definition: canonical}, nil
}

func nameOf(kind Kind, raw []byte) (string, error) {
	s := strictjson.New(raw, maxDepth)
	defer s.Release()
	name := ""
	if kind == Instructions {
		_, name = s.Skip(), InstructionsName
		if len(raw) == 0 || raw[0] != '"' {
			return "", ErrDefinition
		}
	} else {
		for s.Enter('{', names); s.Member(); {
			if string(s.Name()) == kind.nameField() {
				name = string(s.String())
				continue
			}
			s.Skip()
		}
	}
	switch {
	case s.End() != nil || name == "":
		return "", ErrDefinition
	case len(name) > MaxName:
		return "", ErrSize
	}
	return name, nil
}

// InputSchema is the input schema in the definition of a tool; nil without one.
func InputSchema(definition []byte) (schema []byte) {
	s := strictjson.New(definition, maxDepth)
	defer s.Release()
	for s.Enter('{', names); s.Member(); {
		if raw := s.Name(); string(raw) == "inputSchema" {
			schema = s.Skip()
			continue
		}
		s.Skip()
	}
	if s.End() != nil {
		return nil
	}
	return schema
}

// Canonical is the canonical form (RFC 8785) of a JSON text that has one reading.
func Canonical(raw []byte) ([]byte, error) {
	value := jsontext.Value(slices.Clone(raw))
	if !utf8.Valid(raw) || value.Canonicalize() != nil || overflows(raw, value) {
		return nil, ErrDefinition
	}
	return value, nil
}

// overflows says whether a number was beyond the largest double: RFC 8785 has no form for it, and jsontext takes the largest.
func overflows(raw, canonical []byte) bool {
	const largest = "1.7976931348623157e+308"
	return bytes.Count(canonical, []byte(largest)) > bytes.Count(bytes.ToLower(raw), []byte(largest))
}

// Hash is the hex SHA-256 of the canonical form of a definition.
func Hash(raw []byte) (string, error) {
	canonical, err := Canonical(raw)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// Sort puts items into their order and leaves repeated ones out.
func Sort(items []Item) []Item {
	slices.SortFunc(items, Item.Compare)
	return slices.CompactFunc(items, func(a, b Item) bool { return a.Compare(b) == 0 })
}

// Digest is the hex SHA-256 of sorted items as a whole.
func Digest(items []Item) string {
	h := sha256.New()
	for _, item := range items {
		// Lengths are implied: a hash has 64 bytes, and a kind has no line break. A hash never fails to write.
		_, _ = h.Write([]byte(string(item.Kind) + "\n" + item.SHA256 + "\n"))
		name := sha256.Sum256([]byte(item.Name))
		_, _ = h.Write(name[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

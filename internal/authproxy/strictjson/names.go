package strictjson

import (
	"unicode"
	"unicode/utf8"
)

// Names is a rule for the member names of an object that a decision reads. Lenient parsers ignore case (Go's
// encoding/json, with U+017F for s and U+212A for k; Jackson and .NET on request), hyphens and underscores (Go's json/v2
// on request), or end a name at a NUL. So such an object has only names of printable ASCII without quotes and
// backslashes, no two of which are equal without case, hyphens and underscores, and none that equals a known name only that way.
type Names struct {
	closed, any bool
	known       []known
}

type known struct{ name, folded string }

// Open is the rule that further names than the known ones may occur.
func Open(names ...string) *Names { return newNames(false, names) }

// Closed is the rule that only the known names may occur.
func Closed(names ...string) *Names { return newNames(true, names) }

// Alike is the rule for objects of content: any names may occur, but no two that a lenient parser could take for one. It ignores the
// case of letters of other scripts, too.
var Alike = &Names{any: true}

// Fold is a name as Alike compares it.
func Fold(name string) string { return string(foldAny(nil, []byte(name))) }

func newNames(closed bool, names []string) *Names {
	n := &Names{closed: closed}
	for _, name := range names {
		folded, err := (&Names{}).fold(nil, []byte(name))
		if err != nil {
			panic("strictjson: a known name is not plain: " + name)
		}
		n.known = append(n.known, known{name: name, folded: string(folded)})
	}
	return n
}

// The classes of bytes in names, besides the folded byte itself.
const (
	refused = 0
	ignored = 1
)

// folding is the folded byte of each byte, or its class.
var folding = func() (t [256]byte) {
	for c := byte('!'); c <= '~'; c++ {
		t[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] = c | 0x20
	}
	t['-'], t['_'] = ignored, ignored
	t['"'], t['\\'] = refused, refused
	return t
}()

// fold appends the folded name to dst, if the rule allows the name.
func (n *Names) fold(dst, name []byte) ([]byte, error) {
	if n.any {
		return foldAny(dst, name), nil
	}
	start := len(dst)
	for _, c := range name {
		switch f := folding[c]; f {
		case refused:
			return dst, ErrVariant
		case ignored:
		default:
			dst = append(dst, f)
		}
	}
	folded := dst[start:]
	for i := range n.known {
		k := &n.known[i]
		if len(folded) != len(k.folded) || string(folded) != k.folded {
			continue
		}
		if string(name) != k.name {
			return dst, ErrVariant
		}
		return dst, nil
	}
	if n.closed {
		return dst, ErrUnknown
	}
	return dst, nil
}

// foldAny appends a folded name of any characters.
func foldAny(dst, name []byte) []byte {
	for i := 0; i < len(name); {
		c := name[i]
		if c < utf8.RuneSelf {
			if f := folding[c]; f == refused {
				dst = append(dst, c)
			} else if f != ignored {
				dst = append(dst, f)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(name[i:])
		// The upper case of U+017F is S, the lower case of U+212A k.
		dst = utf8.AppendRune(dst, unicode.ToLower(unicode.ToUpper(r)))
		i += size
	}
	return dst
}

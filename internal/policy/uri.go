package policy

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The reasons to refuse a URI. None repeats it.
var (
	errURILength    = errors.New("is empty or too long")
	errURIScheme    = errors.New(`does not begin with a scheme, such as "file:"`)
	errURICharacter = errors.New("has a character that a URI must not have unencoded (RFC 3986)")
	errURIUserinfo  = errors.New(`has userinfo ("@" before the path)`)
	errURIDots      = errors.New("has a segment of nothing but dots")
	errURIEmpty     = errors.New(`has an empty segment ("//" in the path)`)
	errURIFragment  = errors.New(`has a fragment ("#")`)
	errURIEncoding  = errors.New("has a broken percent-encoding")
	errURIEncoded   = errors.New(`has an encoded separator, dot, "%" or control character`)
	errURIHost      = errors.New("has a percent-encoding in the authority")
)

// ValidURI refuses a URI that two programs could take for two different things. Nothing is ever normalised: a URI is
// matched as the bytes that it is, so a URI that a server could normalise to another one is no URI here. Refused are
// dot segments, empty segments, userinfo, fragments, and encoded separators, dots, percent signs and control
// characters, also as characters that Unicode's compatibility forms (NFKC) turn into one of them.
func ValidURI(uri string) error {
	if uri == "" || len(uri) > MaxValue {
		return errURILength
	}
	colon := strings.IndexByte(uri, ':')
	if colon < 1 || !letter(uri[0]) {
		return errURIScheme
	}
	for i := range colon {
		if c := uri[i]; !letter(c) && !digit(c) && c != '+' && c != '-' && c != '.' {
			return errURIScheme
		}
	}
	rest := uri[colon+1:]
	encoded := false
	for i := range len(rest) {
		switch class[rest[i]] {
		case fragment:
			return errURIFragment
		case percent:
			encoded = true
		case invalid:
			return errURICharacter
		}
	}
	if encoded {
		if err := validEncoding(rest); err != nil {
			return err
		}
	}
	path := rest
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		end := strings.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		authority := after[:end]
		path = after[end:]
		switch {
		case strings.Contains(authority, "@"):
			return errURIUserinfo
		case strings.Contains(authority, "%"):
			return errURIHost
		}
	}
	path, query, _ := strings.Cut(path, "?")
	if strings.Contains(path, "//") {
		return errURIEmpty
	}
	if strings.ContainsAny(path, "[]") || strings.ContainsAny(query, "[]") {
		return errURICharacter
	}
	return validSegments(rest)
}

// The classes of bytes in a URI (RFC 3986, section 2). A delimiter is one that a server could split at.
const (
	invalid = iota
	ordinary
	delimiter
	percent
	fragment
)

var class = func() (t [256]uint8) {
	for c := range t {
		if letter(byte(c)) || digit(byte(c)) {
			t[c] = ordinary
		}
	}
	for _, c := range []byte("-._~[]!$'()*+") {
		t[c] = ordinary
	}
	for _, c := range []byte("/?&=;,:@") {
		t[c] = delimiter
	}
	t['%'], t['#'] = percent, fragment
	return t
}()

// validSegments refuses a part of nothing but dots, whatever delimits it: a segment of the path, with parameters or
// without, a host, or a value in a query that a server could join to a path. An encoded space counts as nothing.
func validSegments(rest string) error {
	dots, other := false, false
	for i := 0; i <= len(rest); i++ {
		switch {
		case i == len(rest) || class[rest[i]] == delimiter:
			if dots && !other {
				return errURIDots
			}
			dots, other = false, false
		case rest[i] == '.':
			dots = true
		case strings.HasPrefix(rest[i:], "%20"):
			i += 2
		default:
			other = true
		}
	}
	return nil
}

// validEncoding checks the percent-encodings.
func validEncoding(rest string) error {
	plain := make([]byte, 0, len(rest))
	ascii := true
	for i := 0; i < len(rest); i++ {
		if rest[i] != '%' {
			plain = append(plain, rest[i])
			continue
		}
		if i+2 >= len(rest) {
			return errURIEncoding
		}
		high, ok := hex(rest[i+1])
		low, ok2 := hex(rest[i+2])
		if !ok || !ok2 {
			return errURIEncoding
		}
		c := high<<4 | low
		if c < ' ' || c == 0x7f || strings.IndexByte(`/\.%?#;`, c) >= 0 {
			return errURIEncoded
		}
		ascii = ascii && c < utf8.RuneSelf
		plain = append(plain, c)
		i += 2
	}
	if ascii {
		return nil
	}
	if !utf8.Valid(plain) {
		return errURIEncoding
	}
	for _, r := range string(plain) {
		if r < utf8.RuneSelf {
			continue
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsAny(norm.NFKC.String(string(r)), `/\.%?#;:@`) {
			return errURIEncoded
		}
	}
	return nil
}

func hex(c byte) (byte, bool) {
	switch {
	case digit(c):
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

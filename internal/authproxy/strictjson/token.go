package strictjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

func (s *Scanner) space() { s.pos = blank(s.data, s.pos) }

// blank returns where the white space at i ends.
func blank(data []byte, i int) int {
	for i < len(data) && data[i] <= ' ' && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return i
}

// special are the bytes that end the plain run of a string: the quote, the escape, and control characters.
var special = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// Eight bytes at once: the same byte in each, and the highest bit of each.
const (
	each    = 0x0101010101010101
	highest = 0x8080808080808080
)

// plain returns where the plain run of a string ends that goes on at i; len(data) if it does not.
func plain(data []byte, i int) int {
	for ; i+8 <= len(data); i += 8 {
		eight := binary.LittleEndian.Uint64(data[i:])
		// Flipping the bit of 2 swaps the quote, 0x22, with the space, so that what is below 0x21 is the quote or a control
		// character. A borrow goes to higher bytes only, so the lowest byte that is found is a special one.
		found := ((eight ^ each*2) - each*0x21) | ((eight ^ each*'\\') - each)
		if found &= highest &^ eight; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(data) && !special[data[i]] {
		i++
	}
	return i
}

// quoted reads the string that goes on at i, after its quote, and returns where its other quote is, and whether there are escapes
// before that. With anyText it cannot always be unescaped.
func quoted(data []byte, i int, anyText bool) (end int, escaped bool, err error) {
	for {
		i = plain(data, i)
		if i == len(data) {
			return 0, false, ErrSyntax
		}
		switch data[i] {
		case '"':
			return i, escaped, nil
		case '\\':
			escaped = true
			n, err := escape(data[i:])
			if anyText && (err == ErrNUL || err == ErrSurrogate) {
				n, err = 6, nil
			}
			if err != nil {
				return 0, false, err
			}
			i += n
		case 0:
			return 0, false, ErrNUL
		default:
			return 0, false, ErrSyntax
		}
	}
}

// str reads the string at pos and returns what is between the quotes, and whether it has escapes.
func (s *Scanner) str() (text []byte, escaped bool) {
	if s.pos == len(s.data) || s.data[s.pos] != '"' {
		s.err = ErrSyntax
		return nil, false
	}
	start := s.pos + 1
	end, escaped, err := quoted(s.data, start, false)
	if err != nil {
		s.err = err
		return nil, false
	}
	s.pos = end + 1
	return s.data[start:end], escaped
}

// escape checks the escape sequence at the start of b and returns its length; a surrogate pair is one sequence.
func escape(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, ErrSyntax
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, nil
	case 'u':
	default:
		return 0, ErrSyntax
	}
	r, ok := hex4(b)
	switch {
	case !ok:
		return 0, ErrSyntax
	case r == 0:
		return 0, ErrNUL
	case !utf16.IsSurrogate(r):
		return 6, nil
	}
	if low, ok := hex4(b[6:]); !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return 0, ErrSurrogate
	}
	return 12, nil
}

// hex4 reads a sequence of the form \uXXXX.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends to dst the text of a string that str has checked.
func unescape(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch c = text[i+1]; c {
		case 'u':
			r, _ := hex4(text[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(text[i:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		}
		dst = append(dst, c)
		i += 2
	}
	return dst
}

// number returns where the number at i ends (RFC 8259, section 6); -1 when it is none.
func number(data []byte, i int) int {
	at := func(i int, c byte) bool { return i < len(data) && data[i] == c }
	digits := func(i int) int {
		start := i
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
		if i == start {
			return -1
		}
		return i
	}
	if at(i, '-') {
		i++
	}
	if at(i, '0') {
		i++
	} else if i = digits(i); i < 0 {
		return -1
	}
	if at(i, '.') {
		if i = digits(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		if i++; at(i, '+') || at(i, '-') {
			i++
		}
		return digits(i)
	}
	return i
}

// literal returns where the word at i ends; -1 when it is another.
func literal(data []byte, i int, word string) int {
	if end := i + len(word); end <= len(data) && string(data[i:end]) == word {
		return end
	}
	return -1
}

// Compact appends value without insignificant white space to dst. The value has been read by a Scanner; the result has
// no line breaks.
func Compact(dst, value []byte) []byte {
	quoted := false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case quoted && c == '\\':
			dst = append(dst, c)
			i++
			c = value[i]
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

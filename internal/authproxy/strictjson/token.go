package strictjson

import (
	"unicode/utf16"
	"unicode/utf8"
)

func (s *Scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// special are the bytes that end the plain run of a string: the quote, the escape, and control characters.
var special = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// str reads the string at pos and returns what is between the quotes, and whether it has escapes. With anyText it cannot
// always be unescaped.
func (s *Scanner) str(anyText bool) (text []byte, escaped bool) {
	data := s.data
	if s.pos == len(data) || data[s.pos] != '"' {
		s.err = ErrSyntax
		return nil, false
	}
	start := s.pos + 1
	for i := start; i < len(data); {
		c := data[i]
		switch {
		case !special[c]:
			i++
		case c == '"':
			s.pos = i + 1
			return data[start:i], escaped
		case c == '\\':
			escaped = true
			n, err := escape(data[i:])
			if anyText && (err == ErrNUL || err == ErrSurrogate) {
				n, err = 6, nil
			}
			if err != nil {
				s.err = err
				return nil, false
			}
			i += n
		case c == 0:
			s.err = ErrNUL
			return nil, false
		default:
			s.err = ErrSyntax
			return nil, false
		}
	}
	s.err = ErrSyntax
	return nil, false
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

// number reads a number (RFC 8259, section 6).
func (s *Scanner) number() {
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else {
		s.digits()
	}
	if s.at('.') {
		s.pos++
		s.digits()
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		s.digits()
	}
}

func (s *Scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

// digits reads one digit or more.
func (s *Scanner) digits() {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		s.Fail(ErrSyntax)
	}
}

func (s *Scanner) literal(word string) {
	if end := s.pos + len(word); end <= len(s.data) && string(s.data[s.pos:end]) == word {
		s.pos = end
		return
	}
	s.err = ErrSyntax
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

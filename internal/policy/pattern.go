package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxPattern bounds a pattern, in bytes.
	MaxPattern = 256
	// MaxValue bounds what is matched, in bytes; anything longer does not match.
	MaxValue = 2048
)

// Pattern is a compiled pattern: anchored at both ends, on exact bytes, without any normalisation. "*" stands for any
// bytes without "/", none included; "**" for any bytes. There is no escape and no other special character: a "*" in a
// name is matched by a wildcard only. The zero Pattern matches nothing.
type Pattern struct {
	text           string
	prefix, suffix string
	// tokens are what is between prefix and suffix: nothing, or from the first wildcard to the last.
	tokens []token
	uri    bool
}

// token is a byte, or a wildcard.
type token uint16

const (
	// segment is "*".
	segment token = 256 + iota
	// deep is "**".
	deep
	// last is "**" at the very end of a pattern over URIs; in a template, any expression that is not a simple one.
	last
)

// accepts says whether a wildcard takes the byte, or all that a template's wildcard stands for. In a URI the "?" ends what a file is called and begins what a
// server may ignore; so a wildcard does not run into the query only to meet the rest of the pattern there:
// "file:///pub/*.txt" does not match "file:///pub/key?.txt". A "**" at the end, with no rest to meet, does.
func (t token) accepts(c token, uri bool) bool {
	switch t {
	case segment:
		return c != '/' && c <= segment && (c != '?' || !uri)
	case deep:
		return c != '?' && c <= segment || !uri
	case last:
		return true
	}
	return false
}

// Name compiles a pattern over the names of tools or prompts.
func Name(pattern string) (Pattern, error) {
	if err := spelling(pattern); err != nil {
		return Pattern{}, err
	}
	for _, r := range pattern {
		if strings.ContainsRune(`?[]{}\`, r) {
			return Pattern{}, fmt.Errorf(`has %q, which has no meaning in a pattern: write "*" there`, r)
		}
	}
	return compile(pattern, false), nil
}

// URI compiles a pattern over the URIs of resources: "**" for all, or a pattern that is itself a URI which ValidURI
// accepts, where "**" does not begin inside the authority: "https://example.com**" would also match another host.
func URI(pattern string) (Pattern, error) {
	if err := spelling(pattern); err != nil {
		return Pattern{}, err
	}
	if pattern != "**" {
		if err := ValidURI(pattern); err != nil {
			return Pattern{}, err
		}
		_, after, _ := strings.Cut(pattern, "://")
		if end := strings.IndexAny(after, "/?"); end >= 0 {
			after = after[:end]
		} else if after == "**" {
			after = ""
		}
		if strings.Contains(after, "**") {
			return Pattern{}, errors.New(`has "**" in the host: write "*", or "/**" after the host`)
		}
	}
	return compile(pattern, true), nil
}

// Match says whether the pattern over names matches the name; an invalid pattern does not.
func Match(pattern, name string) bool {
	p, err := Name(pattern)
	return err == nil && p.Match(name)
}

// spelling checks what is common to all patterns.
func spelling(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("is empty")
	case len(pattern) > MaxPattern:
		return fmt.Errorf("is longer than %d bytes", MaxPattern)
	case !utf8.ValidString(pattern):
		return errors.New("is not UTF-8")
	case strings.Contains(pattern, "***"):
		return errors.New(`has "***": write "*" for anything without "/", or "**" for anything`)
	case strings.TrimSpace(pattern) != pattern:
		return errors.New("begins or ends with white space")
	case strings.ContainsFunc(pattern, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("has a character that is not printable")
	}
	return nil
}

func compile(pattern string, uri bool) Pattern {
	p := Pattern{text: pattern, uri: uri}
	first := strings.IndexByte(pattern, '*')
	if first < 0 {
		p.prefix = pattern
		return p
	}
	end := strings.LastIndexByte(pattern, '*') + 1
	p.prefix, p.suffix = pattern[:first], pattern[end:]
	p.tokens = globTokens(pattern[first:end])
	if n := len(p.tokens); uri && p.suffix == "" && p.tokens[n-1] == deep {
		p.tokens[n-1] = last
	}
	return p
}

func globTokens(pattern string) (tokens []token) {
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] != '*':
			tokens = append(tokens, token(pattern[i]))
		case i+1 < len(pattern) && pattern[i+1] == '*':
			tokens = append(tokens, deep)
			i++
		default:
			tokens = append(tokens, segment)
		}
	}
	return tokens
}

// String is the pattern as it was written.
func (p *Pattern) String() string { return p.text }

// Exact says whether the pattern has no wildcard and so matches itself only.
func (p *Pattern) Exact() bool { return len(p.tokens) == 0 }

// Match says whether the whole value matches. For a pattern over URIs the caller has checked the value with ValidURI.
func (p *Pattern) Match(value string) bool {
	switch {
	case p.text == "" || len(value) > MaxValue:
		return false
	case len(p.tokens) == 0:
		return value == p.text
	case len(value) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(value, p.prefix) || !strings.HasSuffix(value, p.suffix):
		return false
	}
	middle := value[len(p.prefix) : len(value)-len(p.suffix)]
	if len(p.tokens) > 1 {
		return p.run(func(i int) token { return token(middle[i]) }, len(middle), p.tokens)
	}
	for i := range len(middle) {
		if !p.tokens[0].accepts(token(middle[i]), p.uri) {
			return false
		}
	}
	return true
}

// run walks n symbols through tokens, in all possible ways at once, so that it takes at most n times the length of
// tokens steps whatever the pattern. A symbol is a byte, or a wildcard of a template.
func (p *Pattern) run(symbol func(int) token, n int, tokens []token) bool {
	// at[i] says that the symbols so far may be what tokens[:i] stand for.
	var at [MaxPattern + 1]bool
	at[0] = true
	skip(&at, tokens)
	for i := range n {
		c := symbol(i)
		alive := false
		for j := len(tokens); j >= 0; j-- {
			at[j] = at[j] && j < len(tokens) && tokens[j].accepts(c, p.uri) ||
				j > 0 && at[j-1] && tokens[j-1] == c && c < segment
			alive = alive || at[j]
		}
		if !alive {
			return false
		}
		skip(&at, tokens)
	}
	return at[len(tokens)]
}

// skip lets every wildcard stand for nothing.
func skip(at *[MaxPattern + 1]bool, tokens []token) {
	for j, t := range tokens {
		if at[j] && t >= segment {
			at[j+1] = true
		}
	}
}

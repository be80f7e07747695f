package policy

import (
	"errors"
	"slices"
	"strings"
)

// Template is a resource template: a URI template (RFC 6570) whose simple expressions, {x}, stand for bytes without "/"
// and "?", because those are percent-encoded there, and whose other expressions stand for any bytes.
type Template struct {
	prefix string
	tokens []token
}

var errTemplate = errors.New("is not a URI template (RFC 6570) of a URI with a literal scheme")

// ParseTemplate reads a URI template. With its expressions filled in harmlessly it must pass ValidURI.
func ParseTemplate(template string) (Template, error) {
	if template == "" || len(template) > MaxValue {
		return Template{}, errURILength
	}
	var t Template
	var filled strings.Builder
	rest := template
	for {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			open = len(rest)
		}
		for _, c := range []byte(rest[:open]) {
			t.tokens = append(t.tokens, token(c))
		}
		filled.WriteString(rest[:open])
		if open == len(rest) {
			break
		}
		end := strings.IndexAny(rest[open+1:], "{}")
		if rest[open] != '{' || end < 1 || rest[open+1+end] != '}' {
			return Template{}, errTemplate
		}
		expression := rest[open+1 : open+1+end]
		if !strings.Contains(filled.String(), ":") {
			return Template{}, errTemplate
		}
		wildcard := segment
		if strings.IndexByte("+#./;?&", expression[0]) >= 0 {
			wildcard = last
			expression = expression[1:]
		}
		for _, c := range []byte(expression) {
			if !letter(c) && !digit(c) && strings.IndexByte("_.,:*%", c) < 0 {
				return Template{}, errTemplate
			}
		}
		if expression == "" {
			return Template{}, errTemplate
		}
		t.tokens = append(t.tokens, wildcard)
		filled.WriteByte('x')
		rest = rest[open+end+2:]
	}
	if err := ValidURI(filled.String()); err != nil {
		return Template{}, err
	}
	if i := strings.IndexByte(template, '{'); i >= 0 {
		template = template[:i]
	}
	t.prefix = template
	return t, nil
}

// Covers says whether the pattern matches everything that the template can stand for.
func (p *Pattern) Covers(t Template) bool {
	if p.text == "" {
		return false
	}
	return p.run(func(i int) token { return t.tokens[i] }, len(t.tokens), p.all())
}

// Meets says whether the pattern matches something that the template can stand for.
func (p *Pattern) Meets(t Template) bool {
	n := min(len(p.prefix), len(t.prefix))
	if p.text == "" || p.prefix[:n] != t.prefix[:n] {
		return false
	}
	// at[i] says that some text is both what pattern[:i] and what the template's tokens so far stand for.
	pattern := p.all()
	at, next := make([]bool, len(pattern)+1), make([]bool, len(pattern)+1)
	at[0] = true
	for j := 0; ; j++ {
		for i, t1 := range pattern {
			if at[i] && t1 >= segment {
				at[i+1] = true
			}
			if j < len(t.tokens) && at[i] && t1 < segment && t.tokens[j].accepts(t1, true) {
				at[i+1] = true
			}
		}
		if j == len(t.tokens) {
			return at[len(pattern)]
		}
		clear(next)
		for i := range at {
			if !at[i] {
				continue
			}
			t2 := t.tokens[j]
			switch {
			case t2 >= segment || i < len(pattern) && pattern[i].accepts(t2, true):
				next[i] = true
			case i < len(pattern) && pattern[i] == t2:
				next[i+1] = true
			}
		}
		at, next = next, at
	}
}

// all is the whole pattern as tokens.
func (p *Pattern) all() []token {
	literal := func(s string) (tokens []token) {
		for i := range len(s) {
			tokens = append(tokens, token(s[i]))
		}
		return tokens
	}
	return slices.Concat(literal(p.prefix), p.tokens, literal(p.suffix))
}

package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// mostDifferences bounds how many differences are told.
const mostDifferences = 64

// Diff says in lines for people how one definition became another: "description: "a" became "b"", "inputSchema.properties.x was
// added: …". What it quotes is cut, and has no characters that terminals obey.
func Diff(before, after []byte) []string {
	var a, b any
	if decode(before, &a) != nil || decode(after, &b) != nil {
		return []string{"the definitions cannot be compared"}
	}
	d := differ{}
	d.compare("", a, b)
	if len(d.lines) > mostDifferences {
		d.lines = append(d.lines[:mostDifferences], fmt.Sprintf("and %d more differences", len(d.lines)-mostDifferences))
	}
	return d.lines
}

func decode(raw []byte, value *any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return decoder.Decode(value)
}

type differ struct{ lines []string }

func (d *differ) say(place, format string, args ...any) {
	d.lines = append(d.lines, strings.TrimPrefix(Clean(place, 256), ".")+fmt.Sprintf(format, args...))
}

func (d *differ) compare(place string, a, b any) {
	x, xs := a.(map[string]any)
	y, ys := b.(map[string]any)
	if xs && ys {
		names := map[string]bool{}
		for name := range x {
			names[name] = true
		}
		for name := range y {
			names[name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			below := place + "." + name
			was, there := x[name]
			is, still := y[name]
			switch {
			case !there:
				d.say(below, " was added: %s", quote(is))
			case !still:
				d.say(below, " was removed: %s", quote(was))
			default:
				d.compare(below, was, is)
			}
		}
		return
	}
	l, ls := a.([]any)
	m, ms := b.([]any)
	if ls && ms && len(l) == len(m) {
		for i := range l {
			d.compare(fmt.Sprintf("%s[%d]", place, i), l[i], m[i])
		}
		return
	}
	if was, is := quote(a), quote(b); was != is || !same(a, b) {
		if place == "" {
			place = "it"
		}
		d.say(place, ": %s became %s", was, is)
	}
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// quote is a value as text, cut.
func quote(value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return "?"
	}
	return Clean(strings.TrimSpace(text.String()), 512)
}

// Clean makes text of a stranger one line of printable characters, at most so many.
func Clean(text string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n == most-1 && len(text) > most {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) {
			r = '\uFFFD'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

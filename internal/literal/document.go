package literal

import (
	"encoding/base64"
	"slices"
	"strings"
)

var (
	// assignment is a line of YAML, TOML, INI, properties or a shell's file.
	assignment = lazy(`^\s*(?:-\s+)?(?:export\s+|set\s+)?["']?([A-Za-z_][A-Za-z0-9_.\-]*)["']?\s*[:=]\s*(.+?)\s*[,;]?\s*$`)
	// member is one of an object of JSON.
	member = lazy(`"([A-Za-z_][A-Za-z0-9_.\-]*)"\s*:\s*"((?:[^"\\]|\\.)*)"`)
	// armor is base64 of what begins like a PEM block, as Kubernetes has them in caBundle and the like.
	armor = lazy(`\bLS0tLS1CRUdJTi[A-Za-z0-9+/=]{20,}`)
	block = lazy(`(?s)-----BEGIN (CERTIFICATE|PUBLIC KEY|CERTIFICATE REQUEST)-----.*?-----END (?:CERTIFICATE|PUBLIC KEY|CERTIFICATE REQUEST)-----`)
)

// Document says what a text looks like it holds, such as a file in a ConfigMap: the kinds of Find, each once, in the order of the
// text. Values are looked at under the names that the text gives them, in YAML, JSON, TOML, INI, properties and files of a shell;
// comments by the shapes of tokens alone.
func Document(text string) (kinds []string) {
	add := func(kind string) {
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	for _, shape := range shapes {
		if shape.pattern().MatchString(text) {
			add(shape.kind)
		}
	}
	for _, found := range armor().FindAllString(text, -1) {
		add(armored(found))
	}
	text = block().ReplaceAllString(text, "")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "//") || strings.HasPrefix(trimmed, ";") {
			continue
		}
		members := member().FindAllStringSubmatch(line, -1)
		for _, m := range members {
			add(Find(m[1], m[2]))
		}
		if m := assignment().FindStringSubmatch(line); m != nil && len(members) == 0 {
			add(Find(m[1], unquote(m[2])))
		}
	}
	return kinds
}

// unquote takes a value out of its quotes, and off the comment behind it.
func unquote(value string) string {
	for _, quote := range []string{`"`, `'`} {
		if rest, ok := strings.CutPrefix(value, quote); ok {
			if inner, _, ended := strings.Cut(rest, quote); ended {
				return inner
			}
		}
	}
	if i := strings.Index(value, " #"); i >= 0 {
		value = value[:i]
	}
	return strings.TrimSpace(value)
}

// armored says what base64 of a PEM block holds.
func armored(value string) string {
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		// The end may be missing; the beginning says what it is.
		if decoded, err = base64.StdEncoding.DecodeString(value[:len(value)/4*4]); err != nil {
			return ""
		}
	}
	if shapes[0].pattern().Match(decoded) {
		return shapes[0].kind
	}
	return ""
}

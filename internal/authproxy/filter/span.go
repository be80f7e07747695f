package filter

import (
	"bytes"
	"slices"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// span is a raw JSON value and where it begins in what was scanned.
type span struct {
	at  int
	raw []byte
}

// read reads the next value.
func (v *span) read(s *strictjson.Scanner) {
	v.at = s.Start()
	v.raw = s.Skip()
}

// edit puts another text in the place of a value.
type edit struct {
	span
	text string
}

// quote is a handle as a JSON string: it has nothing that must be escaped.
func quote(handle string) string { return `"` + handle + `"` }

// edited is data, which begins at an offset of what was scanned, with the edits made.
func edited(data []byte, offset int, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return a.at - b.at })
	out := make([]byte, 0, len(data)+64)
	last := 0
	for _, e := range edits {
		out = append(append(out, data[last:e.at-offset]...), e.text...)
		last = e.at - offset + len(e.raw)
	}
	return append(out, data[last:]...)
}

// resembles says whether a lenient program may take a member's name for the known one: without case, hyphens and underscores.
func resembles(name []byte, known string) bool {
	if len(name) < len(known) {
		return false
	}
	if bytes.ContainsAny(name, "-_") {
		name = bytes.ReplaceAll(bytes.ReplaceAll(name, []byte("-"), nil), []byte("_"), nil)
	}
	return bytes.EqualFold(name, []byte(known))
}

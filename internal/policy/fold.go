package policy

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold is a name as somebody reads it who does not look closely: compatibility forms, case, marks, characters that are not
// seen and letters and digits that look like other ones are gone. Names that fold alike are told apart by programs
// only, so what is forbidden is forbidden in every spelling. mixed says that beside Latin letters others remain: then it
// cannot be said what the name reads like.
func Fold(name string) (folded string, mixed bool) {
	var out strings.Builder
	latin, other := false, false
	// The decomposed form has marks on their own; case may bring new ones.
	for _, r := range norm.NFKD.String(strings.ToLower(norm.NFKD.String(name))) {
		if seemsNothing(r) {
			continue
		}
		if like, ok := seemsLatin[r]; ok {
			out.WriteString(like)
			latin = latin || r == 'i'
			continue
		}
		switch {
		case r < 0x80:
			latin = latin || 'a' <= r && r <= 'z'
		case unicode.IsLetter(r):
			other = true
		}
		out.WriteRune(r)
	}
	return out.String(), latin && other
}

// seemsNothing says whether a character leaves no trace on a screen, or only a mark on another one.
func seemsNothing(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// seemsLatin are letters of other scripts, in lower case, that are drawn as Latin ones (after Unicode TR 39), and signs that
// are drawn as ASCII ones.
var seemsLatin = func() map[rune]string {
	m := map[rune]string{}
	for latin, others := range map[string]string{
		"a": "аαɑ⍺ａᴀꭺ", "b": "ЬьЪƄᏏᖯʙвβᴃ", "c": "сϲⅽᴄᏟꮯ", "d": "ԁᏧᑯⅾɗᴅ", "e": "еєҽεɛ℮ℯᴇꬲ", "f": "ғϝꞙẝƒꜰ", "g": "ɡցᶃɢԍ", "h": "һհᏂнʜ",
		"j": "јϳʝᴊ", "k": "кκᴋҡқᏦ", "m": "мⅿᴍϻ", "n": "пոռηɴᴎи", "o": "0оοօσᴏ௦०໐〇ဝ๐", "p": "рρϱᴘⲣᏢ",
		"q": "ԛգզϙ", "r": "гᴦⲅꭇʀɼя", "s": "ѕꜱƽʂѕ", "t": "тτᴛţŧ", "u": "υսʋᴜцμս", "v": "ѵνᴠⅴט", "w": "ѡաɯᴡԝωш", "x": "хⅹ×᙮χ", "y": "уүγʏყỿ", "z": "ᴢʐᏃżƶ",
		"l": "ⅼʟɭłℓןi1|іιıɩɪӏꙇᎥⅰӀ", "-": "‐‑‒–—―−﹣", "_": "ˍ", "/": "⁄∕⧸", ".": "․‧·", "ss": "ß", "ae": "æ", "oe": "œ",
	} {
		for _, r := range others {
			for _, lower := range norm.NFKD.String(strings.ToLower(string(r))) {
				// Of ASCII only what is listed itself: a compatibility form of a letter is that letter.
				if (lower >= 0x80 || r < 0x80) && !seemsNothing(lower) {
					m[lower] = latin
				}
			}
		}
	}
	return m
}()

// Forbidden is a set of patterns over the names of tools that nobody may call, whatever the rules say. The zero Forbidden
// forbids nothing.
type Forbidden struct{ written, folded []Pattern }

// Forbid compiles patterns. They match folded names.
func Forbid(patterns []string) (Forbidden, error) {
	var f Forbidden
	for _, pattern := range patterns {
		written, err := Name(pattern)
		if err != nil {
			return Forbidden{}, fmt.Errorf("%q %w", pattern, err)
		}
		reads, _ := Fold(pattern)
		folded, err := Name(reads)
		if err != nil {
			return Forbidden{}, fmt.Errorf("%q %w", pattern, err)
		}
		f.written, f.folded = append(f.written, written), append(f.folded, folded)
	}
	return f, nil
}

// Has says whether the name is forbidden. Where anything is, a name that mixes scripts is, too: nobody can say what it
// reads like.
func (f *Forbidden) Has(name string) bool {
	if f == nil || len(f.written) == 0 {
		return false
	}
	folded, mixed := Fold(name)
	if mixed || len(folded) > MaxValue {
		return true
	}
	for i := range f.written {
		if f.written[i].Match(name) || f.folded[i].Match(folded) {
			return true
		}
	}
	return false
}

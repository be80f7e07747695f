package audit

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine bounds a line, in bytes, with its line feed: container runtimes cut lines at 16 KiB.
const MaxLine = 16 << 10

// Bounds on what others choose, in bytes as they are written: what is longer is cut and ends in "…". Together with all else
// they stay under MaxLine.
const (
	maxShort     = 320
	maxMethod    = 256
	maxName      = 512
	maxTargets   = 8
	maxArguments = 6 << 10
	maxKnown     = 16
)

// append appends the record as one line of ASCII but for its place in the chain: what a caller sent can neither break a
// line nor steer a terminal.
func (r *Record) append(b []byte) []byte {
	text := func(name, value string, most int) {
		if value != "" {
			b = appendText(append(append(append(b, ',', '"'), name...), '"', ':'), value, most)
		}
	}
	number := func(name string, value int64) {
		b = strconv.AppendInt(append(append(append(b, ',', '"'), name...), '"', ':'), value, 10)
	}
	b = append(append(append(b, `{"kind":"`...), r.Kind...), '"')
	b = appendTime(append(b, `,"time":`...), r.Time)
	b = appendText(append(b, `,"server":`...), r.Server, maxShort)
	b = appendText(append(b, `,"boot":`...), r.Boot, maxShort)
	text("generation", r.Generation, maxShort)
	text("source", r.Source, maxShort)
	text("client", r.Client, maxShort)
	text("issuer", r.Issuer, maxShort)
	text("subject", r.Subject, maxName)
	text("keyID", r.KeyID, maxShort)
	text("certificateSerial", r.CertificateSerial, maxShort)
	text("verb", r.Verb, maxMethod)
	text("method", r.Method, maxMethod)
	for i, target := range r.Targets[:min(len(r.Targets), maxTargets)] {
		if i == 0 {
			b = append(b, `,"targets":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"kind":`...), target.Kind, maxShort)
		b = append(appendText(append(b, `,"name":`...), target.Name, maxName), '}')
	}
	if len(r.Targets) > 0 {
		b = append(b, ']')
	}
	switch {
	case len(r.Arguments) > 0:
		start := len(b)
		b = AppendASCII(append(b, `,"arguments":`...), string(r.Arguments))
		if len(b)-start > maxArguments {
			b = b[:start]
			text("argumentsCut", string(r.Arguments[:min(len(r.Arguments), maxArguments)]), maxArguments)
		}
	default:
		text("argumentsCut", r.ArgumentsCut, maxArguments)
	}
	text("argumentsHash", r.ArgumentsHash, maxShort)
	text("decision", string(r.Decision), maxShort)
	text("rule", r.Rule, 2*maxShort)
	text("reason", r.Reason, maxShort)
	if r.Status != 0 {
		number("status", int64(r.Status))
	}
	if r.Kind == KindRequest || r.Kind == KindRepeated {
		number("requestBytes", r.RequestBytes)
		if r.AnswerBytes != nil {
			number("answerBytes", *r.AnswerBytes)
		}
		number("durationMicroseconds", r.DurationMicroseconds)
	}
	text("traceID", r.TraceID, maxShort)
	if r.Count > 0 {
		number("count", int64(r.Count))
	}
	if !r.Until.IsZero() {
		b = appendTime(append(b, `,"until":`...), r.Until)
	}
	if r.Lost > 0 {
		number("lost", int64(r.Lost))
	}
	if r.Kind == KindBoot {
		b = append(b, `,"known":[`...)
		for i, head := range r.Known[:min(len(r.Known), maxKnown)] {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(append(b, `{"boot":`...), head.Boot, maxShort)
			b = strconv.AppendUint(append(b, `,"seq":`...), head.Seq, 10)
			b = append(appendText(append(b, `,"hash":`...), head.Hash, maxShort), '}')
		}
		b = append(b, ']')
	}
	return b
}

// appendPlace ends a line with its place in the chain.
func appendPlace(b []byte, seq uint64, prev [32]byte) []byte {
	b = strconv.AppendUint(append(b, `,"seq":`...), seq, 10)
	b = hex.AppendEncode(append(b, `,"prev":"`...), prev[:])
	return append(b, '"', '}', '\n')
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// appendText appends a JSON string of printable ASCII with at most about most bytes between the quotes.
func appendText(b []byte, s string, most int) []byte {
	b = append(b, '"')
	if len(s) <= most-12 && isPlain(s) {
		return append(append(b, s...), '"')
	}
	start := len(b)
	for i := 0; i < len(s); {
		if len(b)-start > most-12 && len(b)-start+12*(len(s)-i) > most {
			return append(b, `\u2026"`...)
		}
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c == '<' || c == '>' || c == '&' || c < ' ' || c == 0x7f:
			b = appendEscape(b, rune(c))
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = appendRune(b, r)
			i += size
		}
	}
	return append(b, '"')
}

// plain are the bytes that stand for themselves in a string.
var plain = func() (plain [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		plain[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return plain
}()

func isPlain(s string) bool {
	for i := range len(s) {
		if !plain[s[i]] {
			return false
		}
	}
	return true
}

// AppendASCII appends JSON with what is not printable ASCII escaped; in JSON such bytes are in strings only.
func AppendASCII(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == 0x7f:
			b = appendEscape(b, rune(c))
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = appendRune(b, r)
			i += size
		}
	}
	return b
}

func appendRune(b []byte, r rune) []byte {
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return appendEscape(appendEscape(b, high), low)
	}
	return appendEscape(b, r)
}

func appendEscape(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

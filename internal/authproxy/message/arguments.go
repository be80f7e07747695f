package message

import (
	"bytes"
	"math"
	"strconv"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// maxDepth bounds arguments once more: what Read let pass is no deeper than its limit.
const maxDepth = 1000

// maxInteger is the largest integer that every JSON parser reads as itself (RFC 8259, section 6).
const maxInteger = 1 << 53

// Arguments reads the arguments of a call that passed Read as values: objects, arrays, strings, booleans, nil, int64 for
// numbers that are integers, else float64. It is not ok where programs could read them differently: a number beyond 2^53 or
// written so that its value is not exact to all, a name that is special to programs in JavaScript, or two names in one object that a
// program could take for one: Go's encoding/json takes "PATH" for "path", and the last of both. Without arguments there are none.
func Arguments(raw []byte) (values map[string]any, ok bool) {
	if len(raw) == 0 {
		return map[string]any{}, true
	}
	s := strictjson.New(raw, maxDepth)
	defer s.Release()
	value := read(s)
	if values, ok = value.(map[string]any); !ok || s.End() != nil {
		return nil, false
	}
	return values, true
}

// Plain says whether the arguments of a call that passed Read are such that every program reads them alike, as Arguments does,
// without reading them as values.
func Plain(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	s := strictjson.New(raw, maxDepth)
	defer s.Release()
	if s.Kind() != '{' {
		return false
	}
	walk(s)
	return s.End() == nil
}

func walk(s *strictjson.Scanner) {
	switch s.Kind() {
	case '{':
		for s.Enter('{', strictjson.Alike); s.Member(); {
			if special(string(s.Name())) {
				s.Fail(strictjson.ErrVariant)
			}
			walk(s)
		}
	case '[':
		for s.Enter('[', nil); s.Element(); {
			walk(s)
		}
	case '0':
		if _, ok := number(s.Skip()); !ok {
			s.Fail(strictjson.ErrKind)
		}
	default:
		s.Skip()
	}
}

func read(s *strictjson.Scanner) any {
	switch s.Kind() {
	case '{':
		values := map[string]any{}
		for s.Enter('{', strictjson.Alike); s.Member(); {
			name := string(s.Name())
			if special(name) {
				s.Fail(strictjson.ErrVariant)
			}
			values[name] = read(s)
		}
		return values
	case '[':
		values := []any{}
		for s.Enter('[', nil); s.Element(); {
			values = append(values, read(s))
		}
		return values
	case '"':
		return string(s.String())
	case '0':
		value, ok := number(s.Skip())
		if !ok {
			s.Fail(strictjson.ErrKind)
		}
		return value
	case 't', 'f':
		return string(s.Skip()) == "true"
	}
	s.Skip()
	return nil
}

// special says whether a member of that name changes what an object is in JavaScript.
func special(name string) bool {
	return name == "__proto__" || name == "constructor" || name == "prototype"
}

func number(raw []byte) (any, bool) {
	if !bytes.ContainsAny(raw, ".eE") {
		value, err := strconv.ParseInt(string(raw), 10, 64)
		return value, err == nil && value <= maxInteger && value >= -maxInteger && string(raw) != "-0"
	}
	value, err := strconv.ParseFloat(string(raw), 64)
	// What is beyond by less than a double can tell is read as 2^53 itself.
	return value, err == nil && math.Abs(value) < maxInteger
}

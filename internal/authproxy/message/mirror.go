package message

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// Mirror is an argument that a tool has its callers repeat in a header (MCP 2026-07-28, "Custom Headers from Tool Parameters").
type Mirror struct {
	// Header is the header's name in Go's canonical form.
	Header string
	// Path are the names of members that lead to the argument.
	Path []string
}

// MirrorHeader is the header for the name that a tool's schema declares.
func MirrorHeader(name string) string { return http.CanonicalHeaderKey(headerParam + name) }

var errMirror = bad(CodeHeaderMismatch, "header", "A header that the tool's input schema declares with x-mcp-header is missing, or does not say what its argument says. List the tools again, and send what the arguments say.")

// HasParams says whether the headers that CheckHeaders returned have some that repeat arguments.
func HasParams(forward http.Header) bool {
	for name := range forward {
		if strings.HasPrefix(name, headerParam) {
			return true
		}
	}
	return false
}

// CheckMirrors compares the headers that CheckHeaders returned with the arguments that they repeat: what is on the way to the
// server may go by the one, and the server by the other. A header is there exactly when its argument has a value.
func (m *Message) CheckMirrors(forward http.Header, mirrors []Mirror) *Error {
	for i := range mirrors {
		if !mirrors[i].agrees(forward[mirrors[i].Header], m.Arguments) {
			return errMirror
		}
	}
	return nil
}

func (v *Mirror) agrees(header []string, arguments []byte) bool {
	argument := arguments
	for _, name := range v.Path {
		argument = member(argument, name)
	}
	if len(argument) == 0 || string(argument) == "null" {
		return len(header) == 0
	}
	if len(header) != 1 {
		return false
	}
	said, ok := decode(header[0])
	if !ok {
		return false
	}
	switch argument[0] {
	case '"':
		value, ok := text(argument)
		return ok && said == value
	case 't', 'f':
		return said == string(argument)
	case '{', '[':
		// Only one value can be in a header.
		return false
	}
	value, ok := number(argument)
	if !ok {
		return false
	}
	// 42.0 is the integer that most programs write as 42.
	whole, is := value.(float64)
	return said == string(argument) || is && whole == math.Trunc(whole) && said == strconv.FormatInt(int64(whole), 10)
}

// member is the raw value of a member of a raw JSON object; nil where it has none, and where there is no object.
func member(object []byte, name string) (value []byte) {
	if len(object) == 0 || object[0] != '{' {
		return nil
	}
	s := strictjson.New(object, maxDepth)
	defer s.Release()
	for s.Enter('{', nil); s.Member(); {
		is := string(s.Name()) == name
		if raw := s.Skip(); is {
			value = raw
		}
	}
	if s.End() != nil {
		return nil
	}
	return value
}

package filter

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Codes of errors whose data the specification defines (2026-07-28, "Error Codes"; 2025-11-25 for the last two). A
// resource that is not there is invalid params since 2026-07-28.
const (
	codeInvalidParams      = -32602
	codeHeaderMismatch     = -32020
	codeMissingCapability  = -32021
	codeUnsupportedVersion = -32022
	codeNotFound           = -32002
	codeElicitation        = -32042
)

var (
	failureNames     = strictjson.Open("code", "message", "data")
	notFoundNames    = strictjson.Open("uri")
	missingNames     = strictjson.Open("requiredCapabilities")
	unsupportedNames = strictjson.Open("supported", "requested")
)

// failure is a server's JSON-RPC error as it may be passed on: its code, and its data where the specification defines
// that. The server's own text is for its operators.
type failure struct {
	code int64
	data []byte
}

// scanFailure reads the JSON-RPC error object in an answer to m, which may be nil. The code is 0 when it has none.
func scanFailure(s *strictjson.Scanner, m *message.Message, min gateconfig.Revision) *failure {
	f := &failure{}
	var data []byte
	for s.Enter('{', failureNames); s.Member(); {
		switch string(s.Name()) {
		case "code":
			code, err := strconv.ParseInt(string(s.Skip()), 10, 32)
			if err != nil {
				s.Fail(ErrShape)
			}
			f.code = code
		case "message":
			if s.Kind() != '"' {
				s.Fail(strictjson.ErrKind)
			}
			s.Skip()
		case "data":
			data = s.Skip()
		default:
			s.Skip()
		}
	}
	switch f.code {
	case codeMissingCapability:
		f.data = missing(data)
	case codeElicitation:
		if f.data = pages(data); data != nil && f.data == nil {
			s.Fail(ErrShape)
		}
	case codeInvalidParams, codeNotFound:
		f.data = notFound(data, m)
	case codeUnsupportedVersion:
		f.data = unsupported(data, min)
	}
	return f
}

// notFound is the data that names the resource which was asked for and is not there; nil if it is anything else.
func notFound(data []byte, m *message.Message) []byte {
	if data == nil || m == nil || m.Method != "resources/read" || len(m.Targets) != 1 {
		return nil
	}
	s := strictjson.New(data, depth)
	defer s.Release()
	var uri []byte
	for s.Enter('{', notFoundNames); s.Member(); {
		if string(s.Name()) == "uri" {
			uri = s.Skip()
			continue
		}
		s.Skip()
	}
	named, err := text(uri)
	if s.End() != nil || err != nil || named != m.Targets[0].Name {
		return nil
	}
	return append(append([]byte(`{"uri":`), uri...), '}')
}

// missing is the data of codeMissingCapability: names of capabilities, and no text of the server's own; nil if it is anything else.
func missing(data []byte) (out []byte) {
	s := strictjson.New(data, depth)
	defer s.Release()
	for s.Enter('{', missingNames); s.Member(); {
		if string(s.Name()) != "requiredCapabilities" {
			s.Skip()
			continue
		}
		start := s.Start()
		names(s)
		out = append(append([]byte(`{"requiredCapabilities":`), s.Since(start)...), '}')
	}
	if s.End() != nil {
		return nil
	}
	return out
}

// names reads an object of which all members are such objects, or true or false.
func names(s *strictjson.Scanner) {
	for s.Enter('{', nil); s.Member(); {
		if len(s.Name()) > 128 || bytes.ContainsFunc(s.Name(), func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._/-", r)
		}) {
			s.Fail(strictjson.ErrVariant)
		}
		if kind := s.Kind(); kind == 't' || kind == 'f' {
			s.Skip()
			continue
		}
		names(s)
	}
}

// pages is the data of codeElicitation with what the specification defines of it and nothing else; nil if it is not that.
func pages(data []byte) []byte {
	s := strictjson.New(data, depth)
	defer s.Release()
	s.AnyText()
	out := []byte(`{"elicitations":[`)
	for s.Enter('{', pageNames); s.Member(); {
		if string(s.Name()) != "elicitations" {
			s.Skip()
			continue
		}
		for s.Enter('[', nil); s.Element(); {
			if out[len(out)-1] != '[' {
				out = append(out, ',')
			}
			out = append(out, '{')
			for s.Enter('{', asks); s.Member(); {
				switch name := string(s.Name()); name {
				case "mode", "elicitationId", "url", "message":
					if s.Kind() != '"' {
						s.Fail(strictjson.ErrKind)
					}
					out = append(append(append(out, '"'), name...), `":`...)
					out = append(append(out, s.Skip()...), ',')
				default:
					s.Skip()
				}
			}
			out = append(bytes.TrimSuffix(out, []byte(",")), '}')
		}
	}
	if s.End() != nil {
		return nil
	}
	return append(out, "]}"...)
}

// unsupported is the data of codeUnsupportedVersion with those revisions only that are accepted here; nil if it is not
// what the specification says.
func unsupported(data []byte, min gateconfig.Revision) []byte {
	s := strictjson.New(data, depth)
	defer s.Release()
	var supported, requested []byte
	for s.Enter('{', unsupportedNames); s.Member(); {
		switch string(s.Name()) {
		case "supported":
			supported = scanRevisions(s, nil, min)
		case "requested":
			if s.Kind() != '"' {
				s.Fail(strictjson.ErrKind)
			}
			requested = s.Skip()
		default:
			s.Skip()
		}
	}
	if s.End() != nil || supported == nil || requested == nil {
		return nil
	}
	out := append([]byte(`{"supported":`), supported...)
	out = append(append(out, `,"requested":`...), requested...)
	return append(out, '}')
}

// scanRevisions appends a list of revisions with those only that the gate accepts.
func scanRevisions(s *strictjson.Scanner, out []byte, min gateconfig.Revision) []byte {
	out = append(out, '[')
	for s.Enter('[', nil); s.Element(); {
		revision := gateconfig.Revision(s.String())
		if !message.Accepted(revision, min) {
			continue
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, string(revision))
	}
	return append(out, ']')
}

// append appends the error object.
func (f *failure) append(out []byte) []byte {
	out = strconv.AppendInt(append(out, `{"code":`...), f.code, 10)
	out = strconv.AppendQuote(append(out, `,"message":`...), ErrorText(int(f.code)))
	if f.data != nil {
		out = strictjson.Compact(append(out, `,"data":`...), f.data)
	}
	return append(out, '}')
}

// Refusal returns the JSON-RPC error code of the body of an HTTP error in answer to m, which may be nil, and the data where
// the specification defines it for the code; code is 0 when the body is not one JSON-RPC error.
func Refusal(m *message.Message, min gateconfig.Revision, body []byte) (code int, data []byte) {
	s := strictjson.New(body, depth)
	defer s.Release()
	s.AnyText()
	var f *failure
	version := false
	for s.Enter('{', envelope); s.Member(); {
		switch string(s.Name()) {
		case "jsonrpc":
			version = string(s.String()) == "2.0"
		case "error":
			f = scanFailure(s, m, min)
		case "result", "method", "params":
			s.Fail(ErrShape)
		default:
			s.Skip()
		}
	}
	if s.End() != nil || !version || f == nil {
		return 0, nil
	}
	if f.code == codeElicitation {
		// What it asks of the client is judged in answers only.
		return int(f.code), nil
	}
	return int(f.code), f.data
}

// ErrorText is what a caller is told for a code that the server gave.
func ErrorText(code int) string {
	switch code {
	case -32700:
		return "the server could not parse the message"
	case -32600:
		return "the server does not take the message as a valid request"
	case -32601:
		return "the server does not have this method"
	case -32602:
		return "the server does not accept the parameters"
	case -32603:
		return "the server failed"
	case codeNotFound:
		return "the server does not have this resource"
	case codeHeaderMismatch:
		return "the server found that a header and the message differ"
	case codeMissingCapability:
		return "the server needs a capability that the client has not declared"
	case codeUnsupportedVersion:
		return "the server does not speak this revision of the protocol"
	case codeElicitation:
		return "the server needs something that its user gives at a URL"
	default:
		return "the server refused the request"
	}
}

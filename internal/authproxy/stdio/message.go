package stdio

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// depth bounds the nesting of a message.
const depth = 1000

// firstModern is the first revision without sessions.
const firstModern = "2026-07-28"

// The members of _meta that say something about transport (MCP 2026-07-28).
const (
	metaRevision     = "io.modelcontextprotocol/protocolVersion"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// errMessage is for JSON that is no JSON-RPC message.
var errMessage = errors.New("not one JSON-RPC message")

var envelope = strictjson.Closed("jsonrpc", "id", "method", "params", "result", "error")

// span is the place of a value in a line; the zero span is no value.
type span struct{ start, end int }

func (s span) of(line []byte) []byte { return line[s.start:s.end] }

func (s span) there() bool { return s.end > s.start }

// message is one JSON-RPC message on one line, with the places of the values that are read or replaced.
type message struct {
	line   []byte
	method string
	// id is that of a request or response; requests are those with a method.
	id span
	// progress is the progress token that a request gives, or that a notification is about; cancels the id of the request that a
	// notification cancels, and subscription that of the one a notification belongs to.
	progress, cancels, subscription span
	// about is the progress token of the notification that tells of progress.
	about span
	// params, revision and capabilities are those of an initialize; revision is also what the _meta of a modern message names.
	capabilities span
	version      string
	modern       string
	// result and failure say what a response has; code is that of the failure.
	result, failure span
	code            int64
}

func (m *message) request() bool { return m.method != "" && m.id.there() }

func (m *message) notification() bool { return m.method != "" && !m.id.there() }

func (m *message) response() bool { return m.method == "" }

// parse reads one line. Its error is errMessage for JSON that is something else, as a log line is.
func parse(line []byte) (message, error) {
	m := message{line: line}
	s := strictjson.New(line, depth)
	defer s.Release()
	s.AnyText()
	version := false
	for s.Enter('{', envelope); s.Member(); {
		switch string(s.Name()) {
		case "jsonrpc":
			version = s.Kind() == '"' && string(s.String()) == "2.0"
			if !version {
				s.Fail(errMessage)
			}
		case "id":
			if k := s.Kind(); k != '"' && k != '0' && k != 'n' {
				s.Fail(errMessage)
			}
			m.id = value(s)
		case "method":
			m.method = string(s.String())
			if m.method == "" {
				s.Fail(errMessage)
			}
		case "params":
			m.scanParams(s)
		case "result":
			m.result = value(s)
		case "error":
			m.scanError(s)
		}
	}
	// The method may stand after the params.
	if m.method == "notifications/progress" {
		m.progress = m.about
	}
	err := s.End()
	switch {
	case errors.Is(err, strictjson.ErrUnknown), errors.Is(err, strictjson.ErrVariant), errors.Is(err, strictjson.ErrKind):
		return m, errMessage
	case err != nil:
		return m, err
	case !version, m.response() && !m.id.there(), m.response() == (m.result.there() == m.failure.there()) && m.response():
		return m, errMessage
	case !m.response() && (m.result.there() || m.failure.there()), m.request() && string(m.id.of(line)) == "null":
		return m, errMessage
	}
	return m, nil
}

// value reads one value and says where it is.
func value(s *strictjson.Scanner) span {
	start := s.Start()
	return span{start, start + len(s.Skip())}
}

func (m *message) scanParams(s *strictjson.Scanner) {
	if s.Kind() != '{' {
		s.Skip()
		return
	}
	for s.Enter('{', nil); s.Member(); {
		switch string(s.Name()) {
		case "_meta":
			m.scanMeta(s)
		case "progressToken":
			m.about = value(s)
		case "requestId":
			m.cancels = value(s)
		case "protocolVersion":
			if s.Kind() == '"' {
				m.version = string(s.String())
				continue
			}
			s.Skip()
		case "capabilities":
			m.capabilities = value(s)
		default:
			s.Skip()
		}
	}
}

func (m *message) scanMeta(s *strictjson.Scanner) {
	if s.Kind() != '{' {
		s.Skip()
		return
	}
	for s.Enter('{', nil); s.Member(); {
		switch name := string(s.Name()); {
		case name == "progressToken":
			m.progress = value(s)
		case name == metaSubscription:
			m.subscription = value(s)
		case name == metaRevision && s.Kind() == '"':
			m.modern = string(s.String())
		default:
			s.Skip()
		}
	}
}

func (m *message) scanError(s *strictjson.Scanner) {
	start := s.Start()
	if s.Kind() != '{' {
		s.Fail(errMessage)
	}
	for s.Enter('{', nil); s.Member(); {
		token := s.Skip()
		if string(s.Name()) == "code" {
			m.code, _ = strconv.ParseInt(string(token), 10, 64)
		}
	}
	m.failure = span{start, start + len(s.Since(start))}
}

// change is a value of a line and what stands there instead.
type change struct {
	at   span
	text []byte
}

// spliced is the line with other values at some places, and nothing else changed; nil changes are left out. The changes are in
// any order, and none is within another.
func (m *message) spliced(changes ...change) []byte {
	size := len(m.line)
	for _, c := range changes {
		size += len(c.text)
	}
	out := make([]byte, 0, size+1)
	at := 0
	for range changes {
		next := -1
		for i, c := range changes {
			if !c.at.there() || c.at.start < at {
				continue
			}
			if next < 0 || c.at.start < changes[next].at.start { //nolint:gosec // next is an index of changes
				next = i
			}
		}
		if next < 0 {
			break
		}
		out = append(out, m.line[at:changes[next].at.start]...)
		out = append(out, changes[next].text...)
		at = changes[next].at.end
	}
	return append(out, m.line[at:]...)
}

// number is the number that we gave to a request and that the child repeats; ok is false for anything else.
func number(token []byte) (n uint64, ok bool) {
	if len(token) == 0 || len(token) > 19 || token[0] == '0' || bytes.IndexFunc(token, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(token), 10, 64)
	return n, err == nil
}

func numeral(n uint64) []byte { return strconv.AppendUint(nil, n, 10) }

// failed is a JSON-RPC error in answer to a request.
func failed(id []byte, code int, text string) []byte {
	if len(id) == 0 {
		id = []byte("null")
	}
	out := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	out = strconv.AppendInt(append(out, `,"error":{"code":`...), int64(code), 10)
	out = strconv.AppendQuote(append(out, `,"message":`...), text)
	return append(out, "}}"...)
}

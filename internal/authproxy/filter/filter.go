// Package filter rewrites the answers to list methods, so that a client sees only what it may use, and makes what may
// be cached private. What it lets through it has read strictly and written anew, on one line.
package filter

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// MaxTTL bounds ttlMs: after that long a client asks again, and meets the policy that is in force then.
const MaxTTL = time.Minute

// depth bounds the nesting of an answer.
const depth = 256

// The ways in which an answer is not one that may be passed on. They tell nothing of its content.
var (
	ErrShape  = errors.New("the server's answer is not one JSON-RPC message")
	ErrID     = errors.New("the server's answer is for another request")
	ErrFinal  = errors.New("the server sent more than one answer to a request")
	ErrList   = errors.New("the server's answer has a list with something else than named objects")
	ErrServer = errors.New("the server sent a request in a revision that has none")
)

var (
	envelope = strictjson.Closed("jsonrpc", "id", "method", "params", "result", "error")
	// The known names are those that are read here: an answer has whatever else its server likes.
	result = strictjson.Open("tools", "prompts", "resources", "resourceTemplates", "cacheScope", "ttlMs", "resultType",
		"protocolVersion")
	element = strictjson.Open("name", "uri", "uriTemplate")
	update  = strictjson.Open("uri")
)

// Needed says whether the answer to m must pass through Answer or a Stream; any other answer may stream through. A nil
// m is the stream that belongs to no request (a legacy GET): that must.
func Needed(m *message.Message) bool {
	if m == nil {
		return true
	}
	if m.Kind != message.Request {
		return false
	}
	switch m.Method {
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "server/discover", "initialize",
		"subscriptions/listen":
		return true
	case "resources/read":
		return m.Modern()
	}
	return false
}

// Answer returns the filtered form of one JSON-RPC message that the server sent in answer to m: the body of a JSON
// answer, or the data of one SSE event. It returns nil without an error for a notification that the client is not to
// have. An error means that the answer must not reach the caller (502). A nil m stands for any request.
func Answer(m *message.Message, g *decision.Grants, now time.Time, answer []byte) ([]byte, error) {
	out, _, err := pass(m, g, now, answer)
	return out, err
}

// Stream filters the events of one SSE stream in answer to m, and lets one final answer through, nothing after it. It is
// for one goroutine.
type Stream struct {
	m     *message.Message
	g     *decision.Grants
	final bool
}

// NewStream returns a Stream for m, which may be nil.
func NewStream(m *message.Message, g *decision.Grants) *Stream { return &Stream{m: m, g: g} }

// Event is Answer for the data of the next event. An event without data, which only carries an id, stays without.
func (s *Stream) Event(now time.Time, data []byte) ([]byte, error) {
	if len(data) == 0 {
		return []byte{}, nil
	}
	if s.final {
		return nil, ErrFinal
	}
	out, final, err := pass(s.m, s.g, now, data)
	s.final = final && s.m != nil
	return out, err
}

// Final says whether the final answer has been through: a stream that ends before that was cut.
func (s *Stream) Final() bool { return s.final }

// answer is one message of the server.
type answer struct {
	m   *message.Message
	g   *decision.Grants
	now time.Time

	id, failure, result []byte
	method              string
	uri                 []byte
	version, hasMethod  bool
}

func pass(m *message.Message, g *decision.Grants, now time.Time, data []byte) (out []byte, final bool, err error) {
	s := strictjson.New(data, depth)
	defer s.Release()
	a := answer{m: m, g: g, now: now}
	a.scan(s)
	if err := s.End(); err != nil {
		return nil, false, err
	}
	switch {
	case !a.version:
		return nil, false, ErrShape
	case a.hasMethod:
		out, err = a.passMethod(data)
		return out, false, err
	case (a.result == nil) == (a.failure == nil):
		return nil, false, ErrShape
	}
	out, err = a.passResponse(len(data))
	return out, err == nil, err
}

func (a *answer) scan(s *strictjson.Scanner) {
	for s.Enter('{', envelope); s.Member(); {
		switch string(s.Name()) {
		case "jsonrpc":
			a.version = string(s.String()) == "2.0"
		case "id":
			a.id = s.Skip()
		case "method":
			a.hasMethod = true
			a.method = string(s.String())
		case "params":
			for s.Enter('{', update); s.Member(); {
				if string(s.Name()) == "uri" {
					a.uri = s.Skip()
					continue
				}
				s.Skip()
			}
		case "result":
			a.result = a.scanResult(s)
		case "error":
			if s.Kind() != '{' {
				s.Fail(strictjson.ErrKind)
			}
			a.failure = s.Skip()
		}
	}
}

// passMethod passes a notification or a request of the server.
func (a *answer) passMethod(data []byte) ([]byte, error) {
	if a.result != nil || a.failure != nil || a.method == "" {
		return nil, ErrShape
	}
	if a.id != nil && (a.m != nil && a.m.Modern()) {
		return nil, ErrServer
	}
	if a.method == "notifications/resources/updated" {
		uri, err := text(a.uri)
		if err != nil {
			return nil, err
		}
		if !a.g.MayResource(uri, a.now) {
			return nil, nil
		}
	}
	return strictjson.Compact(make([]byte, 0, len(data)), data), nil
}

// passResponse writes the answer to a request.
func (a *answer) passResponse(size int) ([]byte, error) {
	id := a.id
	if a.m != nil {
		switch {
		case same(id, a.m.ID):
		case a.failure != nil && (id == nil || string(id) == "null"):
			// The server could not read the id, so it says; there is no other request that this could answer.
		default:
			return nil, ErrID
		}
		id = a.m.ID
	}
	if id == nil {
		return nil, ErrID
	}
	out := make([]byte, 0, size+64)
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	out = append(out, id...)
	if a.failure != nil {
		out = append(out, `,"error":`...)
		out = strictjson.Compact(out, a.failure)
	} else {
		out = append(out, `,"result":`...)
		out = append(out, a.result...)
	}
	return append(out, '}'), nil
}

// same says whether two ids are equal: the same token, or the same string.
func same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return a != nil
	}
	s, errA := text(a)
	t, errB := text(b)
	return errA == nil && errB == nil && s == t
}

// text is the string that a raw JSON value is.
func text(raw []byte) (string, error) {
	s := strictjson.New(raw, 0)
	defer s.Release()
	value := string(s.String())
	return value, s.End()
}

// lists says whether the result is to be cut.
func (a *answer) lists() bool {
	if a.m == nil {
		return true
	}
	switch a.m.Method {
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list":
		return true
	}
	return false
}

// cacheable says whether the result must say how long and by whom it may be kept (MCP 2026-07-28, "Caching").
func (a *answer) cacheable() bool {
	if a.m == nil || !a.m.Modern() {
		return false
	}
	switch a.m.Method {
	case "server/discover", "resources/read":
		return true
	}
	return a.lists()
}

// scanResult returns the result as it is passed on.
func (a *answer) scanResult(s *strictjson.Scanner) []byte {
	out := []byte{'{'}
	cached := a.cacheable()
	ttl := int64(-1)
	for s.Enter('{', result); s.Member(); {
		field, may := "", (func(string, time.Time) bool)(nil)
		switch name := string(s.Name()); name {
		case "cacheScope":
			s.Skip()
			out = append(out, `"cacheScope":"private",`...)
			cached = false
			continue
		case "ttlMs":
			ttl = capped(s.Skip())
			continue
		case "resultType":
			raw := s.Skip()
			if kind, err := text(raw); err != nil || kind != "complete" {
				cached = false
			}
			out = append(append(out, `"resultType":`...), raw...)
			out = append(out, ',')
			continue
		case "tools":
			field, may = "name", a.g.MayTool
		case "prompts":
			field, may = "name", a.g.MayPrompt
		case "resources":
			field, may = "uri", a.g.MayResource
		case "resourceTemplates":
			field, may = "uriTemplate", a.g.MayTemplate
		}
		out = append(out, '"')
		out = append(out, s.Name()...)
		out = append(out, `":`...)
		if may != nil && a.lists() {
			out = a.scanList(s, out, field, may)
		} else {
			out = strictjson.Compact(out, s.Skip())
		}
		out = append(out, ',')
	}
	if cached {
		out = append(out, `"cacheScope":"private",`...)
		ttl = max(ttl, 0)
	}
	if ttl >= 0 {
		out = strconv.AppendInt(append(out, `"ttlMs":`...), ttl, 10)
		out = append(out, ',')
	}
	if n := len(out) - 1; out[n] == ',' {
		out = out[:n]
	}
	return append(out, '}')
}

// scanList appends the list with those elements only that the client may use.
func (a *answer) scanList(s *strictjson.Scanner, out []byte, field string, may func(string, time.Time) bool) []byte {
	out = append(out, '[')
	for s.Enter('[', nil); s.Element(); {
		start := s.Start()
		var name []byte
		for s.Enter('{', element); s.Member(); {
			if string(s.Name()) == field {
				name = s.String()
				continue
			}
			s.Skip()
		}
		if len(name) == 0 {
			s.Fail(ErrList)
			continue
		}
		if !may(string(name), a.now) {
			continue
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		out = strictjson.Compact(out, s.Since(start))
	}
	return append(out, ']')
}

// capped is a ttlMs as it may be passed on: what is no sensible number is 0.
func capped(raw []byte) int64 {
	ttl, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || ttl < 0 {
		return 0
	}
	return min(ttl, MaxTTL.Milliseconds())
}

// Revision is the revision of the protocol that a server's answer to a legacy initialize chose; empty if the answer is
// an error of the server.
func Revision(answer []byte) (gateconfig.Revision, error) {
	s := strictjson.New(answer, depth)
	defer s.Release()
	chosen, failed := "", false
	for s.Enter('{', envelope); s.Member(); {
		switch string(s.Name()) {
		case "error":
			failed = true
			s.Skip()
		case "result":
			for s.Enter('{', result); s.Member(); {
				if string(s.Name()) == "protocolVersion" {
					chosen = string(s.String())
					continue
				}
				s.Skip()
			}
		default:
			s.Skip()
		}
	}
	if err := s.End(); err != nil {
		return "", err
	}
	if failed == (chosen != "") {
		return "", ErrShape
	}
	return gateconfig.Revision(chosen), nil
}

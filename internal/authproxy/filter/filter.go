// Package filter lets one strictly read answer to each request through, written anew, on one line: lists cut to what the
// client may use, what may be cached made private, revisions cut to those that are accepted, errors in words of ours.
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
		"protocolVersion", "supportedVersions", "capabilities", "tasks", "task", "taskId", "inputRequests", "requestState")
	capabilities = strictjson.Open("logging", "completions", "tasks", "tools", "prompts", "resources")
	element      = strictjson.Open("name", "uri", "uriTemplate")
)

// ListChanged says whether a method tells that a list of the server's definitions has changed.
func ListChanged(method string) bool {
	switch method {
	case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
		return true
	}
	return false
}

// Answer returns the filtered form of one JSON-RPC message that the server sent in answer to m: the body of a JSON
// answer, or the data of one SSE event. It returns nil without an error for what the client is not to have of what it did not ask
// for. An error means that the answer must not reach the caller (502). A nil m stands for any request. min is the
// lowest accepted revision.
func Answer(m *message.Message, g *decision.Grants, min gateconfig.Revision, now time.Time, answer []byte) ([]byte, error) {
	out, _, err := pass(m, g, nil, min, now, answer)
	return out, err
}

// AnswerTo is Answer for a Client.
func AnswerTo(c Client, m *message.Message, g *decision.Grants, min gateconfig.Revision, now time.Time, answer []byte) ([]byte, error) {
	out, _, err := pass(m, g, c, min, now, answer)
	return out, err
}

// Stream filters the events of one SSE stream in answer to m, and lets one final answer through, nothing after it. It is
// for one goroutine.
type Stream struct {
	// Client is whom it is for.
	Client Client

	m     *message.Message
	g     *decision.Grants
	min   gateconfig.Revision
	final bool
}

// NewStream returns a Stream for m, which may be nil.
func NewStream(m *message.Message, g *decision.Grants, min gateconfig.Revision) *Stream {
	return &Stream{m: m, g: g, min: min}
}

// Renew has the next events filtered by what the client may do now.
func (s *Stream) Renew(g *decision.Grants, min gateconfig.Revision) { s.g, s.min = g, min }

// Event is Answer for the data of the next event. An event without data, which only carries an id, stays without.
func (s *Stream) Event(now time.Time, data []byte) ([]byte, error) {
	if len(data) == 0 {
		return []byte{}, nil
	}
	if s.final {
		return nil, ErrFinal
	}
	out, final, err := pass(s.m, s.g, s.Client, s.min, now, data)
	s.final = final && s.m != nil
	return out, err
}

// Final says whether the final answer has been through: a stream that ends before that was cut.
func (s *Stream) Final() bool { return s.final }

// answer is one message of the server.
type answer struct {
	m      *message.Message
	g      *decision.Grants
	client Client
	min    gateconfig.Revision
	now    time.Time

	id, result         []byte
	failure            *failure
	method             string
	params             parameters
	version, hasMethod bool
}

func pass(m *message.Message, g *decision.Grants, c Client, min gateconfig.Revision, now time.Time, data []byte) (out []byte, final bool, err error) {
	s := strictjson.New(data, depth)
	defer s.Release()
	s.AnyText()
	a := answer{m: m, g: g, client: c, min: min, now: now}
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
	case m == nil && c != nil && !c.Resumes():
		return nil, false, nil // nobody asked for it
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
			a.params.scan(s)
		case "result":
			a.result = a.scanResult(s)
		case "error":
			a.failure = scanFailure(s, a.m, a.min)
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
	data, ok := a.relate(data)
	if !ok {
		return nil, nil
	}
	if a.id != nil {
		return a.passRequest(data)
	}
	switch a.method {
	case "notifications/progress", "notifications/message", "notifications/tools/list_changed", "notifications/prompts/list_changed",
		"notifications/resources/list_changed":
	case "notifications/resources/updated":
		uri, err := text(a.params.uri.raw)
		if err != nil {
			return nil, err
		}
		if !a.g.MayResource(uri, a.now) {
			return nil, nil
		}
	case "notifications/subscriptions/acknowledged":
		return a.passAcknowledged(data)
	case "notifications/tasks", "notifications/tasks/status":
		return a.passTask(data)
	case "notifications/elicitation/complete":
		if !a.g.MayOpenPages(a.now) {
			return nil, nil
		}
	case "notifications/cancelled":
		// A request that never reached the client is not taken back from it.
		if a.client == nil || !a.client.Withdraw(a.params.id.raw) {
			return nil, nil
		}
	default:
		// The specification has no other.
		return nil, nil
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
	if a.failure != nil && a.failure.code == 0 {
		return nil, ErrShape
	}
	if a.failure != nil && a.failure.code == codeElicitation {
		if err := a.judgePages(a.failure.data); err != nil {
			return nil, err
		}
	}
	out := make([]byte, 0, size+64)
	out = append(out, `{"jsonrpc":"2.0","id":`...)
	out = append(out, id...)
	if a.failure != nil {
		out = a.failure.append(append(out, `,"error":`...))
	} else {
		out = append(out, `,"result":`...)
		if a.read() {
			out = append(out, a.result...)
		} else {
			out = strictjson.Compact(out, a.result)
		}
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
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list":
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

// read says whether something of the result is read, so that its members' names must have one reading. Any other result
// is content and passes as it is.
func (a *answer) read() bool {
	return a.lists() || a.cacheable() || a.m.Method == "server/discover" || a.m.Method == "initialize"
}

// scanResult returns the result as it is passed on, or, where nothing of it is read, as it came.
func (a *answer) scanResult(s *strictjson.Scanner) []byte {
	whole := s
	switch {
	case a.m != nil && a.read() && interrupts(a.m.Method):
		out, done := a.scanContent(s)
		if out == nil || done {
			return strictjson.Compact(nil, out)
		}
		again := strictjson.New(out, depth)
		defer again.Release()
		again.AnyText()
		s = again
	case !a.read():
		out, _ := a.scanContent(s)
		return out
	}
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
				// Lists and the like are the last word.
				s.Fail(ErrShape)
			}
			out = append(append(out, `"resultType":`...), raw...)
			out = append(out, ',')
			continue
		case "supportedVersions":
			if a.m == nil || a.m.Method == "server/discover" {
				out = scanRevisions(s, append(out, `"supportedVersions":`...), a.min)
				out = append(out, ',')
				continue
			}
		case "capabilities":
			if a.m == nil || a.m.Method == "server/discover" || a.m.Method == "initialize" {
				out = a.scanCapabilities(s, append(out, `"capabilities":`...))
				out = append(out, ',')
				continue
			}
		case "inputRequests", "requestState":
			s.Fail(ErrShape)
		case "task", "taskId":
			if a.m == nil {
				// The call that this answers is not known, nor then what the handle would be for.
				s.Fail(ErrShape)
			}
		case "tasks":
			if a.m == nil || a.m.Method == "tasks/list" {
				out = append(a.scanTasks(s, append(out, `"tasks":`...)), ',')
				continue
			}
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
	if s != whole && s.End() != nil {
		whole.Fail(s.End())
	}
	return append(out, '}')
}

// scanCapabilities appends the server's capabilities but for those of which the client may use nothing: clients take one
// that is there as leave to use it, and some give up when that is refused. Lists are everyone's, so what has one stays.
func (a *answer) scanCapabilities(s *strictjson.Scanner, out []byte) []byte {
	out = append(out, '{')
	for s.Enter('{', capabilities); s.Member(); {
		may := true
		switch string(s.Name()) {
		case "logging":
			may = a.g.MayMethod("logging/setLevel", a.now)
		case "completions":
			may = a.g.MayComplete(a.now)
		case "tasks":
			may = a.g.MayCall(a.now)
		}
		start := len(out)
		out = append(append(append(out, '"'), s.Name()...), `":`...)
		out = append(strictjson.Compact(out, s.Skip()), ',')
		if !may {
			out = out[:start]
		}
	}
	return append(bytes.TrimSuffix(out, []byte(",")), '}')
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

package message

import (
	"errors"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

const (
	// maxID bounds the raw token of an id, in bytes: it is repeated in answers and logs.
	maxID = 512
	// maxMethod bounds a method, in bytes.
	maxMethod = 128
	// MaxTarget bounds the name of a target, in bytes; it is what policy.MaxValue is.
	MaxTarget = 2048
	// maxTargets bounds the targets of one message.
	maxTargets = 256

	metaRevision = "io.modelcontextprotocol/protocolVersion"
	metaTask     = "io.modelcontextprotocol/related-task"
)

// The objects that a decision reads, and the names in them that mean something to this or a later stage, or to servers
// in a way that a stage could depend on.
var (
	envelope = strictjson.Closed("jsonrpc", "id", "method", "params", "result", "error")
	params   = strictjson.Open("_meta", "name", "uri", "ref", "arguments", "argument", "context", "cursor", "level",
		"notifications", "taskId", "taskIds", "task", "resourceSubscriptions", "requestState", "inputResponses",
		"requestId", "reason", "progressToken", "progress", "protocolVersion", "capabilities", "clientInfo")
	meta = strictjson.Open(metaRevision, "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities",
		"io.modelcontextprotocol/logLevel", "io.modelcontextprotocol/subscriptionId", "progressToken",
		"traceparent", "tracestate", "baggage", metaTask)
	related   = strictjson.Open("taskId")
	reference = strictjson.Open("type", "name", "uri", "title")
	listen    = strictjson.Open("toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds")
)

// methods are the methods of the specification, so that reading one of them allocates nothing.
var methods = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{
		"initialize", "ping", "server/discover", "tools/list", "tools/call", "prompts/list", "prompts/get",
		"resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
		"completion/complete", "logging/setLevel", "subscriptions/listen", "notifications/initialized",
		"notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
		"tasks/get", "tasks/result", "tasks/update", "tasks/cancel", "tasks/list",
	} {
		m[name] = name
	}
	return m
}()

const notifications = "notifications/"

// found is what the pass over the body saw, before it is known what the method makes of it. The slices are raw values.
type found struct {
	version, id, method, params, result, err          bool
	name, uri, ref, listen, asked, cancels, arguments []byte
	state, task, asksTask, brings                     []byte
	stateAt, taskAt, listenAt                         int
	// relates says that the message is about a task beside what it asks for, and related is the task's id.
	relates     bool
	related     []byte
	relatedAt   int
	hasRevision bool
	revision    []byte
}

// Read parses one HTTP body in one strict pass: exactly one JSON-RPC object in UTF-8 without a byte order mark, NUL,
// lone surrogates or anything after it, no deeper than limits.Depth, with no member name twice in any object and no
// variant of a known name in the objects that a decision reads; ids are kept as bytes; what the method is about must be
// named. On an error the Message has no more than the ID, for the answer.
func Read(body []byte, limits gateconfig.Limits) (Message, *Error) {
	if int64(len(body)) > limits.RequestBytes {
		return Message{}, errSize
	}
	s := strictjson.New(body, limits.Depth)
	defer s.Release()
	if s.Kind() == '[' {
		return Message{}, errBatch
	}
	m := Message{Body: body}
	f, refusal := m.scan(s)
	if err := s.End(); err != nil {
		return Message{}, refuse(err)
	}
	if refusal == nil {
		refusal = m.classify(&f)
	}
	if refusal == nil && m.Kind != Response {
		refusal = m.aim(&f, limits.Depth)
	}
	if refusal == nil && f.relates {
		refusal = m.relateTo(&f)
	}
	if refusal != nil {
		return Message{ID: m.ID}, refusal
	}
	return m, nil
}

// scan reads the whole body. A refusal is for a value that is JSON but not what it must be; a text that is not JSON is
// s.Err, which comes first.
func (m *Message) scan(s *strictjson.Scanner) (f found, refusal *Error) {
	first := func(e *Error) {
		if refusal == nil {
			refusal = e
		}
	}
	for s.Enter('{', envelope); s.Member(); {
		switch string(s.Name()) {
		case "jsonrpc":
			if s.Kind() != '"' {
				s.Skip()
				break
			}
			f.version = string(s.String()) == "2.0"
		case "id":
			f.id = true
			if id := s.Skip(); validID(id) {
				m.ID = id
			} else {
				first(errID)
			}
		case "method":
			f.method = true
			if s.Kind() != '"' {
				s.Skip()
				first(errShape)
				break
			}
			method := s.String()
			if len(method) == 0 || len(method) > maxMethod {
				first(errShape)
				break
			}
			var ok bool
			if m.Method, ok = methods[string(method)]; !ok {
				m.Method = string(method)
			}
		case "params":
			f.params = true
			if s.Kind() != '{' {
				s.Skip()
				first(errParams)
				break
			}
			if !m.scanParams(s, &f) {
				first(errParams)
			}
		case "result":
			f.result = true
			f.scanResult(s)
		case "error":
			f.err = true
			if s.Kind() != '{' {
				first(errShape)
			}
			s.Skip()
		}
	}
	return f, refusal
}

func (m *Message) scanParams(s *strictjson.Scanner, f *found) (ok bool) {
	ok = true
	for s.Enter('{', params); s.Member(); {
		switch string(s.Name()) {
		case "name":
			f.name = s.Skip()
		case "uri":
			f.uri = s.Skip()
		case "ref":
			f.ref = s.Skip()
		case "notifications":
			f.listenAt = s.Start()
			f.listen = s.Skip()
		case "requestState":
			f.stateAt = s.Start()
			f.state = s.Skip()
		case "taskId":
			f.taskAt = s.Start()
			f.task = s.Skip()
		case "task":
			f.asksTask = s.Skip()
		case "inputResponses":
			f.brings = s.Skip()
		case "protocolVersion":
			f.asked = s.Skip()
		case "requestId":
			f.cancels = s.Skip()
		case "arguments":
			f.arguments = s.Skip()
		case "_meta":
			if s.Kind() != '{' {
				s.Skip()
				ok = false
				break
			}
			for s.Enter('{', meta); s.Member(); {
				switch string(s.Name()) {
				case "traceparent":
					m.TraceParent = s.Skip()
				case "tracestate":
					m.TraceState = s.Skip()
				case metaTask:
					f.relate(s)
				case metaRevision:
					f.hasRevision = true
					if s.Kind() != '"' {
						s.Skip()
						ok = false
						continue
					}
					f.revision = s.String()
				default:
					s.Skip()
				}
			}
		default:
			s.Skip()
		}
	}
	return ok
}

// classify says which kind of message it is.
func (m *Message) classify(f *found) *Error {
	if !f.version {
		return errVersion
	}
	if !f.method {
		if !f.id || f.params || f.result == f.err {
			return errShape
		}
		m.Kind = Response
		return nil
	}
	if f.result || f.err {
		return errShape
	}
	m.Kind = Request
	if !f.id {
		m.Kind = Notification
	}
	if notification := len(m.Method) > len(notifications) && m.Method[:len(notifications)] == notifications; notification == f.id {
		return errNotify
	}
	if f.hasRevision {
		m.Revision = revision(f.revision)
		if m.Revision == "" {
			return errMeta
		}
	}
	return nil
}

// aim finds the targets.
func (m *Message) aim(f *found, depth int) *Error {
	var target Target
	var ok bool
	if refusal := m.bring(f); refusal != nil {
		return refusal
	}
	switch m.Method {
	case "tasks/get", "tasks/result", "tasks/update", "tasks/cancel":
		if (m.Method == "tasks/result" && m.Modern()) || (m.Method == "tasks/update" && !m.Modern()) {
			// Whatever they name, the decision refuses the method.
			return nil
		}
		h, ok := handle(Task, f.task, f.taskAt)
		if !ok || len(h.Value) > MaxTarget || f.name != nil || f.uri != nil {
			return errTarget
		}
		m.Handles = []Handle{h}
		return nil
	case "tools/call":
		target, ok = named(Tool, f.name)
	case "prompts/get":
		target, ok = named(Prompt, f.name)
	case "resources/subscribe", "resources/unsubscribe":
		if m.Modern() {
			// The stateless revisions do not have them: whatever they name, the decision refuses the method.
			return nil
		}
		target, ok = named(Resource, f.uri)
	case "resources/read":
		target, ok = named(Resource, f.uri)
	case "completion/complete":
		target, ok = referred(f.ref, depth)
	case "subscriptions/listen":
		if !m.subscribed(f, depth) {
			return errTarget
		}
		return nil
	case "initialize":
		if m.Revision == "" {
			asked, ok := text(f.asked)
			if m.Asked = revision([]byte(asked)); !ok || m.Asked == "" {
				return errParams
			}
		}
		return nil
	case "notifications/cancelled":
		// A task is cancelled by another method; without an id there is nothing to cancel.
		if m.Cancels = f.cancels; !validID(m.Cancels) {
			return errParams
		}
		return nil
	default:
		return nil
	}
	if !ok {
		return errTarget
	}
	if f.name != nil && f.uri != nil {
		// Which of them a server takes is its own choice.
		return errTarget
	}
	m.Targets = []Target{target}
	if target.Kind == Tool || target.Kind == Prompt {
		if m.Arguments = f.arguments; len(m.Arguments) > 0 && m.Arguments[0] != '{' {
			return errParams
		}
	}
	return nil
}

func named(kind TargetKind, raw []byte) (Target, bool) {
	name, ok := text(raw)
	return Target{Kind: kind, Name: name}, ok && name != "" && len(name) <= MaxTarget
}

// Text is the string in a raw JSON value of a message; empty where that is no string.
func Text(raw []byte) string {
	s, _ := text(raw)
	return s
}

// Known says whether a method is one of the specification.
func Known(method string) bool {
	_, ok := methods[method]
	return ok
}

// text is the string in a raw JSON value that has been scanned.
func text(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	for _, c := range raw {
		if c == '\\' {
			s := strictjson.New(raw, 0)
			defer s.Release()
			return string(s.String()), s.End() == nil
		}
	}
	return string(raw[1 : len(raw)-1]), true
}

// referred reads the reference of a completion/complete.
func referred(raw []byte, depth int) (target Target, ok bool) {
	s := strictjson.New(raw, depth)
	defer s.Release()
	var kind string
	var name, uri []byte
	for s.Enter('{', reference); s.Member(); {
		switch string(s.Name()) {
		case "type":
			kind = string(s.String())
		case "name":
			name = s.Skip()
		case "uri":
			uri = s.Skip()
		default:
			s.Skip()
		}
	}
	switch {
	case s.End() != nil:
		return Target{}, false
	case kind == "ref/prompt" && uri == nil:
		return named(Prompt, name)
	case kind == "ref/resource" && name == nil:
		target, ok = named(Resource, uri)
		for i := range len(target.Name) {
			if target.Name[i] == '{' || target.Name[i] == '}' {
				target.Kind = Template
			}
		}
		return target, ok
	}
	return Target{}, false
}

// subscribed reads the filter of a subscriptions/listen: its targets are the resources, its handles the tasks.
func (m *Message) subscribed(f *found, depth int) (ok bool) {
	s := strictjson.New(f.listen, depth)
	defer s.Release()
	for s.Enter('{', listen); s.Member(); {
		switch string(s.Name()) {
		case "toolsListChanged", "promptsListChanged", "resourcesListChanged":
			if k := s.Kind(); k != 't' && k != 'f' {
				return false
			}
			s.Skip()
		case "resourceSubscriptions":
			for s.Enter('[', nil); s.Element(); {
				uri := string(s.String())
				if uri == "" || len(uri) > MaxTarget || len(m.Targets) == maxTargets {
					return false
				}
				m.Targets = append(m.Targets, Target{Kind: Resource, Name: uri})
			}
		case "taskIds":
			for s.Enter('[', nil); s.Element(); {
				at := f.listenAt + s.Start()
				h, ok := handle(Task, s.Skip(), at)
				if !ok || len(h.Value) > MaxTarget || len(m.Handles) == maxTargets {
					return false
				}
				m.Handles = append(m.Handles, h)
			}
		default:
			return false
		}
	}
	return s.End() == nil
}

// validID says whether a raw JSON value is a string or an integer that every parser reads as the same one.
func validID(raw []byte) bool {
	if len(raw) == 0 || len(raw) > maxID {
		return false
	}
	if raw[0] == '"' {
		return true
	}
	digits := raw
	if digits[0] == '-' {
		// -0 is an integer that JavaScript writes as 0.
		if digits = digits[1:]; len(digits) == 0 || digits[0] == '0' {
			return false
		}
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// revision is b as a revision, or empty if b does not look like one: up to 32 letters, digits, dots and hyphens.
func revision(b []byte) gateconfig.Revision {
	for _, known := range []gateconfig.Revision{gateconfig.Revision20260728, gateconfig.Revision20251125, gateconfig.Revision20250618} {
		if string(b) == string(known) {
			return known
		}
	}
	if len(b) > 32 {
		return ""
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '.' {
			return ""
		}
	}
	return gateconfig.Revision(b)
}

// refuse is the refusal for an error of the scanner.
func refuse(err error) *Error {
	switch {
	case errors.Is(err, strictjson.ErrUTF8):
		return errUTF8
	case errors.Is(err, strictjson.ErrNUL):
		return errNUL
	case errors.Is(err, strictjson.ErrSurrogate):
		return errSurrogate
	case errors.Is(err, strictjson.ErrDuplicate):
		return errDuplicate
	case errors.Is(err, strictjson.ErrVariant):
		return errVariant
	case errors.Is(err, strictjson.ErrUnknown):
		return errUnknown
	case errors.Is(err, strictjson.ErrDepth):
		return errDepth
	case errors.Is(err, strictjson.ErrMembers):
		return errMembers
	case errors.Is(err, strictjson.ErrKind):
		return errShape
	}
	return errSyntax
}

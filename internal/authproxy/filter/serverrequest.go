package filter

import (
	"errors"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// ErrDenied is for an answer by which the server asks its client for what no policy allows. The call has no other answer.
var ErrDenied = errors.New("the server asks its client for what no policy allows")

// maxInputs bounds what one answer asks for.
const maxInputs = 64

// ServerRequest is a request of the server to its client.
type ServerRequest struct {
	// ID is the raw JSON token of the request's id; nil for one that is part of an answer.
	ID     []byte
	Method string
	// Asks is what it asks for, Decision whether the policy allows it.
	Asks     decision.ServerRequest
	Decision decision.Decision
}

// Client is whom the server's own requests and handles are for. Without one nothing of that passes.
type Client interface {
	// Resumes says whether a stream that is in answer to no request may bring what is left of an earlier one: a server answers
	// nothing on any other (MCP 2025-11-25, "Listening for Messages from the Server").
	Resumes() bool
	// Ask is told of each request, and says whether the client may have one that the policy allows.
	Ask(ServerRequest) bool
	// Withdraw says whether the client has had the server's request with this id, which the server takes back.
	Withdraw(id []byte) bool
	// State and NewTask return what stands for the state of a request and for the id of a task that the answer made.
	State(state string) (string, error)
	NewTask(id string) (string, error)
	// Task returns what stands for the id of a task of this client; empty for any other task.
	Task(id string) string
}

// asks are the members of a server's request that are judged.
var (
	asks       = strictjson.Open("_meta", "uri", "requestId", "mode", "url", "task", "taskId", "inputRequests", "notifications", "elicitationId", "message")
	inputNames = strictjson.Open("method", "params")
	pageNames  = strictjson.Open("elicitations")
)

// parameters are the raw members of a server's request or notification that something is decided by.
type parameters struct {
	uri, id, mode, url, task, taskID, inputs, subscribed span
	related                                              related
}

func (p *parameters) scan(s *strictjson.Scanner) {
	for s.Enter('{', asks); s.Member(); {
		var to *span
		switch string(s.Name()) {
		case "_meta":
			p.related.scan(s)
			continue
		case "uri":
			to = &p.uri
		case "requestId":
			to = &p.id
		case "mode":
			to = &p.mode
		case "url":
			to = &p.url
		case "task":
			to = &p.task
		case "taskId":
			to = &p.taskID
		case "inputRequests":
			to = &p.inputs
		case "notifications":
			to = &p.subscribed
		default:
			s.Skip()
			continue
		}
		to.read(s)
	}
}

// asked is what a request of the server asks for. What is unknown, or not spelled in one way only, is nothing that a rule can
// allow.
func (p *parameters) asked(method string) decision.ServerRequest {
	if p.task.raw != nil {
		// Clients would keep tasks of their own, which the server then reads by methods that no client has here.
		return decision.ServerRequest{}
	}
	switch method {
	case "sampling/createMessage":
		return decision.ServerRequest{Kind: policy.Sampling}
	case "roots/list":
		return decision.ServerRequest{Kind: policy.Roots}
	case "elicitation/create":
	default:
		return decision.ServerRequest{}
	}
	mode := "form"
	if p.mode.raw != nil {
		var err error
		if mode, err = text(p.mode.raw); err != nil {
			return decision.ServerRequest{}
		}
	}
	switch {
	case mode == "form" && p.url.raw == nil:
		return decision.ServerRequest{Kind: policy.ElicitationForm}
	case mode == "url":
		return page(p.url.raw)
	}
	return decision.ServerRequest{}
}

// page is what an elicitation by the raw URL asks for.
func page(raw []byte) decision.ServerRequest {
	url, err := text(raw)
	if err != nil {
		return decision.ServerRequest{}
	}
	host, err := policy.PageHost(url)
	if err != nil {
		return decision.ServerRequest{}
	}
	return decision.ServerRequest{Kind: policy.ElicitationURL, Host: host}
}

// ask judges one request of the server, and says whether the client gets it.
func (a *answer) ask(id []byte, method string, asks decision.ServerRequest) bool {
	if a.client == nil {
		return false
	}
	r := ServerRequest{ID: id, Method: method, Asks: asks, Decision: a.g.DecideServerRequest(asks, a.now)}
	if method == "ping" {
		// Who is connected may be asked whether it still is.
		r.Decision = decision.Decision{Allowed: a.g.Live(a.now), Reason: decision.ReasonExpired}
	}
	return a.client.Ask(r) && r.Decision.Allowed
}

// passRequest passes a request of the server in a legacy session. One that is not allowed is left out of the stream: the Client
// tells the server.
func (a *answer) passRequest(data []byte) ([]byte, error) {
	if !sound(a.id) {
		return nil, ErrShape
	}
	if !a.ask(a.id, a.method, a.params.asked(a.method)) {
		return nil, nil
	}
	return strictjson.Compact(make([]byte, 0, len(data)), data), nil
}

// sound says whether a raw JSON value is an id that a response repeats as it is.
func sound(id []byte) bool {
	return len(id) > 0 && len(id) <= 512 && (id[0] == '"' || id[0] == '-' || (id[0] >= '0' && id[0] <= '9'))
}

// judgeInputs judges the requests in an answer that wants input. All or none: a client would bring back less than the server
// waits for, and be asked again and again.
func (a *answer) judgeInputs(raw []byte) error {
	s := strictjson.New(raw, depth)
	defer s.Release()
	s.AnyText()
	denied, n := false, 0
	for s.Enter('{', nil); s.Member(); {
		if n++; n > maxInputs {
			return ErrShape
		}
		var p parameters
		method := ""
		for s.Enter('{', inputNames); s.Member(); {
			switch string(s.Name()) {
			case "method":
				method = string(s.String())
			case "params":
				p.scan(s)
			default:
				s.Skip()
			}
		}
		if s.Err() != nil {
			break
		}
		if method == "ping" || !a.ask(nil, method, p.asked(method)) {
			denied = true
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if denied {
		return ErrDenied
	}
	return nil
}

// judgePages judges the data of an error that asks for elicitations by URL (2025-11-25, "URL Elicitation Required Error").
func (a *answer) judgePages(raw []byte) error {
	if raw == nil {
		return nil
	}
	s := strictjson.New(raw, depth)
	defer s.Release()
	s.AnyText()
	denied, n := false, 0
	for s.Enter('{', pageNames); s.Member(); {
		if string(s.Name()) != "elicitations" {
			s.Skip()
			continue
		}
		for s.Enter('[', nil); s.Element(); {
			if n++; n > maxInputs {
				return ErrShape
			}
			var p parameters
			p.scan(s)
			if mode, err := text(p.mode.raw); s.Err() == nil && (err != nil || mode != "url" || !a.ask(nil, "elicitation/create", page(p.url.raw))) {
				denied = true
			}
		}
	}
	if err := s.End(); err != nil {
		return err
	}
	if denied {
		return ErrDenied
	}
	return nil
}

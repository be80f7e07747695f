package filter

import (
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// interim are the members of a result that say it is not the last word: the server wants input first (2026-07-28, "Multi
// Round-Trip Requests"), or made a task of the call (2025-11-25, "Tasks"; since 2026-07-28 the extension of that name).
type interim struct {
	kind, inputs, state, task, taskID span
	related                           related
}

// member is where the member with the name goes; nil for content. ok is false for a name that only resembles one of them.
func (i *interim) member(name []byte) (to *span, ok bool) {
	switch string(name) {
	case "resultType":
		return &i.kind, true
	case "inputRequests":
		return &i.inputs, true
	case "requestState":
		return &i.state, true
	case "task":
		return &i.task, true
	case "taskId":
		return &i.taskID, true
	}
	for _, known := range interimNames {
		if resembles(name, known) {
			return nil, false
		}
	}
	return nil, true
}

var interimNames = []string{"resultType", "inputRequests", "requestState", "taskId"}

// interrupts says whether the result of the method may be one that is not the last word.
func interrupts(method string) bool {
	return method == "tools/call" || method == "prompts/get" || method == "resources/read"
}

// scanContent returns the result of a call as it is passed on: content as it came, and in an answer that is not the last word
// handles for what the client is to bring back. done says that it is not the last word.
func (a *answer) scanContent(s *strictjson.Scanner) (out []byte, done bool) {
	var i interim
	start := s.Start()
	for s.Enter('{', nil); s.Member(); {
		if string(s.Name()) == "_meta" {
			i.related.scan(s)
			continue
		}
		to, ok := i.member(s.Name())
		switch {
		case !ok:
			s.Fail(strictjson.ErrVariant)
		case to == nil:
			s.Skip()
		default:
			to.read(s)
		}
	}
	raw := s.Since(start)
	if raw == nil {
		return nil, false
	}
	edits, done, err := a.judge(&i)
	if err != nil {
		s.Fail(err)
		return nil, false
	}
	if i.related.there {
		e, ok := i.related.edit(a)
		if !ok {
			s.Fail(ErrShape)
			return nil, false
		}
		edits = append(edits, e)
	}
	if len(edits) == 0 {
		return raw, done
	}
	return edited(raw, start, edits), done
}

// judge judges what a result wants of the client, and says what is put in the place of the server's handles.
func (a *answer) judge(i *interim) (edits []edit, done bool, err error) {
	kind := "complete"
	if i.kind.raw != nil {
		if kind, err = text(i.kind.raw); err != nil {
			return nil, false, err
		}
	}
	modern := a.m.Modern()
	switch a.m.Method {
	case "tasks/get", "tasks/update", "tasks/cancel":
		if kind != "complete" || i.state.raw != nil {
			return nil, false, ErrShape
		}
		if i.inputs.raw != nil {
			if !modern {
				return nil, false, ErrServer
			}
			if err := a.judgeInputs(i.inputs.raw); err != nil {
				return nil, false, err
			}
		}
		if i.taskID.raw == nil {
			return nil, true, nil
		}
		return a.sameTask(i.taskID)
	case "tools/call", "prompts/get", "resources/read":
	default:
		if kind != "complete" || i.inputs.raw != nil || i.state.raw != nil {
			return nil, false, ErrShape
		}
		return nil, true, nil
	}
	switch {
	case kind == "complete":
		if i.inputs.raw != nil || i.state.raw != nil {
			return nil, false, ErrShape
		}
		if a.m.AsksTask && !modern && i.task.raw != nil {
			return a.legacyTask(i.task)
		}
		return nil, false, nil
	case kind == "input_required" && modern:
		return a.wantsInput(i)
	case kind == "task" && modern && a.m.Method == "tools/call":
		e, err := a.newTask(i.taskID)
		return []edit{e}, true, err
	}
	return nil, false, ErrShape
}

func (a *answer) wantsInput(i *interim) (edits []edit, done bool, err error) {
	if i.inputs.raw == nil && i.state.raw == nil {
		return nil, false, ErrShape
	}
	if i.inputs.raw != nil {
		if err := a.judgeInputs(i.inputs.raw); err != nil {
			return nil, false, err
		}
	}
	if i.state.raw == nil {
		return nil, true, nil
	}
	state, err := text(i.state.raw)
	if err != nil || a.client == nil {
		return nil, false, ErrShape
	}
	handle, err := a.client.State(state)
	if err != nil {
		return nil, false, err
	}
	return []edit{{i.state, quote(handle)}}, true, nil
}

// newTask is the edit for the id of a task that the answer made.
func (a *answer) newTask(at span) (edit, error) {
	id, err := text(at.raw)
	if err != nil || id == "" || a.client == nil {
		return edit{}, ErrShape
	}
	handle, err := a.client.NewTask(id)
	return edit{at, quote(handle)}, err
}

// legacyTask edits the task that a legacy answer made.
func (a *answer) legacyTask(task span) (edits []edit, done bool, err error) {
	s := strictjson.New(task.raw, depth)
	defer s.Release()
	s.AnyText()
	var id span
	for s.Enter('{', taskNames); s.Member(); {
		if string(s.Name()) == "taskId" {
			id.read(s)
			continue
		}
		s.Skip()
	}
	if err := s.End(); err != nil {
		return nil, false, err
	}
	id.at += task.at
	e, err := a.newTask(id)
	return []edit{e}, true, err
}

var taskNames = strictjson.Open("taskId", "status")

// sameTask edits the id of the task that was asked about. Any other is none of the caller's business.
func (a *answer) sameTask(at span) (edits []edit, done bool, err error) {
	id, err := text(at.raw)
	if err != nil || a.client == nil {
		return nil, false, ErrShape
	}
	handle := a.client.Task(id)
	if handle == "" {
		return nil, false, ErrShape
	}
	return []edit{{at, quote(handle)}}, true, nil
}

// passTask passes a notification about a task, if it is one of the client's.
func (a *answer) passTask(data []byte) ([]byte, error) {
	id, err := text(a.params.taskID.raw)
	if err != nil {
		return nil, err
	}
	if a.client == nil {
		return nil, nil
	}
	handle := a.client.Task(id)
	if handle == "" {
		return nil, nil
	}
	if a.params.inputs.raw != nil {
		if err := a.judgeInputs(a.params.inputs.raw); err != nil {
			// It is told, with the reason, when it asks for the task.
			return nil, nil
		}
	}
	return strictjson.Compact(nil, edited(data, 0, []edit{{a.params.taskID, quote(handle)}})), nil
}

// passAcknowledged passes the server's word about which notifications it will send.
func (a *answer) passAcknowledged(data []byte) ([]byte, error) {
	if a.params.subscribed.raw == nil {
		return strictjson.Compact(nil, data), nil
	}
	s := strictjson.New(a.params.subscribed.raw, depth)
	defer s.Release()
	var edits []edit
	for s.Enter('{', subscribedNames); s.Member(); {
		if string(s.Name()) != "taskIds" {
			s.Skip()
			continue
		}
		for s.Enter('[', nil); s.Element(); {
			var id span
			id.read(s)
			name, err := text(id.raw)
			if err != nil || a.client == nil || a.client.Task(name) == "" {
				return nil, ErrShape
			}
			id.at += a.params.subscribed.at
			edits = append(edits, edit{id, quote(a.client.Task(name))})
		}
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return strictjson.Compact(nil, edited(data, 0, edits)), nil
}

var subscribedNames = strictjson.Open("toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds")

// scanTasks appends a list of tasks with those only that are the client's.
func (a *answer) scanTasks(s *strictjson.Scanner, out []byte) []byte {
	out = append(out, '[')
	for s.Enter('[', nil); s.Element(); {
		start := s.Start()
		var id span
		for s.Enter('{', taskNames); s.Member(); {
			if string(s.Name()) == "taskId" {
				id.read(s)
				continue
			}
			s.Skip()
		}
		name, err := text(id.raw)
		if err != nil {
			s.Fail(ErrList)
			continue
		}
		handle := ""
		if a.client != nil {
			handle = a.client.Task(name)
		}
		if handle == "" {
			continue
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		out = strictjson.Compact(out, edited(s.Since(start), start, []edit{{id, quote(handle)}}))
	}
	return append(out, ']')
}

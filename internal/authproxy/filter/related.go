package filter

import (
	"bytes"

	"github.com/bartizan-dev/bartizan/internal/authproxy/decision"
	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// related is the task that a message of the server is about, in its _meta (2025-11-25, "Related Task Metadata").
type related struct {
	there bool
	id    span
}

const relatedTask = "io.modelcontextprotocol/related-task"

var relatedNames = strictjson.Open("taskId")

// scan reads a _meta.
func (r *related) scan(s *strictjson.Scanner) {
	if s.Kind() != '{' {
		s.Skip()
		return
	}
	for s.Enter('{', nil); s.Member(); {
		if string(s.Name()) != relatedTask {
			if bytes.EqualFold(s.Name(), []byte(relatedTask)) {
				s.Fail(strictjson.ErrVariant)
			}
			s.Skip()
			continue
		}
		r.there = true
		if s.Kind() != '{' {
			s.Skip()
			continue
		}
		for s.Enter('{', relatedNames); s.Member(); {
			if string(s.Name()) == "taskId" {
				r.id.read(s)
				continue
			}
			s.Skip()
		}
	}
}

// edit puts the client's handle in the place of the server's id. ok is false for a task that is not the client's.
func (r *related) edit(a *answer) (e edit, ok bool) {
	id, err := text(r.id.raw)
	if err != nil || a.client == nil {
		return edit{}, false
	}
	handle := a.client.Task(id)
	return edit{r.id, quote(handle)}, handle != ""
}

// relate puts the client's handle into a notification or request of the server. ok is false where the client is not to have it.
func (a *answer) relate(data []byte) (out []byte, ok bool) {
	if !a.params.related.there {
		return data, true
	}
	e, ok := a.params.related.edit(a)
	switch {
	case ok && a.params.taskID.raw == nil && a.params.subscribed.raw == nil:
		return edited(data, 0, []edit{e}), true
	case a.id != nil:
		// Nothing that a rule could allow: the server is told so.
		a.ask(a.id, a.method, decision.ServerRequest{})
	}
	return nil, false
}

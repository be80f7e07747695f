package message

import (
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/authproxy/strictjson"
)

// relate reads which task the message is about (2025-11-25, "Related Task Metadata").
func (f *found) relate(s *strictjson.Scanner) {
	f.relates = true
	if s.Kind() != '{' {
		s.Skip()
		return
	}
	for s.Enter('{', related); s.Member(); {
		if string(s.Name()) == "taskId" {
			f.relatedAt = s.Start()
			f.related = s.Skip()
			continue
		}
		s.Skip()
	}
}

// scanResult reads which task a client's answer is about; the rest of it is the server's to read.
func (f *found) scanResult(s *strictjson.Scanner) {
	if s.Kind() != '{' {
		s.Skip()
		return
	}
	for s.Enter('{', nil); s.Member(); {
		if !is(s, "_meta") || s.Kind() != '{' {
			s.Skip()
			continue
		}
		for s.Enter('{', nil); s.Member(); {
			if is(s, metaTask) {
				f.relate(s)
				continue
			}
			s.Skip()
		}
	}
}

// is says whether the member has the name, and refuses a variant of it: other names are content, and may be any.
func is(s *strictjson.Scanner, name string) bool {
	if string(s.Name()) == name {
		return true
	}
	if strings.EqualFold(string(s.Name()), name) {
		s.Fail(strictjson.ErrVariant)
	}
	return false
}

// relateTo adds the task that the message is about to its handles. A message that asks for a task is about that one.
func (m *Message) relateTo(f *found) *Error {
	h, ok := handle(Task, f.related, f.relatedAt)
	if !ok || len(h.Value) > MaxTarget || strings.HasPrefix(m.Method, "tasks/") {
		return errTarget
	}
	h.Related = true
	m.Handles = append(m.Handles, h)
	slices.SortFunc(m.Handles, func(a, b Handle) int { return a.at - b.at })
	return nil
}

package gate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
)

const (
	// stateTime is for how long the state of a request may be brought back: a user needs time, a thief should not have it.
	stateTime = time.Hour
	// maxTaskID bounds a server's own id of a task, in bytes. With the tool's name it must fit into a header.
	maxTaskID = 512
	// maxKept bounds the arguments that are kept until there is an answer, in bytes.
	maxKept = 4 << 10
)

var errHandle = errors.New("the server's handle cannot be sealed")

// State implements filter.Client: the state opens for the same principal's same request.
func (x *exchange) State(state string) (string, error) {
	now := time.Now()
	return x.gate.handles.SealUntil(now.Add(stateTime), now, []byte(state), x.stateParts()...)
}

func (x *exchange) stateParts() []string {
	digest := x.digest()
	return []string{"state", x.principal.Name(), string(digest[:])}
}

// digest says which request a state is for.
func (x *exchange) digest() [32]byte {
	if x.digested == nil {
		digest := x.message.Digest()
		x.digested = &digest
	}
	return *x.digested
}

// keepForDigest keeps what digest needs when the rest of the body is let go of: few answers need it.
func (x *exchange) keepForDigest() []byte {
	switch {
	case !x.message.Modern() || len(x.message.Arguments) == 0:
		return nil
	case len(x.message.Arguments) > maxKept:
		x.digest()
		return nil
	}
	return bytes.Clone(x.message.Arguments)
}

// NewTask implements filter.Client.
func (x *exchange) NewTask(id string) (string, error) {
	if len(x.message.Targets) != 1 {
		return "", errHandle
	}
	tool := x.message.Targets[0].Name
	handle, err := x.sealTask(tool, id)
	if err == nil {
		x.gate.tasks.Add(x.principal.Name(), id, tool)
	}
	return handle, err
}

// Task implements filter.Client: a task that the request names by its handle, or one that the principal is known to have made
// and whose tool it may still call.
func (x *exchange) Task(id string) string {
	if handle, ok := x.brought[id]; ok {
		return handle
	}
	tool, ok := x.gate.tasks.Tool(x.principal.Name(), id)
	if !ok || !x.grants.MayTool(tool, time.Now()) {
		return ""
	}
	handle, err := x.sealTask(tool, id)
	if err != nil {
		return ""
	}
	return handle
}

// sealTask seals a task's id with the tool that made it: whoever may not call that any more may not ask for the task either.
func (x *exchange) sealTask(tool, id string) (string, error) {
	if len(id) > maxTaskID {
		return "", errHandle
	}
	plain := append(binary.BigEndian.AppendUint16(nil, uint16(len(tool))), tool...)
	return x.gate.handles.Seal(time.Now(), append(plain, id...), "task", x.principal.Name())
}

func (x *exchange) openTask(handle string) (tool, id string, err error) {
	plain, err := x.gate.handles.Open(handle, "task", x.principal.Name())
	if err != nil || len(plain) < 2 {
		return "", "", errHandle
	}
	n := int(binary.BigEndian.Uint16(plain))
	if plain = plain[2:]; len(plain) < n {
		return "", "", errHandle
	}
	return string(plain[:n]), string(plain[n:]), nil
}

// openHandles puts the server's own handles in the place of those that the client brings back. They open for whom and for what
// they were made.
func (x *exchange) openHandles() *message.Error {
	m := x.message
	if m == nil {
		return nil
	}
	if len(m.Handles) > 0 {
		if refusal := x.replaceHandles(); refusal != nil {
			return refusal
		}
	}
	if m.Kind == message.Response {
		return x.takeAnswer()
	}
	return nil
}

func (x *exchange) replaceHandles() *message.Error {
	m := x.message
	values := make([]string, len(m.Handles))
	for i, h := range m.Handles {
		if h.Kind == message.State {
			state, err := x.gate.handles.OpenUntil(time.Now(), h.Value, x.stateParts()...)
			if err != nil {
				return errState
			}
			values[i] = string(state)
			continue
		}
		tool, id, err := x.openTask(h.Value)
		if err != nil {
			return errTask
		}
		if h.Related {
			if !x.principal.Grants(x.config).MayTool(tool, time.Now()) {
				return errTask
			}
			values[i] = id
			continue
		}
		if x.brought == nil {
			x.brought = map[string]string{}
		}
		values[i], x.brought[id] = id, h.Value
		m.Targets = append(m.Targets, message.Target{Kind: message.Tool, Name: tool})
		x.record.Targets = append(x.record.Targets, audit.Target{Kind: targetKinds[message.Tool], Name: tool})
	}
	m.Replace(values)
	if m.Named != "" && m.Modern() {
		x.forward[message.HeaderName] = message.Name(m.Named)
	}
	return nil
}

// Package tasks remembers who made which of a server's tasks, as far as a list or a notification of the server names one that
// nobody asked for. Whoever asks for a task shows its handle, which needs no memory.
package tasks

import "sync"

const (
	// maxPrincipal bounds the tasks of one principal, maxAll all of them. The oldest go first.
	maxPrincipal = 256
	maxAll       = 1 << 14
)

// Table is the tasks that are known. Its zero value is ready for use.
type Table struct {
	mu   sync.Mutex
	tool map[task]string
	// made are a principal's tasks, the oldest first.
	made map[string][]string
}

type task struct{ principal, id string }

// Add notes that a principal made the task by calling the tool.
func (t *Table) Add(principal, id, tool string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tool == nil || len(t.tool) >= maxAll {
		t.tool, t.made = map[task]string{}, map[string][]string{}
	}
	if _, known := t.tool[task{principal, id}]; known {
		return
	}
	if made := t.made[principal]; len(made) >= maxPrincipal {
		delete(t.tool, task{principal, made[0]})
		t.made[principal] = append([]string(nil), made[1:]...)
	}
	t.tool[task{principal, id}] = tool
	t.made[principal] = append(t.made[principal], id)
}

// Tool is the tool whose call made the task, if the principal made it.
func (t *Table) Tool(principal, id string) (tool string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tool, ok = t.tool[task{principal, id}]
	return tool, ok
}

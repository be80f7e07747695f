package verification

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// byServer remembers something of each server. An operator that begins remembers nothing. The zero value is ready.
type byServer[T any] struct {
	mutex sync.Mutex
	known map[types.NamespacedName]T
}

func (m *byServer[T]) last(server types.NamespacedName) (T, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	known, ok := m.known[server]
	return known, ok
}

func (m *byServer[T]) remember(server types.NamespacedName, what T) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.known == nil {
		m.known = map[types.NamespacedName]T{}
	}
	m.known[server] = what
}

func (m *byServer[T]) forget(server types.NamespacedName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.known, server)
}

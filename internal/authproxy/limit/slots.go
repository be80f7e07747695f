package limit

import "sync"

// Slots bounds how much goes on at once, in all and for each name.
type Slots struct {
	most, each int

	mu    sync.Mutex
	taken int
	by    map[string]int
}

// NewSlots returns slots of which none is taken.
func NewSlots(most, each int) *Slots { return &Slots{most: most, each: each, by: map[string]int{}} }

// Take takes a slot for a name if one is left for it.
func (s *Slots) Take(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.most || s.by[name] >= s.each {
		return false
	}
	s.taken++
	s.by[name]++
	return true
}

// Give gives a slot back that was taken for a name.
func (s *Slots) Give(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[name]--; s.by[name] == 0 {
		delete(s.by, name)
	}
}

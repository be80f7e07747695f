package decision

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Match says which rules are for the holder of a token, whoever acts for them, and which scopes the token has. It
// belongs to the Table that made it.
type Match struct {
	table  *Table
	rules  []uint32
	scopes scopes
	// key is all of it, for the memory.
	key string
}

// scopes are sorted.
type scopes []string

func (s scopes) all(wanted []string) bool {
	for _, scope := range wanted {
		if _, ok := slices.BinarySearch(s, scope); !ok {
			return false
		}
	}
	return true
}

// Match finds the rules that are for the holder of a token with these scopes. It takes long: keep the result.
func (t *Table) Match(token policy.Token, has []string) *Match {
	m := &Match{table: t, scopes: slices.Compact(slices.Sorted(slices.Values(has)))}
	var key []byte
	for i, c := range t.holders {
		if slices.ContainsFunc(c.written.Tokens, func(s policy.TokenSubject) bool { return s.Matches(token) }) {
			m.rules = append(m.rules, uint32(i))
			key = binary.BigEndian.AppendUint32(key, uint32(i))
		}
	}
	// Scopes that no rule asks for change nothing; so those who differ only in them share what they may do.
	m.scopes = slices.DeleteFunc(m.scopes, func(scope string) bool {
		return !slices.ContainsFunc(t.holders, func(c *compiled) bool { return slices.Contains(c.scopes, scope) })
	})
	m.key = string(key) + "\x00" + strings.Join(m.scopes, " ")
	return m
}

// For returns what the holder of the token may do, together with the client whose certificate came with it: what the rules
// allow to either, and to the holder through that client. The client is "" without a certificate.
func (m *Match) For(client string) *Grants {
	t := m.table
	at := memoryKey{client, m.key}
	if g, ok := t.memory.get(at); ok {
		return g
	}
	g := &Grants{methods: map[string][]*rule{}, has: m.scopes, forbidden: t.forbidden}
	if own := t.clients[client]; own != nil {
		for _, c := range own.compiled {
			g.add(c)
		}
	}
	for _, i := range m.rules {
		c := t.holders[i]
		if actors := c.written.Actors; len(actors) > 0 && !slices.Contains(actors, client) {
			continue
		}
		if !slices.Contains(g.compiled, c) {
			g.add(c)
		}
	}
	if len(g.rules) == 0 {
		g = nil
	}
	t.memory.put(at, g)
	return g
}

// memory keeps what callers may do, of whom there are few kinds.
type memory struct {
	mu    sync.RWMutex
	known map[memoryKey]*Grants
}

type memoryKey struct{ client, match string }

// maxMemory bounds the kinds of callers that are remembered. Beyond it all are forgotten: each is soon there again.
const maxMemory = 1024

func (m *memory) get(key memoryKey) (*Grants, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	g, ok := m.known[key]
	return g, ok
}

func (m *memory) put(key memoryKey, g *Grants) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= maxMemory {
		m.known = map[memoryKey]*Grants{}
	}
	m.known[key] = g
}

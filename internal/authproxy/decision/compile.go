package decision

import (
	"fmt"
	"time"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Table is a compiled policy: built once for a configuration, immutable, safe for concurrent use.
type Table struct{ clients map[string]*Grants }

// Grants is what one client may do. A nil Grants allows nothing.
type Grants struct {
	rules     []*rule
	tools     set
	prompts   set
	resources set
	methods   map[string][]*rule
}

// rule is the part of a policy's rule that a verdict needs.
type rule struct {
	id       string
	notAfter time.Time
}

func (r *rule) live(now time.Time) bool { return r.notAfter.IsZero() || now.Before(r.notAfter) }

// set is the patterns of one client over one kind of target. Most patterns are plain names: those are looked up.
type set struct {
	exact    map[string][]*rule
	patterns []grant
	// all are the patterns with the plain names among them.
	all []grant
}

type grant struct {
	pattern *policy.Pattern
	rule    *rule
}

func (s *set) add(p *policy.Pattern, r *rule) {
	s.all = append(s.all, grant{p, r})
	if !p.Exact() {
		s.patterns = append(s.patterns, grant{p, r})
		return
	}
	if s.exact == nil {
		s.exact = map[string][]*rule{}
	}
	s.exact[p.String()] = append(s.exact[p.String()], r)
}

// find returns a live rule that allows the name, or nil.
func (s *set) find(name string, now time.Time) *rule {
	for _, r := range s.exact[name] {
		if r.live(now) {
			return r
		}
	}
	for i := range s.patterns {
		if g := &s.patterns[i]; g.rule.live(now) && g.pattern.Match(name) {
			return g.rule
		}
	}
	return nil
}

// Compile checks and compiles a policy. Its errors name the rule and the field. A policy with one bad rule is refused
// as a whole.
func Compile(p policy.Policy) (*Table, error) {
	t := &Table{clients: map[string]*Grants{}}
	ids := map[string]bool{}
	for i, written := range p.Rules {
		if err := policy.Validate(written); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		if ids[written.ID] {
			return nil, fmt.Errorf("rules[%d]: id: %q is the id of another rule too", i, written.ID)
		}
		ids[written.ID] = true
		if err := t.add(written); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return t, nil
}

func (t *Table) add(written policy.Rule) error {
	r := &rule{id: written.ID, notAfter: written.NotAfter}
	tools, err := compile(written.Tools, policy.Name)
	if err != nil {
		return err
	}
	prompts, err := compile(written.Prompts, policy.Name)
	if err != nil {
		return err
	}
	resources, err := compile(written.Resources, policy.URI)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, client := range written.Clients {
		if seen[client] {
			continue
		}
		seen[client] = true
		g := t.clients[client]
		if g == nil {
			g = &Grants{methods: map[string][]*rule{}}
			t.clients[client] = g
		}
		g.rules = append(g.rules, r)
		for _, p := range tools {
			g.tools.add(p, r)
		}
		for _, p := range prompts {
			g.prompts.add(p, r)
		}
		for _, p := range resources {
			g.resources.add(p, r)
		}
		for _, method := range written.Methods {
			g.methods[method] = append(g.methods[method], r)
		}
	}
	return nil
}

func compile(patterns []string, one func(string) (policy.Pattern, error)) ([]*policy.Pattern, error) {
	compiled := make([]*policy.Pattern, 0, len(patterns))
	for _, pattern := range patterns {
		p, err := one(pattern)
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, &p)
	}
	return compiled, nil
}

// For returns what the client "<namespace>/<name>" may do; nil when no rule names it.
func (t *Table) For(client string) *Grants {
	if t == nil {
		return nil
	}
	return t.clients[client]
}

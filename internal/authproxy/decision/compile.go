package decision

import (
	"fmt"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Table is a compiled policy: built once for a configuration, immutable, safe for concurrent use.
type Table struct {
	clients map[string]*Grants
	// holders are the rules for holders of tokens.
	holders []*compiled
	memory  memory
	// forbidden are the tools that nobody may call.
	forbidden *policy.Forbidden
}

// Grants is what one client may do. A nil Grants allows nothing.
type Grants struct {
	compiled  []*compiled
	rules     []*rule
	tools     set
	prompts   set
	resources set
	methods   map[string][]*rule
	// has are the scopes of the caller's token.
	has scopes
	// forbidden are the tools that nobody may call.
	forbidden *policy.Forbidden
	// asks are the rules for what the server may ask, pages those for where it may send users.
	asks  map[policy.ServerRequest][]*rule
	pages []pages
	// conditional says that a rule has an expression, so that a verdict needs the arguments.
	conditional bool
}

// rule is the part of a policy's rule that a verdict needs.
type rule struct {
	id       string
	notAfter time.Time
	// scopes are those that the caller's token must have.
	scopes []string
	// expression is a condition on the call, nil for none; rate bounds how often a caller may use the rule.
	expression *policy.Expression
	rate       limit.Rate
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

// find returns a live rule that allows the name to the trial, or nil. One whose scopes the caller has comes before one that
// asks for more.
func (s *set) find(name string, now time.Time, has scopes, t *trial) *rule {
	var more *rule
	for _, r := range s.exact[name] {
		if !r.live(now) {
			continue
		}
		enough := has.all(r.scopes)
		if (!enough && more != nil) || !t.accepts(r, name, enough) {
			continue
		}
		if enough {
			return r
		}
		more = r
	}
	for i := range s.patterns {
		g := &s.patterns[i]
		if !g.rule.live(now) {
			continue
		}
		enough := has.all(g.rule.scopes)
		if (!enough && more != nil) || !g.pattern.Match(name) || !t.accepts(g.rule, name, enough) {
			continue
		}
		if enough {
			return g.rule
		}
		more = g.rule
	}
	return more
}

// Compile checks and compiles a policy. Its errors name the rule and the field. A policy with one bad rule is refused
// as a whole.
func Compile(p policy.Policy) (*Table, error) {
	forbidden, err := policy.Forbid(p.Forbidden)
	if err != nil {
		return nil, fmt.Errorf("forbidden: %w", err)
	}
	t := &Table{clients: map[string]*Grants{}, forbidden: &forbidden}
	ids := map[string]bool{}
	for i := range p.Rules {
		written := p.Rules[i]
		if err := policy.Validate(written); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		if ids[written.ID] {
			return nil, fmt.Errorf("rules[%d]: id: %q is the id of another rule too", i, written.ID)
		}
		ids[written.ID] = true
		if err := t.add(&written); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return t, nil
}

// compiled is one rule with its patterns.
type compiled struct {
	*rule
	written                   *policy.Rule
	tools, prompts, resources []*policy.Pattern
	hosts                     policy.Hosts
}

func (t *Table) add(written *policy.Rule) error {
	c := &compiled{rule: &rule{id: written.ID, notAfter: written.NotAfter, scopes: written.Scopes}, written: written}
	c.rate = limit.Rate{Burst: written.Rate.Requests, Requests: written.Rate.Requests, Per: time.Duration(written.Rate.PerSeconds) * time.Second}
	var err error
	if written.Expression != "" {
		if c.expression, err = policy.NewExpression(written.Expression); err != nil {
			return err
		}
	}
	if c.tools, err = compile(written.Tools, policy.Name); err != nil {
		return err
	}
	if c.prompts, err = compile(written.Prompts, policy.Name); err != nil {
		return err
	}
	if c.resources, err = compile(written.Resources, policy.URI); err != nil {
		return err
	}
	if c.hosts, err = policy.NewHosts(written.Hosts); err != nil {
		return err
	}
	if len(written.Tokens) > 0 {
		t.holders = append(t.holders, c)
	}
	seen := map[string]bool{}
	for _, client := range written.Clients {
		if seen[client] {
			continue
		}
		seen[client] = true
		if t.clients[client] == nil {
			t.clients[client] = &Grants{methods: map[string][]*rule{}, forbidden: t.forbidden}
		}
		t.clients[client].add(c)
	}
	return nil
}

func (g *Grants) add(c *compiled) {
	g.compiled = append(g.compiled, c)
	g.rules = append(g.rules, c.rule)
	g.conditional = g.conditional || c.expression != nil
	for _, p := range c.tools {
		g.tools.add(p, c.rule)
	}
	for _, p := range c.prompts {
		g.prompts.add(p, c.rule)
	}
	for _, p := range c.resources {
		g.resources.add(p, c.rule)
	}
	g.addServerRequests(c)
	for _, method := range c.written.Methods {
		g.methods[method] = append(g.methods[method], c.rule)
	}
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

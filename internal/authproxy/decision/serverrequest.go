package decision

import (
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

// ReasonServerRequest: no live rule lets the server ask the caller this.
const ReasonServerRequest = "server-request"

// ServerRequest is what the server asks of a caller.
type ServerRequest struct {
	// Kind is what it asks for; empty for what no rule can allow.
	Kind policy.ServerRequest
	// Host is where it sends the user, as policy.PageHost has it; only for an elicitation by URL.
	Host string
}

// pages is a rule that lets the server send users to hosts.
type pages struct {
	rule  *rule
	hosts policy.Hosts
}

// addServerRequests adds what the rule lets the server ask.
func (g *Grants) addServerRequests(c *compiled) {
	for _, kind := range c.written.ServerRequests {
		if kind == policy.ElicitationURL {
			g.pages = append(g.pages, pages{c.rule, c.hosts})
			continue
		}
		if g.asks == nil {
			g.asks = map[policy.ServerRequest][]*rule{}
		}
		g.asks[kind] = append(g.asks[kind], c.rule)
	}
}

// DecideServerRequest judges what the server asks of the caller. A rule's rate counts what callers ask, and not this.
func (g *Grants) DecideServerRequest(r ServerRequest, now time.Time) Decision {
	if g == nil {
		return deny(ReasonNoRule)
	}
	if r.Kind == policy.ElicitationURL {
		for _, p := range g.pages {
			if p.rule.live(now) && g.has.all(p.rule.scopes) && p.hosts.Has(r.Host) {
				return Decision{Allowed: true, Rule: p.rule.id}
			}
		}
		return deny(ReasonServerRequest)
	}
	for _, one := range g.asks[r.Kind] {
		if one.live(now) && g.has.all(one.scopes) {
			return Decision{Allowed: true, Rule: one.id}
		}
	}
	return deny(ReasonServerRequest)
}

// MayBeAsked says whether the server may ask the caller anything at all.
func (g *Grants) MayBeAsked(now time.Time) bool {
	if g == nil {
		return false
	}
	for _, kind := range policy.ServerRequests() {
		for _, one := range g.asks[kind] {
			if one.live(now) {
				return true
			}
		}
	}
	return g.MayOpenPages(now)
}

// MayOpenPages says whether the server may send the caller's user anywhere.
func (g *Grants) MayOpenPages(now time.Time) bool {
	return g != nil && slices.ContainsFunc(g.pages, func(p pages) bool { return p.rule.live(now) })
}

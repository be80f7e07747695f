// Package decision judges a message by the compiled policy. What no live rule allows is denied.
package decision

import (
	"slices"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Decision is a verdict, with the rule that allowed or the reason that denied.
type Decision struct {
	Allowed bool
	// Rule is the id of the rule that allowed, the first target's where there are several; empty for what every client
	// with a live rule may do.
	Rule string
	// Reason is one of the Reasons; empty when allowed.
	Reason string
	// Wait is after how long the rate allows the call, for ReasonRate.
	Wait time.Duration
	// Scopes are all that the rules ask for which would allow it, in RFC 6749's form; only with ReasonScope.
	Scopes string
}

// The reasons to deny, for the audit log.
const (
	// ReasonNoRule: no rule names the client.
	ReasonNoRule = "no-rule"
	// ReasonExpired: every rule that names the client has ended.
	ReasonExpired = "expired"
	// ReasonUnknownMethod: the method is not one that the gate knows in this era. The protocol's answer is 404, -32601.
	ReasonUnknownMethod = "unknown-method"
	// ReasonMethod: no live rule allows the method.
	ReasonMethod = "method"
	// ReasonTool, ReasonPrompt and ReasonResource: no live rule allows the target.
	ReasonTool     = "tool"
	ReasonPrompt   = "prompt"
	ReasonResource = "resource"
	// ReasonForbidden: nobody may call the tool, whatever the rules say.
	ReasonForbidden = "forbidden"
	// ReasonExpression: rules allow the target, but the condition of none of them holds for the call.
	ReasonExpression = "expression"
	// ReasonArguments: a condition is to be judged, and the arguments are not such that every program reads them alike.
	ReasonArguments = "arguments"
	// ReasonRate: rules allow the call, but not so soon after others.
	ReasonRate = "rate"
	// ReasonURI: the URI is refused whatever the rules say, see policy.ValidURI.
	ReasonURI = "uri"
	// ReasonNoTarget: the message does not name what the method is about.
	ReasonNoTarget = "no-target"
	// ReasonScope: the caller's token lacks a scope that the rule asks for.
	ReasonScope = "scope"
	// ReasonResponse: the revision has no responses from clients.
	ReasonResponse = "response"
)

// era says in which eras a method exists.
type era uint8

const (
	legacy era = 1 << iota
	modern
	both = legacy | modern
)

// method is how a method is judged.
type method struct {
	era era
	// judge is what decides: a rule for each target, a rule for the method, or any live rule.
	judge judge
}

type judge uint8

const (
	byBaseline judge = iota
	byMethod
	// byTarget needs a target, byTargets may have none.
	byTarget
	byTargets
	// byTask needs the tool whose call made the task, which the task's handle says.
	byTask
)

// methods are all that the gate knows; any other method is denied. Tasks are not offered.
var methods = map[string]method{
	"initialize":                       {legacy, byBaseline},
	"ping":                             {both, byBaseline},
	"server/discover":                  {both, byBaseline},
	"tools/list":                       {both, byBaseline},
	"prompts/list":                     {both, byBaseline},
	"resources/list":                   {both, byBaseline},
	"resources/templates/list":         {both, byBaseline},
	"notifications/initialized":        {both, byBaseline},
	"notifications/cancelled":          {both, byBaseline},
	"notifications/progress":           {both, byBaseline},
	"notifications/roots/list_changed": {both, byBaseline},
	"logging/setLevel":                 {both, byMethod},
	"tools/call":                       {both, byTarget},
	"prompts/get":                      {both, byTarget},
	"resources/read":                   {both, byTarget},
	"resources/subscribe":              {legacy, byTarget},
	"resources/unsubscribe":            {legacy, byTarget},
	"completion/complete":              {both, byTarget},
	"subscriptions/listen":             {modern, byTargets},
	"tasks/get":                        {both, byTask},
	"tasks/cancel":                     {both, byTask},
	"tasks/update":                     {modern, byTask},
	"tasks/result":                     {legacy, byTask},
	"tasks/list":                       {legacy, byBaseline},
}

// Decide judges a message at a time. A Response is allowed to a client with a live rule; that it belongs to the client's
// session is for the session to say.
//
// The meter counts for rules that have a rate; nil stands for one that never refuses, as for a call that was counted before.
func (g *Grants) Decide(m *message.Message, now time.Time, meter Meter) Decision {
	if g == nil {
		return deny(ReasonNoRule)
	}
	if !g.Live(now) {
		return deny(ReasonExpired)
	}
	at := legacy
	if m.Modern() {
		at = modern
	}
	switch m.Kind {
	case message.Request, message.Notification:
	case message.Response:
		if at != legacy {
			return deny(ReasonResponse)
		}
		return Decision{Allowed: true}
	default:
		return deny(ReasonUnknownMethod)
	}
	known, ok := methods[m.Method]
	if !ok || known.era&at == 0 {
		return deny(ReasonUnknownMethod)
	}
	if m.Brings && !g.MayBeAsked(now) {
		return deny(ReasonServerRequest)
	}
	switch known.judge {
	case byBaseline:
		return Decision{Allowed: true}
	case byMethod:
		return g.method(m.Method, now, meter)
	case byTarget, byTargets, byTask:
		if len(m.Targets) == 0 && known.judge != byTargets {
			return deny(ReasonNoTarget)
		}
		t := trial{message: m, now: now, meter: meter}
		return g.targets(&t)
	}
	return deny(ReasonUnknownMethod)
}

// method allows when a rule names the method.
func (g *Grants) method(name string, now time.Time, meter Meter) Decision {
	verdict := deny(ReasonMethod)
	t := trial{now: now, meter: meter}
	for _, r := range g.methods[name] {
		switch {
		case !r.live(now):
		case g.has.all(r.scopes):
			if !t.takes(r) {
				verdict = t.refusal(ReasonMethod)
				continue
			}
			return Decision{Allowed: true, Rule: r.id}
		case verdict.Reason == ReasonMethod:
			verdict = more(r.scopes)
		}
	}
	return verdict
}

// targets allows when every target is allowed.
func (g *Grants) targets(t *trial) Decision {
	verdict := Decision{Allowed: true}
	var needed []string
	enough := true
	for i, target := range t.message.Targets {
		judged := t
		if target.Kind == message.Tool && t.message.Method != "tools/call" {
			// A task: its call's arguments were judged, and its use counted, when it was made.
			judged = nil
		}
		r, reason := g.target(target, t.now, judged)
		if r == nil {
			return t.refusal(reason)
		}
		if i == 0 {
			verdict.Rule = r.id
		}
		needed = append(needed, r.scopes...)
		enough = enough && g.has.all(r.scopes)
	}
	if !enough {
		return more(needed)
	}
	return verdict
}

// more denies for want of scopes.
func more(needed []string) Decision {
	needed = slices.Sorted(slices.Values(needed))
	return Decision{Reason: ReasonScope, Scopes: strings.Join(slices.Compact(needed), " ")}
}

// target finds the rule that allows a target to a trial. Without a trial it says what may be allowed to some call.
func (g *Grants) target(target message.Target, now time.Time, t *trial) (r *rule, reason string) {
	switch target.Kind {
	case message.Tool:
		if g.forbidden.Has(target.Name) {
			return nil, ReasonForbidden
		}
		return g.tools.find(target.Name, now, g.has, t), ReasonTool
	case message.Prompt:
		return g.prompts.find(target.Name, now, g.has, t), ReasonPrompt
	case message.Resource:
		if policy.ValidURI(target.Name) != nil {
			return nil, ReasonURI
		}
		return g.resources.find(target.Name, now, g.has, t), ReasonResource
	case message.Template:
		template, err := policy.ParseTemplate(target.Name)
		if err != nil {
			return nil, ReasonURI
		}
		// A completion tells values of the template's variables: all that it stands for must be allowed.
		var found *rule
		for i := range g.resources.patterns {
			p := &g.resources.patterns[i]
			if !p.rule.live(now) || !p.pattern.Covers(template) {
				continue
			}
			enough := g.has.all(p.rule.scopes)
			if (!enough && found != nil) || !t.accepts(p.rule, target.Name, enough) {
				continue
			}
			if found = p.rule; enough {
				break
			}
		}
		return found, ReasonResource
	}
	return nil, ReasonNoTarget
}

func deny(reason string) Decision { return Decision{Reason: reason} }

// Live says whether at least one rule allows the client anything now.
func (g *Grants) Live(now time.Time) bool {
	return g != nil && slices.ContainsFunc(g.rules, func(r *rule) bool { return r.live(now) })
}

// MayMethod says whether a rule allows the method, which has no target, if need be after the token was given more scopes.
func (g *Grants) MayMethod(name string, now time.Time) bool {
	return g != nil && slices.ContainsFunc(g.methods[name], func(r *rule) bool { return r.live(now) })
}

// MayCall says whether there is any tool that the client may call.
func (g *Grants) MayCall(now time.Time) bool {
	return g != nil && slices.ContainsFunc(g.tools.all, func(p grant) bool { return p.rule.live(now) })
}

// MayComplete says whether there is anything that the client may have completed.
func (g *Grants) MayComplete(now time.Time) bool {
	live := func(p grant) bool { return p.rule.live(now) }
	return g != nil && (slices.ContainsFunc(g.prompts.all, live) || slices.ContainsFunc(g.resources.all, live))
}

// MayTool says whether the tool may be called, if need be after the token was given more scopes: a caller can ask for those
// only for what it can see.
func (g *Grants) MayTool(name string, now time.Time) bool {
	return g.may(message.Target{Kind: message.Tool, Name: name}, now)
}

// MayPrompt says whether the prompt may be got.
func (g *Grants) MayPrompt(name string, now time.Time) bool {
	return g.may(message.Target{Kind: message.Prompt, Name: name}, now)
}

// MayResource says whether the resource may be read.
func (g *Grants) MayResource(uri string, now time.Time) bool {
	return g.may(message.Target{Kind: message.Resource, Name: uri}, now)
}

func (g *Grants) may(target message.Target, now time.Time) bool {
	if g == nil {
		return false
	}
	r, _ := g.target(target, now, nil)
	return r != nil
}

// MayTemplate says whether at least one resource of the URI template may be read.
func (g *Grants) MayTemplate(template string, now time.Time) bool {
	if g == nil {
		return false
	}
	t, err := policy.ParseTemplate(template)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(g.resources.all, func(p grant) bool { return p.rule.live(now) && p.pattern.Meets(t) })
}

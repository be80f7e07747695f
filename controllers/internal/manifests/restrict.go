package manifests

import (
	"cmp"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Restrict is current without the clients, rights and authorities that next has not any more. Clients that are in both have
// the keys of next, so that rotations go on. Everything else stays as it is: so a server whose spec has a problem is kept
// running, and no more open than it was.
func Restrict(current, next gateconfig.Config) gateconfig.Config {
	c := current
	c.Status, c.Verification = next.Status, next.Verification
	c.Authorities = map[string]string{}
	for namespace := range current.Authorities {
		if bundle, ok := next.Authorities[namespace]; ok {
			c.Authorities[namespace] = bundle
		}
	}
	c.Clients = slices.DeleteFunc(slices.Clone(next.Clients), func(client gateconfig.Client) bool {
		return !slices.ContainsFunc(current.Clients, func(known gateconfig.Client) bool { return known.Object == client.Object })
	})
	c.Tools = stricter(current.Tools, next.Tools)
	c.Policy = policy.Policy{Forbidden: either(current.Policy.Forbidden, next.Policy.Forbidden)}
	for _, rule := range current.Policy.Rules {
		i := slices.IndexFunc(next.Policy.Rules, func(wanted policy.Rule) bool { return wanted.ID == rule.ID })
		if i < 0 {
			continue
		}
		if narrow, ok := common(rule, next.Policy.Rules[i]); ok {
			c.Policy.Rules = append(c.Policy.Rules, narrow)
		}
	}
	return c
}

// stricter is what both approve: nothing becomes usable that was not.
func stricter(current, next gateconfig.Tools) gateconfig.Tools {
	switch {
	case !next.Enforced():
		return current
	case !current.Enforced():
		return next
	}
	current.Pins = slices.DeleteFunc(slices.Clone(current.Pins), func(p inventory.Pin) bool { return !slices.Contains(next.Pins, p) })
	return current
}

// common is what both rules allow, as far as they are written alike, and whether that is anything.
func common(a, b policy.Rule) (policy.Rule, bool) {
	rule := policy.Rule{
		ID:        a.ID,
		Clients:   both(a.Clients, b.Clients),
		Tools:     both(a.Tools, b.Tools),
		Prompts:   both(a.Prompts, b.Prompts),
		Resources: both(a.Resources, b.Resources),
		Methods:   both(a.Methods, b.Methods),
		NotAfter:  sooner(a.NotAfter, b.NotAfter),

		Expression: cmp.Or(a.Expression, b.Expression),
		Rate:       slower(a.Rate, b.Rate),
	}
	if a.Expression != "" && b.Expression != "" && a.Expression != b.Expression {
		// Both conditions together may be too long for one; then the rule waits for a spec without problems.
		rule.Expression = "(" + a.Expression + ") && (" + b.Expression + ")"
		if _, err := policy.NewExpression(rule.Expression); err != nil {
			return policy.Rule{}, false
		}
	}
	targets := len(rule.Tools) + len(rule.Prompts) + len(rule.Resources) + len(rule.Methods)
	return rule, len(rule.Clients) > 0 && targets > 0
}

// slower is the rate that allows less; zero is no bound.
func slower(a, b policy.Rate) policy.Rate {
	switch {
	case a == policy.Rate{}:
		return b
	case b == policy.Rate{}, a.Requests*b.PerSeconds <= b.Requests*a.PerSeconds:
		return a
	}
	return b
}

// either are the strings of a and of b, sorted.
func either(a, b []string) []string {
	together := slices.Concat(a, b)
	slices.Sort(together)
	return slices.Compact(together)
}

// both are the strings of a that are in b too.
func both(a, b []string) []string {
	var kept []string
	for _, s := range a {
		if slices.Contains(b, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// sooner is the earlier of two ends; zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

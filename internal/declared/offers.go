package declared

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// Offers is what a server offers, who may use it, and what nobody may.
type Offers struct {
	Server   *v1alpha1.MCPServer
	Document inventory.Document
	Rules    []policy.Rule
	// Forbidden are patterns of the tools that nobody may call.
	Forbidden []string
	// Source is where the document is from, At when it was seen; zero for one that is a manifest.
	Source string
	At     time.Time
}

// fact is one that was seen, or that a manifest says.
func fact[T any](value T, source string, at time.Time) posture.Fact[T] {
	if at.IsZero() {
		return posture.Say(value, source)
	}
	return posture.See(value, source, at)
}

// Offered adds what the server offers, as its gates have listed it.
func Offered(s *posture.Snapshot, o Offers) {
	forbidden, err := policy.Forbid(o.Forbidden)
	if err != nil {
		return
	}
	var tools []posture.Tool
	var unpinned, unconstrained []string
	offers := 0
	tooMany := o.Document.LeftOut > 0
	for _, f := range o.Document.Judge(inventory.NewPins(Approved(o.Server))) {
		name := inventory.Clean(f.Name, 64)
		if f.Reason != inventory.Approved {
			unpinned = append(unpinned, fmt.Sprintf("%s %s (%s)", f.Kind, name, strings.ToLower(string(f.Reason))))
		}
		if f.Kind != inventory.Instructions {
			offers++
		}
		if f.Kind != inventory.Tool {
			continue
		}
		tooMany = tooMany || len(f.Definition) == 0
		// What nobody may call harms nobody.
		off := forbidden.Has(f.Name)
		tools = append(tools, posture.Tool{Name: f.Name, Writes: inventory.Has(f.Risks, inventory.Writes) && !off, Forbidden: inventory.Has(f.Risks, inventory.Sensitive) && !off})
		if risky(f.Risks) && !off {
			unconstrained = append(unconstrained, free(o.Rules, f.Name)...)
		}
	}
	const more = "the server offers more than the inventory holds"
	switch {
	case !pins(o.Server):
		unpinned = []string{pinningOff}
	case o.Document.LeftOut > 0:
		s.Unpinned.Missing = more
	}
	if s.Unpinned.Missing != more {
		s.Unpinned = fact(unpinned, o.Source, o.At)
	}
	if s.Offers.Missing = more; o.Document.LeftOut == 0 {
		s.Offers = fact(offers, o.Source, o.At)
	}
	if tooMany {
		// A definition that was left out may be of anything.
		s.Tools.Missing = more
		s.Unconstrained.Missing = s.Tools.Missing
		return
	}
	s.Tools = fact(tools, o.Source, o.At)
	s.Unconstrained = fact(unconstrained, o.Source+", MCPAccessPolicies", o.At)
}

const pinningOff = "spec.tools.pinning is Off"

func pins(server *v1alpha1.MCPServer) bool {
	return server.Spec.Tools != nil && server.Spec.Tools.Pinning != "" && server.Spec.Tools.Pinning != v1alpha1.PinningOff
}

// Approved are the pins of a server's spec, while they are looked at.
func Approved(server *v1alpha1.MCPServer) (all []inventory.Pin) {
	if !pins(server) {
		return nil
	}
	for _, pin := range server.Spec.Tools.Pins {
		all = append(all, inventory.Pin{Kind: inventory.Kind(cmp.Or(pin.Kind, v1alpha1.DefinitionTool)), Name: pin.Name, SHA256: pin.SHA256})
	}
	return all
}

// risky says whether a tool can do more than to write.
func risky(risks []inventory.Risk) bool {
	return slices.ContainsFunc(risks, func(r inventory.Risk) bool { return r != inventory.Writes })
}

// free are the rules that allow a tool whatever the arguments are.
func free(rules []policy.Rule, tool string) (all []string) {
	for _, rule := range rules {
		if rule.Expression == "" && slices.ContainsFunc(rule.Tools, func(pattern string) bool {
			p, err := policy.Name(pattern)
			return err == nil && p.Match(tool)
		}) {
			all = append(all, fmt.Sprintf("rule %s allows %s with any arguments", rule.ID, inventory.Clean(tool, 64)))
		}
	}
	return all
}

// Named adds what the names of tools tell, of those that are pinned or that a rule names, before anybody has seen a definition. Names can
// show what is wrong, and not that nothing is.
func Named(s *posture.Snapshot, server *v1alpha1.MCPServer, rules []policy.Rule, patterns []string) {
	forbidden, err := policy.Forbid(patterns)
	if err != nil {
		return
	}
	names := map[string]bool{} // whether a pin approves it
	for _, rule := range rules {
		for _, tool := range rule.Tools {
			if !strings.Contains(tool, "*") {
				names[tool] = false
			}
		}
	}
	for _, pin := range Approved(server) {
		if pin.Kind == inventory.Tool {
			names[pin.Name] = true
		}
	}
	var sensitive, unconstrained []string
	for name, pinned := range names {
		if forbidden.Has(name) {
			continue
		}
		definition, err := json.Marshal(map[string]string{"name": name})
		if err != nil {
			continue
		}
		risks := inventory.Risks(inventory.Item{Kind: inventory.Tool, Name: name, Definition: definition})
		if pinned && inventory.Has(risks, inventory.Sensitive) {
			sensitive = append(sensitive, inventory.Clean(name, 64))
		}
		if risky(risks) {
			unconstrained = append(unconstrained, free(rules, name)...)
		}
	}
	slices.Sort(sensitive)
	slices.Sort(unconstrained)
	if !pins(server) {
		s.Unpinned = posture.Say([]string{pinningOff}, "MCPServer spec.tools.pinning")
	}
	if len(sensitive) > 0 {
		s.Sensitive = posture.Say(sensitive, "MCPServer spec.tools.pins")
	}
	if unconstrained = slices.Compact(unconstrained); len(unconstrained) > 0 {
		s.Unconstrained = posture.Say(unconstrained, "MCPAccessPolicies")
	}
}

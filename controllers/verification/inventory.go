package verification

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/policy"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// inventoryFacts are what the server offers, as its gates have listed it and the ConfigMap keeps it.
func (o *observed) inventoryFacts(s *posture.Snapshot, last *run) {
	if o.inventory == nil {
		return
	}
	if last != nil {
		for _, status := range last.gates {
			if status.Tools != nil && status.Tools.Problem != "" {
				const missing = "a gate cannot list its server"
				s.Offers.Missing = missing
				s.Tools.Missing, s.Unpinned.Missing, s.Unconstrained.Missing = missing, missing, missing
				return
			}
		}
	}
	source := "ConfigMap " + inventory.ConfigMapName(o.server.Name)
	forbidden, err := policy.Forbid(o.forbidden())
	if err != nil {
		return
	}
	var tools []posture.Tool
	var unpinned, unconstrained []string
	offers := 0
	tooMany := o.inventory.LeftOut > 0
	rules := o.rules()
	for _, f := range o.inventory.Judge(inventory.NewPins(manifests.Tools(o.server).Pins)) {
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
		risky := slices.ContainsFunc(f.Risks, func(r inventory.Risk) bool { return r != inventory.Writes })
		for _, rule := range rules {
			if risky && !off && rule.free(f.Name) {
				unconstrained = append(unconstrained, fmt.Sprintf("rule %s allows %s with any arguments", rule.id, name))
			}
		}
	}
	const more = "the server offers more than the inventory holds"
	switch mode := o.server.Spec.Tools; {
	case mode == nil || mode.Pinning == "" || mode.Pinning == v1alpha1.PinningOff:
		unpinned = []string{"spec.tools.pinning is Off"}
	case o.inventory.LeftOut > 0:
		s.Unpinned.Missing = more
	}
	if s.Unpinned.Missing != more {
		s.Unpinned = posture.See(unpinned, source, o.now)
	}
	if s.Offers.Missing = more; o.inventory.LeftOut == 0 {
		s.Offers = posture.See(offers, source, o.now)
	}
	if tooMany {
		// A definition that was left out may be of anything.
		s.Tools.Missing = more
		s.Unconstrained.Missing = s.Tools.Missing
		return
	}
	s.Tools = posture.See(tools, source, o.now)
	s.Unconstrained = posture.See(unconstrained, source+", MCPAccessPolicies", o.now)
}

// rule is a rule that is in force, as far as it is about tools.
type rule struct {
	id          string
	tools       []policy.Pattern
	conditional bool
}

func (o *observed) rules() (all []rule) {
	for _, written := range o.who.Policy.Rules {
		r := rule{id: written.ID, conditional: written.Expression != ""}
		for _, tool := range written.Tools {
			if p, err := policy.Name(tool); err == nil {
				r.tools = append(r.tools, p)
			}
		}
		all = append(all, r)
	}
	return all
}

// free says whether the rule allows a tool whatever the arguments are.
func (r *rule) free(tool string) bool {
	return !r.conditional && slices.ContainsFunc(r.tools, func(p policy.Pattern) bool { return p.Match(tool) })
}

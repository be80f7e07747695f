package posture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/internal/policy"
)

var permissions = []Control{
	{
		ID: "PERM-1", Severity: Critical, Title: "What no policy allows is denied",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP02", "T2"},
		Remediation: "An identity that no MCPAccessPolicy can name was let through: set spec.suspend of the MCPServer, and report the gate's version.",
		judge:       probed("PERM-1"),
	},
	{
		ID: "PERM-2", Severity: High, Title: "Lists show only what the caller may use",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP10", "T2"},
		Remediation: "An identity without grants was shown a list: set spec.suspend of the MCPServer, and report the gate's version.",
		judge:       probed("PERM-2"),
	},
	{
		ID: "PERM-3", Severity: High, Title: "No grant is a wildcard over tools that write",
		Enforcement: "MCPAccessPolicy", Evidence: []Kind{Declared, Observed}, Maps: []string{"MCP02"},
		Remediation: "Name single tools in spec.rules[].tools of the MCPAccessPolicy instead of a pattern with *.",
		judge:       judgeWildcards,
	},
	{
		ID: "PERM-4", Severity: High, Title: "Definitions are pinned as a whole",
		Enforcement: "gate", Evidence: []Kind{Observed}, Maps: []string{"MCP03", "T4", "T6"},
		Remediation: "Set spec.tools.pinning of the MCPServer to Enforce, and pin in spec.tools.pins what you approve of status.tools and the ConfigMap <name>-inventory.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Unpinned }, "every definition is the one that was pinned"),
	},
	{
		ID: "PERM-5", Severity: Critical, Title: "No tool gives raw commands or sensitive files",
		Enforcement: "gate", Evidence: []Kind{Observed}, Maps: []string{"MCP05", "T3"},
		Remediation: "Remove the tool from the server's arguments, or accept it in spec.verification.exemptions with an owner, a reason and an end.",
		judge: func(s *Snapshot) verdict {
			f := s.Tools
			if v, ok := known(s, f); !ok {
				if named := s.Sensitive; named.Known {
					return on(named, Fail, "tools that by their names give raw commands or sensitive files: %s", list(named.Value))
				}
				return v
			}
			var found []string
			for _, t := range f.Value {
				if t.Forbidden {
					found = append(found, t.Name)
				}
			}
			if len(found) > 0 {
				return on(f, Fail, "tools that give raw commands or sensitive files: %s", list(found))
			}
			return on(f, Pass, "no tool gives raw commands or sensitive files")
		},
	},
	{
		ID: "PERM-6", Severity: Medium, Title: "Grants on risky tools constrain their arguments",
		Enforcement: "MCPAccessPolicy", Evidence: []Kind{Observed}, Maps: []string{"MCP05", "L3"},
		Remediation: "Constrain the arguments in the rule of the MCPAccessPolicy that is named, or grant a safer tool.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Unconstrained }, "every grant on a risky tool constrains its arguments"),
	},
	{
		ID: "PERM-7", Severity: High, Title: "What was judged is what runs: a message has one reading",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP07", "T3", "T7"},
		Remediation: "The gate took an ambiguous message: set spec.suspend of the MCPServer, and report the gate's version.",
		judge:       probed("PERM-7"),
	},
}

// judgeWildcards needs to know the tools only where there is a wildcard.
func judgeWildcards(s *Snapshot) verdict {
	f := s.Grants
	if v, ok := known(s, f); !ok {
		return v
	}
	var wild []string
	for _, g := range f.Value {
		if slices.ContainsFunc(g.Tools, func(tool string) bool { return strings.Contains(tool, "*") }) {
			wild = append(wild, fmt.Sprintf("rule %s allows %s", g.Rule, list(g.Tools)))
		}
	}
	if len(wild) == 0 {
		return on(f, Pass, "no rule has a wildcard for tools")
	}
	if v, ok := known(s, s.Tools); !ok {
		v.reason = list(wild) + "; whether those tools write is not known: " + v.reason
		return v
	}
	wild = nil
	for _, g := range f.Value {
		for _, pattern := range g.Tools {
			if !strings.Contains(pattern, "*") {
				continue
			}
			// A pattern that no gate would take is taken for one that matches everything.
			p, err := policy.Name(pattern)
			for _, t := range s.Tools.Value {
				if t.Writes && (err != nil || p.Match(t.Name)) {
					wild = append(wild, fmt.Sprintf("rule %s allows %s, and with it %s, which writes", g.Rule, pattern, t.Name))
				}
			}
		}
	}
	if len(wild) == 0 {
		return on(f, Pass, "rules with wildcards are over tools that only read")
	}
	return on(f, Fail, "%s", list(wild))
}

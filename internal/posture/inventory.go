package posture

import "fmt"

var inventory = []Control{
	{
		ID: "INV-1", Severity: Medium, Title: "The server names its data classification, categories and owner",
		Enforcement: "MCPServer", Evidence: []Kind{Declared}, Maps: []string{"MCP09", "MCP10"},
		Remediation: "Set spec.classification of the MCPServer: level, categories and owner.",
		judge: func(s *Snapshot) verdict {
			f := s.Classification
			if v, ok := known(s, f); !ok {
				return v
			}
			switch c := f.Value; {
			case c.Level == "" || c.Owner == "":
				return on(f, Fail, "nobody says what data the server gives access to, and who answers for it")
			case len(c.Categories) == 0:
				return on(f, Warn, "level and owner are named, categories of data are not")
			}
			return on(f, Pass, "level, categories and owner are named")
		},
	},
	{
		ID: "INV-2", Severity: Medium, Title: "The server's tools, prompts and resources are known",
		Enforcement: "gate", Evidence: []Kind{Observed}, Maps: []string{"MCP03", "T6"},
		Remediation: "Nothing to set: the gates list what the server offers. Until they do, ask the server with an MCP client.",
		judge: func(s *Snapshot) verdict {
			f := s.Offers
			if v, ok := known(s, f); !ok {
				return v
			}
			if f.Value == 0 {
				return on(f, Fail, "the gates have seen no tool, prompt or resource of the server")
			}
			return on(f, Pass, "%d tools, prompts and resources are known", f.Value)
		},
	},
	{
		ID: "INV-3", Severity: High, Title: "No MCP server runs unmanaged in the cluster",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP09", "T8"},
		Remediation: "Write an MCPServer for each server that runs without one, and delete the unguarded workload: kubectl mcp discover --all-namespaces.",
		judge:       judgeUnmanaged,
	},
	{
		ID: "INV-4", Severity: Medium, Title: "Every credential and who holds it is listed",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Look at status.credentials of the MCPClients that are named, and at their condition Ready.",
		judge: eachClient("every credential is listed in its MCPClient's status", func(_ *Snapshot, c Client) string {
			if !c.Listed {
				return "its status lists no credential"
			}
			return ""
		}),
	},
}

func judgeUnmanaged(s *Snapshot) verdict {
	f := s.Unmanaged
	if v, ok := known(s, f); !ok {
		return v
	}
	const elsewhere = "MCP servers run without a gate in other namespaces"
	switch u := f.Value; {
	case len(u.Certain) > 0 && u.Elsewhere:
		return on(f, Fail, "without a gate: %s; %s, too", list(u.Certain), elsewhere)
	case len(u.Certain) > 0:
		return on(f, Fail, "without a gate: %s", list(u.Certain))
	case u.Elsewhere:
		return on(f, Fail, "%s", elsewhere)
	case len(u.Likely) > 0:
		return on(f, Warn, "what looks like an MCP server without a gate: %s", list(u.Likely))
	}
	return on(f, Pass, "no unmanaged MCP server was found")
}

// eachClient judges by what is wrong with single clients; "" is nothing.
func eachClient(good string, wrong func(*Snapshot, Client) string) func(*Snapshot) verdict {
	return func(s *Snapshot) verdict {
		f := s.Clients
		if v, ok := known(s, f); !ok {
			return v
		}
		var found []string
		for _, c := range f.Value {
			if w := wrong(s, c); w != "" {
				found = append(found, fmt.Sprintf("MCPClient %s: %s", c.Name, w))
			}
		}
		if len(found) > 0 {
			return on(f, Fail, "%s", list(found))
		}
		return on(f, Pass, "%s", good)
	}
}

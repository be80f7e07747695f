package posture

var leastPrivilege = []Control{
	{
		ID: "LEAST-1", Severity: High, Title: "Every container meets the restricted Pod Security Standard",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"T8", "PSS"},
		Remediation: "Find what changes the pods (a mutating webhook, an injected sidecar), and exclude the namespace from it.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.PodSecurity }, "every container meets the restricted Pod Security Standard"),
	},
	{
		ID: "LEAST-2", Severity: Medium, Title: "The root filesystem is read-only and resources are limited",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"PSS", "T10"},
		Remediation: "Set limits in spec.resources of the MCPServer; give a server that writes an emptyDir in spec.pod.volumes.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Containers }, "root filesystems are read-only, CPU and memory are limited"),
	},
	{
		ID: "LEAST-3", Severity: High, Title: "No ServiceAccount token unless it is asked for",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP02"},
		Remediation: "Find what mounts the token into the pods, or the Secret that holds it: only spec.kubernetesAccess of the MCPServer should, and no Secret should hold one.",
		judge: func(s *Snapshot) verdict {
			f := s.Token
			if v, ok := known(s, f); !ok {
				return v
			}
			switch {
			case len(f.Value.Mounted) > 0:
				return on(f, Fail, "pods have a token that nobody asked for: %s", list(f.Value.Mounted))
			case f.Value.Asked:
				return on(f, Pass, "the pods have the token that spec.kubernetesAccess asks for, and no other")
			}
			return on(f, Pass, "no pod has a token")
		},
	},
	{
		ID: "LEAST-4", Severity: Critical, Title: "Rights at the Kubernetes API are within the floor",
		Enforcement: "operator", Evidence: []Kind{Declared, Observed}, Maps: []string{"MCP02", "T2"},
		Remediation: "Name single verbs and resources in spec.kubernetesAccess.rules, without secrets, escalate, bind, impersonate and exec; remove other bindings of the ServiceAccount.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Rights }, "the server has no right beyond the floor"),
	},
	{
		ID: "LEAST-5", Severity: High, Title: "The network is denied by default, both ways, in the union of all policies",
		Enforcement: "NetworkPolicy", Evidence: []Kind{Observed}, Maps: []string{"T8", "L4"},
		Remediation: "Exclude the pods from spec.podSelector of the NetworkPolicy that is named, or delete it.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.NetworkOpenings }, "no policy opens the pods beyond what the MCPServer says"),
	},
	{
		ID: "LEAST-6", Severity: Critical, Title: "The server cannot be reached around the gate",
		Enforcement: "NetworkPolicy, loopback", Evidence: []Kind{Observed, Proven}, Maps: []string{"MCP07", "T8"},
		Remediation: "Have the server listen on 127.0.0.1 (its arguments), and delete the NetworkPolicy that lets others in (LEAST-5).",
		judge: func(s *Snapshot) verdict {
			return both(probed("LEAST-6")(s), judgeListeners(s))
		},
	},
	{
		ID: "LEAST-7", Severity: High, Title: "Egress is only to what is listed",
		Enforcement: "NetworkPolicy", Evidence: []Kind{Declared, Observed}, Maps: []string{"MCP10", "L4"},
		Remediation: "Name peers and ports in spec.network.egress of the MCPServer, and leave spec.network.internet Denied.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Egress }, "egress is only to what is listed"),
	},
	{
		ID: "LEAST-8", Severity: High, Title: "Nothing else leads to the pods",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"T8"},
		Remediation: "Delete the Service or the EndpointSlice that is named, or change its spec.selector or its addresses; delete pods with containers that the MCPServer does not name.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Detours }, "no other Service and no EndpointSlice leads to the pods, and only the expected containers run in them"),
	},
}

// judgeListeners judges what gates see in their pods. A listener that is open but that the network keeps others from is
// one mistake away from being reached.
func judgeListeners(s *Snapshot) verdict {
	f := s.Listeners
	if v, ok := known(s, f); !ok {
		return v
	}
	if len(f.Value) > 0 {
		return on(f, Warn, "only the network policy keeps others from the server's own listeners: %s", list(f.Value))
	}
	return on(f, Pass, "nothing but the gate listens outside loopback")
}

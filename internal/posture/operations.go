package posture

var logging = []Control{
	{
		ID: "LOG-1", Severity: High, Title: "Every request is in the audit log, and each replica's chain verifies",
		Enforcement: "gate", Evidence: []Kind{Observed}, Maps: []string{"MCP08", "T12", "L4"},
		Remediation: "Have the gates run the operator's image, and keep the heads of their chains elsewhere.",
		judge: func(s *Snapshot) verdict {
			f := s.Audit
			if v, ok := known(s, f); !ok {
				return v
			}
			switch {
			case f.Value.Replicas == 0:
				return verdict{status: Error, reason: "no gate runs"}
			case len(f.Value.Broken) > 0:
				return on(f, Fail, "%s", list(f.Value.Broken))
			case f.Value.Chained < f.Value.Replicas:
				return on(f, Fail, "%d of %d gates have no chained audit log", f.Value.Replicas-f.Value.Chained, f.Value.Replicas)
			}
			// Heads that nobody keeps elsewhere end with the operator's memory.
			if read := s.Scraped; read.Known && !read.Value {
				return on(f, Warn, "every gate has a chained audit log, and nobody reads the heads of the chains from the metrics: what is cut off of a log shows as long as the operator runs")
			}
			return on(f, Pass, "every gate has a chained audit log, which goes on from the heads that were seen before")
		},
	},
	{
		ID: "LOG-2", Severity: High, Title: "Alert rules are installed",
		Enforcement: "administrator", Evidence: []Kind{Observed}, Maps: []string{"MCP08"},
		Remediation: "Install the alert rules: alerts.mode of the chart, or config/monitoring.",
		judge: yes(func(s *Snapshot) Fact[bool] { return s.Alerts }, "alert rules watch for failed logins and for controls that fail",
			"alert rules are missing that watch for failed logins (bartizan_gate_authentication_failures_total) and for controls that fail (bartizan_controls_failing, or bartizan_server_verified)"),
	},
	{
		ID: "LOG-3", Severity: Critical, Title: "No secret appears in answers, errors or logs",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP01", "MCP08"},
		Remediation: "The gate repeated a credential or an argument: set spec.suspend of the MCPServer, and report the gate's version.",
		judge:       probed("LOG-3"),
	},
	{
		ID: "LOG-4", Severity: Medium, Title: "Metrics are scraped",
		Enforcement: "administrator", Evidence: []Kind{Observed}, Maps: []string{"MCP08"},
		Remediation: "Have Prometheus read the gates with the certificate in the Secret bartizan-monitoring: metrics.gates of the chart.",
		judge:       yes(func(s *Snapshot) Fact[bool] { return s.Scraped }, "metrics are read", "nobody reads the metrics"),
	},
}

var updates = []Control{
	{
		ID: "UPD-1", Severity: High, Title: "The image is a digest",
		Enforcement: "MCPServer", Evidence: []Kind{Declared, Observed}, Maps: []string{"MCP04", "T11"},
		Remediation: "Write spec.image of the MCPServer as registry/name@sha256:… .",
		judge:       judgeImage,
	},
	{
		ID: "UPD-2", Severity: Medium, Title: "The image is not older than is allowed",
		Enforcement: "report", Evidence: []Kind{Observed}, Maps: []string{"MCP04"},
		Remediation: "Build or take a newer image, and set spec.image.",
		judge: func(s *Snapshot) verdict {
			f := s.OldImage
			if v, ok := known(s, f); !ok {
				return v
			}
			if f.Value != "" {
				return on(f, Fail, "%s", f.Value)
			}
			return on(f, Pass, "the image is recent")
		},
	},
	{
		ID: "UPD-3", Severity: High, Title: "No known vulnerability is over the threshold",
		Enforcement: "report", Evidence: []Kind{Observed}, Maps: []string{"MCP04", "T11"},
		Remediation: "Take an image in which the vulnerabilities that are named are mended, and set spec.image.",
		judge:       judgeVulnerabilities,
	},
	{
		ID: "UPD-4", Severity: High, Title: "Every gate runs the version that the operator ships",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP04"},
		Remediation: "Wait for the rollout, or raise --rollout-budget of the operator; kubectl describe of the MCPServer says what holds it.",
		judge:       judgeGates,
	},
	{
		ID: "UPD-5", Severity: Medium, Title: "The image is signed by who may sign it",
		Enforcement: "admission", Evidence: []Kind{Observed}, Maps: []string{"MCP04", "T11"},
		Remediation: "Have Kyverno verify signatures, and name its policies in spec.images.signatures of an MCPSecurityProfile; sign the image of a pod that is named.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Unsigned }, "the policies that count have verified the signatures of all pods"),
	},
}

var testing = []Control{
	{
		ID: "TEST-1", Severity: High, Title: "Verification ran within its interval",
		Enforcement: "operator", Evidence: []Kind{Proven}, Maps: []string{"T12"},
		Remediation: "See the condition Verified of the MCPServer; the annotation bartizan.dev/verification-requested-at asks for a run now.",
		judge: func(s *Snapshot) verdict {
			f := s.Run
			// A run of long ago is no evidence of anything else, and of this it is.
			fresh := *s
			fresh.StaleAfter = 0
			if v, ok := known(&fresh, f); !ok {
				return v
			}
			// Half an interval for jitter and the queue.
			if due := f.Value.Interval + f.Value.Interval/2; s.Now.Sub(f.Time) > due {
				return on(f, Fail, "the last verification is older than its interval of %s", f.Value.Interval)
			}
			if f.Value.Incomplete != "" {
				return on(f, Fail, "the last verification could not try everything: %s", f.Value.Incomplete)
			}
			return on(f, Pass, "verification runs every %s", f.Value.Interval)
		},
	},
	{
		ID: "TEST-2", Severity: Critical, Title: "Every probe of the last run passed",
		Enforcement: "operator", Evidence: []Kind{Proven}, Maps: []string{"all"},
		Remediation: "See the other controls that fail: each names the probe.",
		judge: func(s *Snapshot) verdict {
			f := s.Run
			if v, ok := known(s, f); !ok {
				return v
			}
			var broken []string
			held := 0
			for _, p := range f.Value.Probes {
				switch p.Outcome {
				case Broken:
					broken = append(broken, p.Control+" "+p.Name)
				case Held:
					held++
				}
			}
			switch open := len(f.Value.Probes) - held - len(broken); {
			case len(broken) > 0:
				return on(f, Fail, "probes that succeeded: %s", list(distinct(broken)))
			case held == 0:
				return verdict{status: Error, reason: "the last verification tried nothing"}
			case open > 0:
				return on(f, Error, "%d of %d probes could not be tried", open, len(f.Value.Probes))
			}
			return on(f, Pass, "all %d probes failed to do harm", held)
		},
	},
	{
		ID: "TEST-3", Severity: High, Title: "Errors leak nothing",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP01"},
		Remediation: "The gate answered with something that is not on the closed list of errors: report the gate's version.",
		judge:       probed("TEST-3"),
	},
}

var flow = []Control{
	{
		ID: "FLOW-1", Severity: High, Title: "The server asks its clients only for what is granted",
		Enforcement: "gate", Evidence: []Kind{Observed}, Maps: []string{"MCP06", "T4", "T9"},
		Remediation: "Grant what the server may ask for, or have it not ask.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.ServerRequests }, "the server asks for nothing that is not granted"),
	},
}

func judgeVulnerabilities(s *Snapshot) verdict {
	f := s.Vulnerabilities
	if v, ok := known(s, f); !ok {
		return v
	}
	switch {
	case len(f.Value.Over) > 0:
		return on(f, Fail, "%s", list(f.Value.Over))
	case len(f.Value.Unmended) > 0:
		return on(f, Warn, "nothing mends them yet: %s", list(f.Value.Unmended))
	}
	return on(f, Pass, "no known vulnerability is over the threshold")
}

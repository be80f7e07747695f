package posture

import (
	"fmt"
	"slices"
	"strings"
)

var authentication = []Control{
	{
		ID: "AUTH-1", Severity: Critical, Title: "No request is served without a valid credential",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP07", "T1"},
		Remediation: "The gate served a request that it must refuse: set spec.suspend of the MCPServer, and report the gate's version.",
		judge:       probed("AUTH-1"),
	},
	{
		ID: "AUTH-2", Severity: High, Title: "One credential belongs to one client",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Delete the MCPClient that carries another's key in its status, and set spec.revokedKeys of the other to that id.",
		judge:       judgeUnique,
	},
	{
		ID: "AUTH-3", Severity: High, Title: "No key is older than the maximum age",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Set spec.rotation.rotateAfter of the MCPClient to the present time; spec.rotation.maximumAge is the limit.",
		judge: eachClient("no key is older than its client's maximum age", func(s *Snapshot, c Client) string {
			for _, k := range c.Keys {
				if k.Accepted && (!s.Now.Before(k.NotAfter) || (c.MaximumAge > 0 && s.Now.Sub(k.IssuedAt) > c.MaximumAge)) {
					return fmt.Sprintf("key %s is older than %s", k.ID, c.MaximumAge)
				}
			}
			return ""
		}),
	},
	{
		ID: "AUTH-4", Severity: High, Title: "Rotation happens on schedule and succeeded last time",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Do what the condition RotationSucceeded of the MCPClient says.",
		judge: eachClient("no rotation is overdue", func(_ *Snapshot, c Client) string {
			return c.RotationFailed
		}),
	},
	{
		ID: "AUTH-5", Severity: Critical, Title: "Retired and revoked keys are refused",
		Enforcement: "gate", Evidence: []Kind{Observed, Proven}, Maps: []string{"MCP01", "MCP07"},
		Remediation: "See the condition ConfigurationInForce of the MCPServer: a gate that runs an old configuration accepts old keys. Delete its pod.",
		judge: func(s *Snapshot) verdict {
			// What gates accept has no retired key in it, and what they do not accept is refused.
			return both(judgeRetired(s), none(func(s *Snapshot) Fact[[]string] { return s.StaleKeys },
				"the gates accept no key that is retired, revoked or at its end")(s))
		},
	},
	{
		ID: "AUTH-6", Severity: Critical, Title: "Of a token the issuer, audience, expiry, not-before, algorithm and key are all checked",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP07", "T1"},
		Remediation: "The gate served a token that it must refuse: set spec.suspend of the MCPServer, and report the gate's version.",
		judge: func(s *Snapshot) verdict {
			v := probed("AUTH-6")(s)
			if v.status != Pass {
				return v
			}
			if missing, ok := known(s, s.Bearer); !ok {
				return missing
			}
			if !s.Bearer.Value {
				return v
			}
			if !slices.ContainsFunc(s.Run.Value.Probes, func(p Probe) bool { return strings.HasPrefix(p.Name, OwnToken) }) {
				return verdict{status: Error, reason: "no token of the operator's own was tried"}
			}
			v.reason += "; what judged the operator's own tokens judges those of every issuer"
			return v
		},
	},
	{
		ID: "AUTH-7", Severity: Critical, Title: "Client certificates are verified, and only its own namespace's authority vouches for an identity",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP07", "T1", "T7"},
		Remediation: "The gate served a forged certificate: set spec.suspend of the MCPServer, and report the gate's version.",
		judge:       probed("AUTH-7"),
	},
	{
		ID: "AUTH-8", Severity: Medium, Title: "RFC 9728 metadata and challenges are right",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"T1"},
		Remediation: "Compare spec.authentication and spec.endpoint.url of the MCPServer with what the gate serves.",
		judge: func(s *Snapshot) verdict {
			if v, ok := known(s, s.Tokens); !ok {
				return v
			}
			if !s.Tokens.Value {
				return on(s.Tokens, Skip, "the server accepts no issuer's tokens, so there is no metadata to serve")
			}
			return probed("AUTH-8")(s)
		},
	},
	{
		ID: "AUTH-9", Severity: Critical, Title: "The caller's credential never reaches the server",
		Enforcement: "gate, by construction", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Have the gates run the operator's image: delete the pods that are named.",
		judge:       byConstruction("the gates are of the operator's version, which builds each request anew without the caller's credential"),
	},
	{
		ID: "AUTH-10", Severity: Medium, Title: "Failed authentication is throttled and alerted",
		Enforcement: "gate", Evidence: []Kind{Proven, Observed}, Maps: []string{"T10", "T12"},
		Remediation: "Install the alert rules (alerts.mode of the chart, or config/monitoring); have the gates run the operator's image.",
		judge: func(s *Snapshot) verdict {
			return both(probed("AUTH-10")(s), yes(func(s *Snapshot) Fact[bool] { return s.LoginAlerts },
				"an alert rule watches for failed logins", "no alert rule watches for failed logins")(s))
		},
	},
}

// RetiredKey names the probe that shows a key of the operator's own that was accepted once, RetiredToken the one that shows a token by such
// a key, and OwnToken begins the names of those that show other tokens of the operator's own.
const (
	RetiredKey   = "retired key"
	RetiredToken = "token by a retired key"
	OwnToken     = "own token"
)

// judgeRetired judges by the probes: that keys which never were any are refused says nothing of those that were.
func judgeRetired(s *Snapshot) verdict {
	v := probed("AUTH-5")(s)
	if v.status != Pass {
		return v
	}
	for _, taken := range []struct {
		fact  Fact[bool]
		probe string
	}{{s.APIKeys, RetiredKey}, {s.Bearer, RetiredToken}} {
		if missing, ok := known(s, taken.fact); !ok {
			return missing
		}
		if !taken.fact.Value || slices.ContainsFunc(s.Run.Value.Probes, func(p Probe) bool { return p.Name == taken.probe }) {
			continue
		}
		return verdict{status: Error, reason: "no key of the operator's own has been retired at this server yet: the first is, an hour after the server was made"}
	}
	return v
}

func judgeUnique(s *Snapshot) verdict {
	if shared := s.Shared; shared.Known && len(shared.Value) > 0 {
		return on(shared, Fail, "%s", list(shared.Value))
	}
	f := s.Clients
	if v, ok := known(s, f); !ok {
		return v
	}
	holder := map[string]string{}
	for _, c := range f.Value {
		for _, k := range c.Keys {
			if other, taken := holder[k.ID]; taken && other != c.Name {
				return on(f, Fail, "key %s is of MCPClient %s and of MCPClient %s", k.ID, other, c.Name)
			}
			holder[k.ID] = c.Name
		}
	}
	return on(f, Pass, "no key is of two clients")
}

// byConstruction holds where every gate runs the image that the operator ships, whose tests show it.
func byConstruction(good string) func(*Snapshot) verdict {
	return func(s *Snapshot) verdict {
		v := judgeGates(s)
		switch v.status {
		case Pass:
			v.reason = good
		case Warn, Fail:
			v.status = Error
			v.reason = "some gates are not of the operator's version: " + v.reason
			v.evidence = nil
		}
		return v
	}
}

func judgeGates(s *Snapshot) verdict {
	f := s.Gate
	if v, ok := known(s, f); !ok {
		return v
	}
	if len(f.Value.Running) == 0 {
		return verdict{status: Error, reason: "no gate runs"}
	}
	for _, image := range f.Value.Running {
		if image != f.Value.Want {
			return on(f, Fail, "a gate runs %s, and the operator ships %s", image, f.Value.Want)
		}
	}
	// What a runtime reports that cannot be compared says nothing against the pods' specs.
	if at := digest.FindString(f.Value.Want); at != "" {
		for _, r := range f.Value.Reported {
			if status, reason := r.compare(at); status == Fail {
				return on(f, Fail, "of a gate: %s", reason)
			}
		}
	}
	return on(f, Pass, "every gate runs %s", f.Value.Want)
}

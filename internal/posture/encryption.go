package posture

var encryption = []Control{
	{
		ID: "ENC-1", Severity: Critical, Title: "TLS 1.3 is spoken, and nothing older",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP01", "T7"},
		Remediation: "Something other than the gate answers at the gate's port, or the gate is not the operator's: see UPD-4.",
		judge:       probed("ENC-1"),
	},
	{
		ID: "ENC-2", Severity: Critical, Title: "Plain HTTP is refused",
		Enforcement: "gate", Evidence: []Kind{Proven}, Maps: []string{"MCP01"},
		Remediation: "Something other than the gate answers at the gate's port, or the gate is not the operator's: see UPD-4.",
		judge:       probed("ENC-2"),
	},
	{
		ID: "ENC-3", Severity: High, Title: "The served certificate is the right one, valid, with life left",
		Enforcement: "cert-manager", Evidence: []Kind{Proven}, Maps: []string{"T7"},
		Remediation: "See the condition CertificatesReady of the MCPServer, and its Certificate <name>-tls.",
		judge:       probed("ENC-3"),
	},
	{
		ID: "ENC-4", Severity: Medium, Title: "Keys of certificates are fresh at each renewal, ECDSA or better",
		Enforcement: "cert-manager", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Have nobody change the Certificate <name>-tls: the operator asks for ECDSA and rotationPolicy Always.",
		judge:       judgeCertificate,
	},
	{
		ID: "ENC-5", Severity: High, Title: "The authority can roll over, and no certificate outlives it",
		Enforcement: "operator", Evidence: []Kind{Observed}, Maps: []string{"T7"},
		Remediation: "Renew the authority before its certificates outlive it; see spec.tls of the MCPServer.",
		judge:       judgeAuthority,
	},
	{
		ID: "ENC-6", Severity: High, Title: "No secret is a literal in a spec, a variable, an argument or a ConfigMap",
		Enforcement: "scanner", Evidence: []Kind{Declared, Observed}, Maps: []string{"MCP01"},
		Remediation: "Move the value into a secret manager and name it in spec.secrets of the MCPServer; then replace it, since it was readable.",
		judge:       none(func(s *Snapshot) Fact[[]string] { return s.Literals }, "nothing looks like a secret"),
	},
	{
		ID: "ENC-7", Severity: High, Title: "Keys are stored as hashes where they are checked",
		Enforcement: "gate, by construction", Evidence: []Kind{Observed}, Maps: []string{"MCP01"},
		Remediation: "Have the gates run the operator's image: delete the pods that are named in UPD-4.",
		judge:       byConstruction("the gates are of the operator's version, whose configuration has no field for a key, only for its hash"),
	},
	{
		ID: "ENC-8", Severity: Medium, Title: "Secrets are encrypted at rest",
		Enforcement: "attested", Evidence: []Kind{Declared}, Maps: []string{"T5"},
		Remediation: "No API of Kubernetes shows it: have the cluster's administrator attest it, with evidence and an end.",
		judge:       attested(func(s *Snapshot) Fact[Attestation] { return s.AtRest }),
	},
	{
		ID: "ENC-9", Severity: Medium, Title: "Volumes that hold data are encrypted",
		Enforcement: "attested", Evidence: []Kind{Declared}, Maps: []string{"T5"},
		Remediation: "No API of Kubernetes shows it: have the cluster's administrator attest it for the StorageClass, with evidence and an end.",
		judge:       attested(func(s *Snapshot) Fact[Attestation] { return s.Volumes }),
	},
}

func judgeCertificate(s *Snapshot) verdict {
	f := s.Certificate
	if v, ok := known(s, f); !ok {
		return v
	}
	c := f.Value
	switch {
	case c.Algorithm != "ECDSA" && c.Algorithm != "Ed25519":
		return on(f, Fail, "the key's algorithm is %q", c.Algorithm)
	case c.Algorithm == "ECDSA" && c.Bits < 256:
		return on(f, Fail, "the key has %d bits", c.Bits)
	case !c.FreshKeys:
		return on(f, Fail, "renewals keep the old key")
	}
	return on(f, Pass, "each renewal has a new key (%s)", c.Algorithm)
}

func judgeAuthority(s *Snapshot) verdict {
	f := s.Authority
	if v, ok := known(s, f); !ok {
		return v
	}
	a := f.Value
	switch {
	case !s.Now.Before(a.NotAfter):
		return on(f, Fail, "the authority's certificate has ended")
	case a.LeafNotAfter.After(a.NotAfter):
		return on(f, Fail, "the serving certificate outlives the authority")
	case !a.RollsOver:
		return on(f, Warn, "the authority is valid, and spec.tls.issuerRef names one of somebody else's: whether it can be replaced without a failed request is not known")
	}
	return on(f, Pass, "the authority is valid for longer than what it issued, and can be replaced")
}

func attested(fact func(*Snapshot) Fact[Attestation]) func(*Snapshot) verdict {
	return func(s *Snapshot) verdict {
		f := fact(s)
		if v, ok := known(s, f); !ok {
			return v
		}
		a := f.Value
		switch {
		case a.Owner == "" || a.Evidence == "" || a.Expires.IsZero():
			return on(f, Fail, "the attestation has no owner, evidence or end")
		case !s.Now.Before(a.Expires):
			return on(f, Fail, "the attestation of %s ended", a.Owner)
		}
		return on(f, Pass, "%s attests it: %s", a.Owner, a.Evidence)
	}
}

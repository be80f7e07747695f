package verification

import (
	"fmt"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// floorFacts are what the security profiles of the namespace add: who answers for which control, what is attested, and which rights
// are beyond the floor.
func (o *observed) floorFacts(s *posture.Snapshot) {
	for _, e := range o.floor.Exemptions() {
		s.Exemptions = append(s.Exemptions, posture.Exemption{Control: e.Control, Owner: e.Owner, Reason: e.Reason, Expires: e.NotAfter.Time})
	}
	s.AtRest = o.attested(v1alpha1.AttestedSecrets, s.AtRest)
	s.Volumes = o.attested(v1alpha1.AttestedVolumes, s.Volumes)
	if o.server.Spec.KubernetesAccess == nil {
		return
	}
	var beyond []string
	for i, rule := range o.server.Spec.KubernetesAccess.Rules {
		if name, forbidden := o.floor.Beyond(rule); forbidden {
			beyond = append(beyond, fmt.Sprintf("spec.kubernetesAccess.rules[%d] allows what MCPSecurityProfile %s forbids", i, name))
		}
	}
	if len(beyond) > 0 {
		s.Rights = posture.Say(append(slices.Clone(s.Rights.Value), beyond...), "MCPServer spec.kubernetesAccess")
	}
}

// attested is the attestation of a control. One that has ended is no evidence.
func (o *observed) attested(control v1alpha1.AttestedControl, unknown posture.Fact[posture.Attestation]) posture.Fact[posture.Attestation] {
	a := o.floor.Attestation(control)
	if a == nil {
		return unknown
	}
	if !o.now.Before(a.NotAfter.Time) {
		return posture.Unknown[posture.Attestation](fmt.Sprintf("the attestation of %s in MCPSecurityProfile %s ended on %s", a.Owner, a.Profile, a.NotAfter.UTC().Format(time.DateOnly)))
	}
	return posture.Say(posture.Attestation{Owner: a.Owner, Evidence: a.Evidence, Expires: a.NotAfter.Time}, "MCPSecurityProfile "+a.Profile+" spec.attestations")
}

// maximumAge is how old a key of a client may get.
func (o *observed) maximumAge(written time.Duration) time.Duration {
	if limit, ok := o.floor.MaximumKeyAge(); ok {
		return min(written, limit)
	}
	return written
}

// forbidden are the tools that nobody may call.
func (o *observed) forbidden() []string {
	return append(manifests.Forbidden(o.server), o.floor.ForbiddenTools()...)
}

package declared

import (
	"fmt"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// Under adds what the security profiles of the server's namespace say: who answers for which control, what is attested, and which
// rights are beyond the floor.
func Under(s *posture.Snapshot, server *v1alpha1.MCPServer, floor profile.Floor) {
	for _, e := range floor.Exemptions() {
		s.Exemptions = append(s.Exemptions, posture.Exemption{Control: e.Control, Owner: e.Owner, Reason: e.Reason, Expires: e.NotAfter.Time})
	}
	s.AtRest = attested(floor, v1alpha1.AttestedSecrets, s.AtRest, s.Now)
	s.Volumes = attested(floor, v1alpha1.AttestedVolumes, s.Volumes, s.Now)
	if server.Spec.KubernetesAccess == nil {
		return
	}
	var beyond []string
	for i, rule := range server.Spec.KubernetesAccess.Rules {
		if name, forbidden := floor.Beyond(rule); forbidden {
			beyond = append(beyond, fmt.Sprintf("spec.kubernetesAccess.rules[%d] allows what MCPSecurityProfile %s forbids", i, name))
		}
	}
	if len(beyond) > 0 {
		s.Rights = posture.Say(append(slices.Clone(s.Rights.Value), beyond...), "MCPServer spec.kubernetesAccess")
	}
}

// attested is the attestation of a control. One that has ended is no evidence.
func attested(floor profile.Floor, control v1alpha1.AttestedControl, unknown posture.Fact[posture.Attestation], now time.Time) posture.Fact[posture.Attestation] {
	a := floor.Attestation(control)
	if a == nil {
		return unknown
	}
	if !now.Before(a.NotAfter.Time) {
		return posture.Unknown[posture.Attestation](fmt.Sprintf("the attestation of %s in MCPSecurityProfile %s ended on %s", a.Owner, a.Profile, a.NotAfter.UTC().Format(time.DateOnly)))
	}
	return posture.Say(posture.Attestation{Owner: a.Owner, Evidence: a.Evidence, Expires: a.NotAfter.Time}, "MCPSecurityProfile "+a.Profile+" spec.attestations")
}

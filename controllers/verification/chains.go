package verification

import (
	"maps"

	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// chains say what is wrong with the audit logs of the gates that told their status, by the heads of the last look. What is cut off does not
// come back, so it is told until the gate begins anew.
func chains(now, last *run) map[string]string {
	if last == nil {
		return nil
	}
	broken := map[string]string{}
	for pod, status := range now.gates {
		before, known := last.gates[pod]
		if !known || status.Boot == "" || before.Boot != status.Boot {
			continue
		}
		if told := last.chains[pod]; told != "" {
			broken[pod] = told
		} else if why := chainBroken(before.Audit, status.Audit, last.answered[pod]); why != "" {
			broken[pod] = "the audit log of Pod " + pod + " " + why
		}
	}
	return broken
}

// chainBroken says what is wrong between two heads of a chain; "": nothing. Where the gate answered the operator in between, its log has more.
func chainBroken(before, after *gatestatus.AuditHead, answered bool) string {
	switch {
	case before == nil:
		return ""
	case after == nil || after.Seq < before.Seq:
		return "is shorter than it was"
	case after.Seq == before.Seq && after.Hash != before.Hash:
		return "has another last line in the place of one that was seen"
	case after.Seq == before.Seq && answered:
		return "has no line of requests of the operator that the gate has answered"
	}
	return ""
}

// answered are the pods whose gates refused a request without a credential: that is a line in their logs.
func answered(probes []posture.Probe, before map[string]bool) map[string]bool {
	all := maps.Clone(before)
	if all == nil {
		all = map[string]bool{}
	}
	for _, p := range probes {
		if p.Control == "AUTH-1" && p.Outcome == posture.Held {
			all[p.Pod] = true
		}
	}
	return all
}

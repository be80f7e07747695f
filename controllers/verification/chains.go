package verification

import (
	"maps"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// compareChains compares the audit logs of the gates that told their status with the heads of the last look. What is cut off of a log does not
// come back, so it is told until the gate begins anew. A log that stands still while the gate answers is told after a while: in a flood
// of refusals the gate counts them, and writes the count.
func (r *run) compareChains(last *run) {
	r.chains, r.still = map[string]string{}, map[string]time.Time{}
	if last == nil {
		return
	}
	for pod, status := range r.gates {
		before, known := last.gates[pod]
		if !known || status.Boot == "" || before.Boot != status.Boot {
			continue
		}
		if told := last.chains[pod]; told != "" {
			r.chains[pod] = told
			continue
		}
		if why := chainBroken(before.Audit, status.Audit); why != "" {
			r.chains[pod] = "the audit log of Pod " + pod + " " + why
			continue
		}
		since := last.still[pod]
		if since.IsZero() && last.answered[pod] {
			since = last.looked()
		}
		if !since.IsZero() && before.Audit != nil && before.Audit.Seq == status.Audit.Seq {
			r.still[pod] = since
		}
	}
}

// brokenChains are what is to be told of audit logs.
func (r *run) brokenChains() []string {
	all := slices.Collect(maps.Values(r.chains))
	for pod, since := range r.still {
		if r.looked().Sub(since) >= confirm {
			all = append(all, "the audit log of Pod "+pod+" has no line of requests of the operator that the gate has answered")
		}
	}
	slices.Sort(all)
	return all
}

// chainBroken says what is wrong between two heads of a chain; "": nothing.
func chainBroken(before, after *gatestatus.AuditHead) string {
	switch {
	case before == nil:
		return ""
	case after == nil || after.Seq < before.Seq:
		return "is shorter than it was"
	case after.Seq == before.Seq && after.Hash != before.Hash:
		return "has another last line in the place of one that was seen"
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

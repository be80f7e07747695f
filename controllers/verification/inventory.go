package verification

import (
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// inventoryFacts are what the server offers, as its gates have listed it and the ConfigMap keeps it.
func (o *observed) inventoryFacts(s *posture.Snapshot, last *run) {
	if o.inventory == nil {
		return
	}
	if last != nil {
		for _, status := range last.gates {
			if status.Tools != nil && status.Tools.Problem != "" {
				const missing = "a gate cannot list its server"
				s.Offers.Missing = missing
				s.Tools.Missing, s.Unpinned.Missing, s.Unconstrained.Missing = missing, missing, missing
				return
			}
		}
	}
	declared.Offered(s, declared.Offers{
		Server: o.server, Document: *o.inventory, Rules: o.who.Policy.Rules, Forbidden: o.forbidden(),
		Source: "ConfigMap " + inventory.ConfigMapName(o.server.Name), At: o.now,
	})
}

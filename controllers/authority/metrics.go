package authority

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/bartizan-dev/bartizan/internal/rollover"
)

// waitingSince has a series for each authority that waits for cert-manager or for somebody, so that a rollover that cannot
// finish is told. Those that wait for a time have none.
var waitingSince = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "bartizan_authority_waiting_since_timestamp_seconds",
	Help: "Since when an authority has been waiting for cert-manager, to be trusted, or to be out of use.",
}, []string{"namespace", "name"})

func init() {
	metrics.Registry.MustRegister(waitingSince)
}

// measure says of a namespace which authority waits, and since when.
func measure(namespace string, all []*found) {
	waitingSince.DeletePartialMatch(prometheus.Labels{"namespace": namespace})
	for _, x := range all {
		waits := len(x.waits) > 0 || x.step.Phase == rollover.Making && x.step.Action == rollover.Nothing
		if len(x.facts.Authorities) == 0 || !waits {
			continue
		}
		generation := x.step.Generation
		if generation == 0 {
			generation = x.facts.Authorities[0].Generation // the only one
		}
		waitingSince.WithLabelValues(namespace, x.family.name(generation)).Set(float64(x.began().Unix()))
	}
}

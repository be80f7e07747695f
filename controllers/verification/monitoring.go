package verification

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

// scrapeTime is how long monitoring may take to read the metrics of a gate that begins, and again of one that runs.
const scrapeTime = 10 * time.Minute

// alertFacts are whether somebody would be told.
func (o *observed) alertFacts(s *posture.Snapshot) {
	if !o.alerts.known {
		const missing = "the cluster has no PrometheusRule, and alert rules elsewhere are not seen"
		s.Alerts, s.LoginAlerts = posture.Unknown[bool](missing), posture.Unknown[bool](missing)
		return
	}
	s.Alerts = posture.See(o.alerts.controls && o.alerts.logins, "PrometheusRules", o.alerts.at)
	s.LoginAlerts = posture.See(o.alerts.logins, "PrometheusRules", o.alerts.at)
}

// scrapedFact is whether monitoring reads the metrics of every gate: the gates know.
func (o *observed) scrapedFact(last *run) posture.Fact[bool] {
	all := true
	for i := range o.gates {
		pod := o.gates[i].pod
		status, ok := last.gates[pod.Name]
		if !ok {
			return posture.Unknown[bool]("a gate does not tell its status")
		}
		if !status.MetricsReadAt.IsZero() && last.looked().Sub(status.MetricsReadAt) < scrapeTime {
			continue
		}
		if since := readySince(pod); since.IsZero() || last.looked().Sub(since) < scrapeTime {
			return posture.Unknown[bool]("a gate has just begun, and nobody has read its metrics yet")
		}
		all = false
	}
	return posture.See(all, "status of the gates", last.looked())
}

func readySince(pod *corev1.Pod) time.Time {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	if i < 0 {
		return time.Time{}
	}
	return pod.Status.Conditions[i].LastTransitionTime.Time
}

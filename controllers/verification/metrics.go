package verification

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

var (
	scoreDescription = prometheus.NewDesc("bartizan_posture_score",
		"Posture of an MCPServer, 0 to 100.", []string{"namespace", "name"}, nil)
	coverageDescription = prometheus.NewDesc("bartizan_posture_coverage",
		"How much of an MCPServer's posture was evaluated, 0 to 100.", []string{"namespace", "name"}, nil)
	failingDescription = prometheus.NewDesc("bartizan_controls_failing",
		"Number of MCPServers for which a control fails, or holds in part.", []string{"control", "severity", "result"}, nil)
	lastRunDescription = prometheus.NewDesc("bartizan_verification_last_run_timestamp_seconds",
		"When the gates of an MCPServer were last attacked.", []string{"namespace", "name"}, nil)
	verifiedDescription = prometheus.NewDesc("bartizan_server_verified",
		"Whether every attack on an MCPServer's gates failed: 1, or 0 when one succeeded. None while that is not known.", []string{"namespace", "name"}, nil)
)

// collector reads the cache when it is scraped, so that a deleted server leaves no series behind. There are four series a
// server, and as many others as there are controls.
type collector struct {
	reader client.Reader
	runs   *byServer[*run]
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{scoreDescription, coverageDescription, failingDescription, lastRunDescription, verifiedDescription} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	servers := &v1alpha1.MCPServerList{}
	if err := c.reader.List(ctx, servers, client.UnsafeDisableDeepCopy); err != nil {
		out <- prometheus.NewInvalidMetric(scoreDescription, err)
		return
	}
	type series struct{ control, severity, result string }
	counts := map[series]int{}
	for i := range servers.Items {
		server := &servers.Items[i]
		if last, _ := c.runs.last(types.NamespacedName{Namespace: server.Namespace, Name: server.Name}); last != nil {
			out <- prometheus.MustNewConstMetric(lastRunDescription, prometheus.GaugeValue, float64(last.at.Unix()), server.Namespace, server.Name)
		}
		if c := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionVerified); c != nil && c.Status != metav1.ConditionUnknown {
			value := 0.0
			if c.Status == metav1.ConditionTrue {
				value = 1
			}
			out <- prometheus.MustNewConstMetric(verifiedDescription, prometheus.GaugeValue, value, server.Namespace, server.Name)
		}
		p := server.Status.Posture
		if p == nil || p.Score == nil || p.Coverage == nil {
			continue
		}
		out <- prometheus.MustNewConstMetric(scoreDescription, prometheus.GaugeValue, float64(*p.Score), server.Namespace, server.Name)
		out <- prometheus.MustNewConstMetric(coverageDescription, prometheus.GaugeValue, float64(*p.Coverage), server.Namespace, server.Name)
		for _, f := range p.Failing {
			counts[series{f.Control, f.Severity, string(f.Result)}]++
		}
	}
	for s, n := range counts {
		out <- prometheus.MustNewConstMetric(failingDescription, prometheus.GaugeValue, float64(n), s.control, s.severity, s.result)
	}
}

package discovery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bartizan-dev/bartizan/internal/discovery"
)

var unmanagedDescription = prometheus.NewDesc("bartizan_unmanaged_servers",
	"MCP servers that run without a gate, by how sure that is. None while nobody looks.", []string{"confidence"}, nil)

// collector has three series, whatever is found.
type collector struct{ finder *Finder }

// Describe implements prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- unmanagedDescription
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.finder.mutex.Lock()
	defer c.finder.mutex.Unlock()
	if c.finder.last.at.IsZero() || c.finder.last.problem != "" {
		return
	}
	counts := map[discovery.Confidence]int{discovery.High: 0, discovery.Medium: 0, discovery.Low: 0}
	for i := range c.finder.last.found {
		counts[c.finder.last.found[i].Confidence]++
	}
	for confidence, n := range counts {
		out <- prometheus.MustNewConstMetric(unmanagedDescription, prometheus.GaugeValue, float64(n), string(confidence))
	}
}

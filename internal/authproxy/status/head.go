package status

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// headDigits is how many hexadecimal digits of the hash a metric's value holds exactly.
const headDigits = 12

var (
	headSeq = prometheus.NewDesc("bartizan_gate_audit_head_seq",
		"The place in its boot of the last line of the audit log.", []string{"boot"}, nil)
	headHash = prometheus.NewDesc("bartizan_gate_audit_head_hash_prefix",
		"The first 12 hexadecimal digits of the last line's SHA-256, as a number.", []string{"boot"}, nil)
)

// head collects the last line of the audit log as numbers, so that whoever scrapes it can show later that a log has lost its
// end. In a label the hash would be a new series each time.
type head struct{ log *audit.Log }

// Describe implements prometheus.Collector.
func (head) Describe(to chan<- *prometheus.Desc) { to <- headSeq; to <- headHash }

// Collect implements prometheus.Collector.
func (h head) Collect(to chan<- prometheus.Metric) {
	last, ok := h.log.Head()
	if !ok {
		return
	}
	prefix, err := strconv.ParseUint(last.Hash[:headDigits], 16, 64)
	if err != nil {
		return
	}
	to <- prometheus.MustNewConstMetric(headSeq, prometheus.GaugeValue, float64(last.Seq), last.Boot)
	to <- prometheus.MustNewConstMetric(headHash, prometheus.GaugeValue, float64(prefix), last.Boot)
}

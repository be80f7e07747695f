package mcpclient

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// rotationSeconds is how long new keys take. It has no label: clients are many.
var rotationSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "bartizan_client_rotation_seconds",
	Help:    "Time from the making of an API key until its client's Secret held it.",
	Buckets: []float64{0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 3600, 86400},
})

var (
	keysDescription = prometheus.NewDesc("bartizan_client_keys",
		"Number of recorded API keys by state.", []string{"state"}, nil)
	oldestDescription = prometheus.NewDesc("bartizan_client_oldest_key_seconds",
		"Age of the oldest current API key.", nil, nil)
	overdueDescription = prometheus.NewDesc("bartizan_client_rotation_overdue_seconds",
		"By how much the most overdue rotation is overdue that nothing is known to keep waiting; 0 when none is.", nil, nil)
	lateDescription = prometheus.NewDesc("bartizan_client_rotations_late",
		"Number of MCPClients whose condition RotationSucceeded is False, by reason.", []string{"reason"}, nil)
	conditionDescription = prometheus.NewDesc("bartizan_client_conditions",
		"Number of MCPClients by condition and status.", []string{"condition", "status"}, nil)
)

func init() {
	metrics.Registry.MustRegister(rotationSeconds)
}

// keyStates are the states of keys: one series each, the empty ones too, so that an alert can tell none from no answer.
var keyStates = []v1alpha1.KeyState{
	v1alpha1.KeyPending, v1alpha1.KeyDistributed, v1alpha1.KeyCurrent, v1alpha1.KeyDraining, v1alpha1.KeyRetired, v1alpha1.KeyRevoked,
}

// collector reads the cache when it is scraped, so that a deleted client leaves nothing behind. It has a fixed number of series.
type collector struct {
	reader client.Reader
	now    func() time.Time
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{keysDescription, oldestDescription, overdueDescription, lateDescription, conditionDescription} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	clients := &v1alpha1.MCPClientList{}
	if err := c.reader.List(ctx, clients, client.UnsafeDisableDeepCopy); err != nil {
		out <- prometheus.NewInvalidMetric(keysDescription, err)
		return
	}
	type series struct{ condition, status string }
	states, late, conditions := map[v1alpha1.KeyState]int{}, map[string]int{}, map[series]int{}
	var oldest, overdue time.Duration
	now := c.now()
	for i := range clients.Items {
		status := &clients.Items[i].Status
		for _, condition := range status.Conditions {
			conditions[series{condition.Type, string(condition.Status)}]++
			if condition.Type == v1alpha1.ConditionRotationSucceeded && condition.Status == metav1.ConditionFalse && slices.Contains(lateReasons, condition.Reason) {
				late[condition.Reason]++
			}
		}
		for _, credential := range status.Credentials {
			if credential.NextRotation != nil {
				overdue = max(overdue, now.Sub(credential.NextRotation.Time))
			}
			for _, k := range credential.Keys {
				states[k.State]++
				if k.State == v1alpha1.KeyCurrent {
					oldest = max(oldest, now.Sub(k.IssuedAt.Time))
				}
			}
		}
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, state := range keyStates {
		gauge(keysDescription, float64(states[state]), string(state))
	}
	for _, reason := range lateReasons {
		gauge(lateDescription, float64(late[reason]), reason)
	}
	for s, n := range conditions {
		gauge(conditionDescription, float64(n), s.condition, s.status)
	}
	gauge(oldestDescription, oldest.Seconds())
	gauge(overdueDescription, overdue.Seconds())
}

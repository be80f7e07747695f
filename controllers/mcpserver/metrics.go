package mcpserver

import (
	"context"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// configurationSeconds is how long configurations take to be in force. It has no label: servers are many.
var configurationSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "bartizan_configuration_in_force_seconds",
	Help:    "Time from a new gate configuration until every ready gate of its server reports it.",
	Buckets: []float64{0.5, 1, 2, 5, 10, 30, 60, 120, 300},
})

var (
	readyDescription = prometheus.NewDesc("bartizan_server_ready",
		"Whether an MCPServer is ready: 1 or 0. None while it is suspended.", []string{"namespace", "name"}, nil)
	inForceDescription = prometheus.NewDesc("bartizan_server_configuration_in_force",
		"Whether every ready gate of an MCPServer reports its newest configuration: 1, or 0 when not or not known. None while no gate runs.", []string{"namespace", "name"}, nil)
	beginDescription = prometheus.NewDesc("bartizan_certificate_not_before_timestamp_seconds",
		"When a certificate began.", []string{"namespace", "name"}, nil)
	certificateDescription = prometheus.NewDesc("bartizan_certificate_not_after_timestamp_seconds",
		"When a certificate ends: those of servers, of clients, of authorities and of the operator.", []string{"namespace", "name"}, nil)
	renewalDescription = prometheus.NewDesc("bartizan_certificate_renewal_timestamp_seconds",
		"When a certificate is to be renewed; authorities are not.", []string{"namespace", "name"}, nil)
	conditionDescription = prometheus.NewDesc("bartizan_server_conditions",
		"Number of MCPServers by condition and status.", []string{"condition", "status"}, nil)
)

func init() {
	metrics.Registry.MustRegister(configurationSeconds)
}

// collector reads the cache when it is scraped, so that a deleted server leaves no series behind. There are two series a
// server and three a certificate, and a fixed number of others.
type collector struct {
	reader client.Reader
	// certManager says whether the cache holds Certificates.
	certManager func() bool
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		readyDescription, inForceDescription, conditionDescription, certificateDescription, beginDescription, renewalDescription,
	} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	servers := &v1alpha1.MCPServerList{}
	if err := c.reader.List(ctx, servers, client.UnsafeDisableDeepCopy); err != nil {
		out <- prometheus.NewInvalidMetric(readyDescription, err)
		return
	}
	type series struct{ condition, status string }
	counts := map[series]int{}
	for i := range servers.Items {
		server := &servers.Items[i]
		value := 0.0
		if meta.IsStatusConditionTrue(server.Status.Conditions, v1alpha1.ConditionReady) {
			value = 1
		}
		if !suspended(server) {
			out <- prometheus.MustNewConstMetric(readyDescription, prometheus.GaugeValue, value, server.Namespace, server.Name)
		}
		if c := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionConfigurationInForce); c != nil && c.Reason != reasonNoReadyGate && c.Reason != reasonSuspended {
			value = 0
			if c.Status == metav1.ConditionTrue {
				value = 1
			}
			out <- prometheus.MustNewConstMetric(inForceDescription, prometheus.GaugeValue, value, server.Namespace, server.Name)
		}
		for _, condition := range server.Status.Conditions {
			counts[series{condition.Type, string(condition.Status)}]++
		}
	}
	if c.certManager() {
		c.certificates(ctx, out)
	}
	for s, n := range counts {
		out <- prometheus.MustNewConstMetric(conditionDescription, prometheus.GaugeValue, float64(n), s.condition, s.status)
	}
}

func (c *collector) certificates(ctx context.Context, out chan<- prometheus.Metric) {
	all := &certmanager.CertificateList{}
	if err := c.reader.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		out <- prometheus.NewInvalidMetric(certificateDescription, err)
		return
	}
	for i := range all.Items {
		tell := func(d *prometheus.Desc, at *metav1.Time) {
			if at != nil {
				out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(at.Unix()), all.Items[i].Namespace, all.Items[i].Name)
			}
		}
		tell(beginDescription, all.Items[i].Status.NotBefore)
		tell(certificateDescription, all.Items[i].Status.NotAfter)
		tell(renewalDescription, all.Items[i].Status.RenewalTime)
	}
}

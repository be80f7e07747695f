// Package status tells what the gate does: metrics and its own account of itself to the operator over mutual TLS, and
// liveness and readiness in plain HTTP to the kubelet.
package status

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/authproxy/identity"
	"github.com/bartizan-dev/bartizan/internal/authproxy/token"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// Metrics are the gate's metrics. Every label has a bounded set of values; none is chosen by a caller.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	attacks   prometheus.Counter
	reasons   *prometheus.CounterVec
	throttled *prometheus.CounterVec
	requested *prometheus.CounterVec
	operation *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	reloads   *prometheus.CounterVec
	info      *prometheus.GaugeVec
	loaded    prometheus.Gauge
	notAfter  prometheus.Gauge
	notBefore prometheus.Gauge
	foreign   prometheus.Gauge
	listings  *prometheus.CounterVec
	defined   *prometheus.GaugeVec
}

// NewMetrics returns the gate's metrics in a registry of their own.
func NewMetrics(version string) *Metrics {
	const ns = "bartizan_gate_"
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "requests_total",
			Help: "Requests answered, by what became of them, the JSON-RPC method and the HTTP status."}, []string{"decision", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: ns + "request_duration_seconds",
			Help: "Time from a request's arrival to the end of its answer.", Buckets: []float64{.001, .005, .025, .1, .5, 1, 5, 30, 120}}, []string{"decision"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "authentication_failures_total",
			Help: "Requests without an accepted credential, by reason; those of the operator's verifications are not among them."}, []string{"reason"}),
		attacks: prometheus.NewCounter(prometheus.CounterOpts{Name: ns + "verification_refusals_total",
			Help: "Requests without an accepted credential that were part of a verification by the operator."}),
		reasons: prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "refusals_total",
			Help: "Requests denied, refused or failed, by reason."}, []string{"decision", "reason"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "throttled_total",
			Help: "Requests answered with 429, by the limit: client, tool, rule, or failed-logins of one source."}, []string{"limit"}),
		requested: prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "server_requests_total",
			Help: "Requests of the server to its clients, by kind and by whether a rule allows them."}, []string{"kind", "decision"}),
		operation: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mcp_server_operation_duration_seconds",
			Help:    "Time from an MCP message's arrival to the end of its answer, as OpenTelemetry's MCP conventions define it.",
			Buckets: []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300}}, []string{"mcp_method_name", "error_type", "mcp_protocol_version"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: ns + "requests_in_flight",
			Help: "Requests that are not fully answered, open streams among them."}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "config_reloads_total",
			Help: "Attempts to put a changed configuration into force, by result."}, []string{"result"}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: ns + "config_info",
			Help: "1 for the generation of the configuration in force."}, []string{"generation"}),
		loaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: ns + "config_last_reload_successful",
			Help: "1 when the configuration on disk is in force, 0 when it is not."}),
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{Name: ns + "certificate_not_after_timestamp_seconds",
			Help: "When the serving certificate ends."}),
		notBefore: prometheus.NewGauge(prometheus.GaugeOpts{Name: ns + "certificate_not_before_timestamp_seconds",
			Help: "When the serving certificate began."}),
		foreign: prometheus.NewGauge(prometheus.GaugeOpts{Name: ns + "foreign_listeners",
			Help: "Sockets in the pod that listen on another address than loopback and are not the gate's own; -1 when unknown."}),
	}
	m.listings = prometheus.NewCounterVec(prometheus.CounterOpts{Name: ns + "listings_total",
		Help: "Times that the gate listed its server, by result: success, or why it failed."}, []string{"result"})
	m.defined = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: ns + "definitions",
		Help: "Definitions that the server offers, by kind and by what the pins say: approved, changed, unknown or unusable; unjudged without pinning."}, []string{"kind", "state"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: ns + "build_info", Help: "1 for the version of the gate.",
		ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.failures, m.attacks, m.reasons, m.throttled, m.requested, m.operation, m.inFlight, m.reloads, m.info, m.loaded, m.notAfter, m.notBefore,
		m.foreign, m.listings, m.defined, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, result := range []string{"success", "failure"} {
		m.reloads.WithLabelValues(result)
	}
	// From the beginning, so that the first failures are an increase.
	for _, reason := range identity.Failures {
		m.failures.WithLabelValues(string(reason))
	}
	for _, reason := range token.Failures {
		m.failures.WithLabelValues(string(reason))
	}
	for _, limit := range []string{"client", "tool", "rule", "failed-logins"} {
		m.throttled.WithLabelValues(limit)
	}
	return m
}

// Began counts a request that is being answered, until the returned function is called.
func (m *Metrics) Began() (ended func()) {
	m.inFlight.Inc()
	return m.inFlight.Dec
}

// Answered counts an answered request. The reason is one of a closed list; the revision is that of its message, empty where
// none is known. Attack says that it was refused as part of a verification.
func (m *Metrics) Answered(r *audit.Record, revision gateconfig.Revision, attack bool, took time.Duration) {
	decision := string(r.Decision)
	if methods[r.Method] {
		m.operation.WithLabelValues(r.Method, r.Reason, BoundedRevision(revision)).Observe(took.Seconds())
	}
	m.requests.WithLabelValues(decision, boundedMethod(r.Method), strconv.Itoa(r.Status)).Inc()
	m.duration.WithLabelValues(decision).Observe(took.Seconds())
	switch r.Decision {
	case audit.Allowed:
	case audit.Unauthenticated:
		if attack {
			m.attacks.Inc()
			return
		}
		m.failures.WithLabelValues(r.Reason).Inc()
	default:
		m.reasons.WithLabelValues(decision, r.Reason).Inc()
	}
}

// Audit adds what the audit log counts.
func (m *Metrics) Audit(log *audit.Log) {
	const ns = "bartizan_gate_audit_"
	for _, kind := range []audit.Kind{audit.KindRequest, audit.KindRepeated, audit.KindServerRequest, audit.KindBoot, audit.KindGap} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: ns + "lines_total",
			Help: "Lines written to the audit log, by kind.", ConstLabels: prometheus.Labels{"kind": string(kind)}},
			func() float64 { return float64(log.Lines(kind)) }))
	}
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: ns + "lost_lines_total",
		Help: "Lines that could not be written to the audit log; their requests were not answered."},
		func() float64 { return float64(log.Lost()) }))
	m.registry.MustRegister(head{log})
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: ns + "stalled_seconds",
		Help: "For how long the audit log's sink has not taken what is being written to it; requests wait for that."},
		func() float64 { return log.Stalled().Seconds() }))
}

// Told adds what the gate counts of its spans and messages.
func (m *Metrics) Told(written, dropped, lost func() uint64) {
	const ns = "bartizan_gate_"
	for result, count := range map[string]func() uint64{"written": written, "dropped": dropped} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: ns + "spans_total",
			Help: "Spans of traces, by whether they were written or dropped because nobody took them.", ConstLabels: prometheus.Labels{"result": result}},
			func() float64 { return float64(count()) }))
	}
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: ns + "lost_messages_total",
		Help: "The gate's own messages that nobody took."}, func() float64 { return float64(lost()) }))
}

// Listed counts a listing of the server, with the problem of a closed list where it failed.
func (m *Metrics) Listed(problem string) {
	if problem == "" {
		problem = "success"
	}
	m.listings.WithLabelValues(problem).Inc()
}

// Definitions sets how many definitions of each kind are in each state.
func (m *Metrics) Definitions(count func(kind, state string) int) {
	for _, kind := range []string{"Tool", "Prompt", "ResourceTemplate", "Instructions"} {
		for _, state := range []string{"approved", "changed", "unknown", "unusable", "unjudged"} {
			m.defined.WithLabelValues(kind, state).Set(float64(count(kind, state)))
		}
	}
}

// Throttled counts a request that came too soon: by its client's rate, its tool's, its rule's, or after failed logins of its source.
func (m *Metrics) Throttled(limit string) { m.throttled.WithLabelValues(limit).Inc() }

// ServerRequest counts a request of the server to a client. Kind and decision are of closed lists.
func (m *Metrics) ServerRequest(kind, decision string) {
	m.requested.WithLabelValues(kind, decision).Inc()
}

// Cut counts an answer that was ended before its end.
func (m *Metrics) Cut(reason string) { m.reasons.WithLabelValues("cut", reason).Inc() }

// Loaded records an attempt to load a configuration; it fits config.NewStore.
func (m *Metrics) Loaded(g *config.Generation, err error) {
	if err != nil {
		m.reloads.WithLabelValues("failure").Inc()
		m.loaded.Set(0)
		return
	}
	m.reloads.WithLabelValues("success").Inc()
	m.loaded.Set(1)
	m.info.Reset()
	m.info.WithLabelValues(g.Generation).Set(1)
	m.notAfter.Set(float64(g.Certificate.Leaf.NotAfter.Unix()))
	m.notBefore.Set(float64(g.Certificate.Leaf.NotBefore.Unix()))
}

// methods are the values of the label method; any other method counts as "other", a request without one as "none".
var methods = map[string]bool{
	"initialize": true, "ping": true, "server/discover": true, "tools/list": true, "tools/call": true, "prompts/list": true,
	"prompts/get": true, "resources/list": true, "resources/templates/list": true, "resources/read": true,
	"resources/subscribe": true, "resources/unsubscribe": true, "completion/complete": true, "logging/setLevel": true,
	"subscriptions/listen": true, "notifications/initialized": true, "notifications/cancelled": true,
	"notifications/progress": true, "notifications/roots/list_changed": true,
	"tasks/get": true, "tasks/result": true, "tasks/update": true, "tasks/cancel": true, "tasks/list": true,
}

// BoundedRevision is a revision as a label: any that the gate does not speak counts as none.
func BoundedRevision(revision gateconfig.Revision) string {
	switch revision {
	case gateconfig.Revision20250618, gateconfig.Revision20251125, gateconfig.Revision20260728:
		return string(revision)
	}
	return ""
}

func boundedMethod(method string) string {
	switch {
	case method == "":
		return "none"
	case methods[method]:
		return method
	default:
		return "other"
	}
}

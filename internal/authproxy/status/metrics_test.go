package status

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// TestMetricsAreDocumented: docs/metrics.md has each metric of the gate with its labels, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	page, _, _ := strings.Cut(string(text), "\n## The operator's\n")
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(page, -1) {
		documented[row[1]] = strings.Join(regexp.MustCompile("[a-z_]+").FindAllString(row[2], -1), ",")
	}
	m := NewMetrics("v")
	log := audit.NewLog(audit.Options{Sink: &strings.Builder{}})
	defer log.Close()
	m.Audit(log)
	none := func() uint64 { return 0 }
	m.Told(none, none, none)
	descriptions := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(descriptions)
		close(descriptions)
	}()
	fields := regexp.MustCompile(`fqName: "([^"]*)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)
	seen := map[string]bool{}
	for d := range descriptions {
		found := fields.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("not understood: %s", d)
		}
		name := found[1]
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		seen[name] = true
		labels := found[3]
		if constant, _, ok := strings.Cut(found[2], "="); ok {
			labels = constant
		}
		if want, ok := documented[name]; !ok || want != labels {
			t.Errorf("docs/metrics.md: %s has the labels %q, not %q", name, labels, want)
		}
	}
	for name := range documented {
		if !seen[name] {
			t.Errorf("docs/metrics.md: there is no %s", name)
		}
	}
}

// TestFailuresAreThereFromTheBeginning: a series that begins with its first failures shows no increase.
func TestFailuresAreThereFromTheBeginning(t *testing.T) {
	want := map[string]bool{}
	for _, file := range []string{"../identity/identity.go", "../token/token.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?m)^\t[A-Za-z]+ +Failure = "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
			want[found[1]] = true
		}
	}
	families, err := NewMetrics("v").registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "bartizan_gate_authentication_failures_total" {
				got[metric.GetLabel()[0].GetValue()] = true
			}
		}
	}
	if len(want) < 25 || !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestLabelsAreBounded: whatever callers send, the metrics have no more series.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics("v")
	for _, hostile := range []string{"x", "tools/call\n", strings.Repeat("y", 100), "\xff", "🏰"} {
		m.Answered(&audit.Record{Decision: audit.Denied, Reason: "tool", Method: hostile, Status: 403}, gateconfig.Revision(hostile), false, time.Second)
		m.Answered(&audit.Record{Decision: audit.Allowed, Method: "tools/call", Status: 200}, gateconfig.Revision(hostile), false, time.Second)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		name := family.GetName()
		if want := map[string]int{"bartizan_gate_requests_total": 2, "mcp_server_operation_duration_seconds": 1}[name]; want > 0 && len(family.GetMetric()) != want {
			t.Errorf("%s has %d series, want %d", name, len(family.GetMetric()), want)
		}
	}
}

package controllers_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// docs/metrics.md has each metric of the operator's own with its labels, and no other: alert rules are written from it.
func TestIntegrationMetricsAreDocumented(t *testing.T) {
	newWorld(t).run()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, found := strings.Cut(string(text), "\n## The operator's\n")
	if !found {
		t.Fatal("docs/metrics.md has no part about the operator")
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(bartizan_[a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(page, -1) {
		documented[row[1]] = strings.Join(regexp.MustCompile("[a-z_]+").FindAllString(row[2], -1), ",")
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		metrics.Registry.(prometheus.Collector).Describe(descriptions)
		close(descriptions)
	}()
	fields := regexp.MustCompile(`fqName: "(bartizan_[^"]*)".*variableLabels: \{([^}]*)\}`)
	seen := map[string]bool{}
	for d := range descriptions {
		of := fields.FindStringSubmatch(d.String())
		if of == nil {
			continue // of the libraries
		}
		seen[of[1]] = true
		if labels, ok := documented[of[1]]; !ok || labels != of[2] {
			t.Errorf("docs/metrics.md: %s has the labels %q, not %q", of[1], labels, of[2])
		}
	}
	for name := range documented {
		if !seen[name] {
			t.Errorf("docs/metrics.md: there is no %s", name)
		}
	}
}

package prometheus_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	grafanaprometheus "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/bartizan-dev/bartizan/test/prometheus"
)

const root = "../.."

// others are metrics that are not ours: of controller-runtime, and Prometheus' own.
var others = []string{"up", "ALERTS", "controller_runtime_active_workers", "controller_runtime_reconcile_errors_total", "controller_runtime_reconcile_total"}

// documented are the metrics of docs/metrics.md, which tests compare with those of the gate and of the operator.
func documented(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		names = append(names, row[1])
	}
	if len(names) < 30 {
		t.Fatalf("docs/metrics.md has only %v", names)
	}
	return names
}

// asks says what is wrong with an expression: that it is none, or asks for what there is not.
func asks(t *testing.T, p *prometheus.Server, what, expression string) {
	t.Helper()
	names, err := p.Parse(expression)
	if err != nil {
		t.Errorf("%s: %q: %v", what, expression, err)
		return
	}
	if len(names) == 0 {
		t.Errorf("%s: %q asks for nothing", what, expression)
	}
	known := documented(t)
	for _, name := range names {
		series := regexp.MustCompile("_(bucket|count|sum)$").ReplaceAllString(name, "")
		if !slices.Contains(known, name) && !slices.Contains(known, series) && !slices.Contains(others, name) {
			t.Errorf("%s: %q asks for %s, which there is not", what, expression, name)
		}
	}
}

// TestDashboardIsGrafanas loads the dashboard with the types that Grafana generates from its own schemas: there is no field, option or value of a panel
// or a query that Grafana does not have, and none is missing that Grafana writes.
func TestDashboardIsGrafanas(t *testing.T) {
	grafana := cog.NewRuntime()
	grafana.RegisterPanelcfgVariant(stat.VariantConfig())
	grafana.RegisterPanelcfgVariant(timeseries.VariantConfig())
	grafana.RegisterPanelcfgVariant(bargauge.VariantConfig())
	grafana.RegisterPanelcfgVariant(table.VariantConfig())
	grafana.RegisterDataqueryVariant(grafanaprometheus.VariantConfig())
	content, err := os.ReadFile(filepath.Join(root, "config", "monitoring", "bartizan.json"))
	if err != nil {
		t.Fatal(err)
	}
	// What is wrong; the types return an error always, and an empty one when there is nothing.
	wrong := func(content []byte) string {
		if err := new(dashboard.Dashboard).UnmarshalJSONStrict(content); err != nil { //nolint:staticcheck // the file is of the form before v2
			return err.Error()
		}
		return ""
	}
	if said := wrong(content); said != "" {
		t.Error(said)
	}
	var loaded dashboard.Dashboard //nolint:staticcheck // the file is of the form before v2
	if err := json.Unmarshal(content, &loaded); err != nil {
		t.Fatal(err)
	}
	if err := loaded.Validate(); err != nil {
		t.Error(err)
	}
	judged := 0
	for _, panel := range loaded.Panels {
		if panel.RowPanel != nil {
			continue
		}
		judged++
		if _, known := cog.ConfigForPanelcfgVariant(panel.Panel.Type); !known {
			t.Errorf("the options of %q are not judged: register panels of the type %s above", *panel.Panel.Title, panel.Panel.Type)
		}
	}
	if judged < 20 {
		t.Errorf("only %d panels were loaded", judged)
	}
	for _, change := range [][2]string{{`"graphMode"`, `"graphsMode"`}, {`"legendFormat"`, `"legend"`}, {`"instant": true`, `"instant": "yes"`}, {`"gridPos"`, `"grid"`}} {
		if spoiled := strings.Replace(string(content), change[0], change[1], 1); spoiled == string(content) || wrong([]byte(spoiled)) == "" {
			t.Errorf("a dashboard with %s is loaded, too: this test sees nothing", change[1])
		}
	}
}

// TestDashboard: every panel has a place of its own, and every query asks for what there is.
func TestDashboard(t *testing.T) {
	p := prometheus.Start(t, root, nil)
	content, err := os.ReadFile(filepath.Join(root, "config", "monitoring", "bartizan.json"))
	if err != nil {
		t.Fatal(err)
	}
	type query struct {
		Datasource struct{ UID string }
		Expr       string
	}
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct {
			List []struct {
				Name, Type, Definition string
			}
		}
		Panels []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []query
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID != "bartizan" || dashboard.Title == "" || dashboard.SchemaVersion < 36 {
		t.Errorf("%q %q %d", dashboard.UID, dashboard.Title, dashboard.SchemaVersion)
	}
	variables := []string{"$__rate_interval", "1m"}
	for _, variable := range dashboard.Templating.List {
		variables = append(variables, "$"+variable.Name, ".*")
		if variable.Type != "query" {
			continue
		}
		series, _, _ := strings.Cut(strings.TrimPrefix(variable.Definition, "label_values("), ", ")
		asks(t, p, "the variable "+variable.Name, strings.NewReplacer(variables...).Replace(series))
	}
	replacer := strings.NewReplacer(variables...)
	taken, ids, queries := map[[2]int]string{}, map[int]bool{}, 0
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %d %q at %+v", panel.ID, panel.Title, panel.GridPos)
		}
		ids[panel.ID] = true
		for x := range panel.GridPos.W {
			for y := range panel.GridPos.H {
				at := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("%q and %q are in the same place", panel.Title, taken[at])
				}
				taken[at] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		if len(panel.Targets) == 0 || panel.Description == "" {
			t.Errorf("%q has %d queries and says %q", panel.Title, len(panel.Targets), panel.Description)
		}
		for _, target := range panel.Targets {
			queries++
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%q asks %q", panel.Title, target.Datasource.UID)
			}
			asks(t, p, panel.Title, replacer.Replace(target.Expr))
		}
	}
	if queries < 20 {
		t.Errorf("only %d queries", queries)
	}
}

// TestRules: every alert asks for what there is, says what it is about, and has its part of the runbooks.
func TestRules(t *testing.T) {
	p := prometheus.Start(t, root, nil)
	page, err := os.ReadFile(filepath.Join(root, "docs", "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range prometheus.Groups(t, root) {
		for _, rule := range group.Rules {
			if seen[rule.Alert] || !strings.HasPrefix(rule.Alert, "Bartizan") {
				t.Errorf("the alert %q", rule.Alert)
			}
			seen[rule.Alert] = true
			asks(t, p, rule.Alert, rule.Expr)
			if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s is of the severity %q", rule.Alert, severity)
			}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s says %q", rule.Alert, rule.Annotations)
			}
			if want := "https://github.com/bartizan-dev/bartizan/blob/main/docs/runbooks.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
				t.Errorf("%s leads to %s", rule.Alert, rule.Annotations["runbook_url"])
			}
		}
	}
	for _, part := range regexp.MustCompile(`(?m)^## (Bartizan\w+)$`).FindAllStringSubmatch(string(page), -1) {
		if !seen[part[1]] {
			t.Errorf("docs/runbooks.md: there is no alert %s", part[1])
		}
		delete(seen, part[1])
	}
	for name := range seen {
		t.Errorf("docs/runbooks.md has no part for %s", name)
	}
}

// TestEveryAlertIsFired: a test fires each alert by its cause.
func TestEveryAlertIsFired(t *testing.T) {
	var tests strings.Builder
	for _, file := range []string{"controllers/alerts_integration_test.go", "internal/authproxy/gate/alerts_test.go", "test/e2e/rotation_faults_test.go"} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(content)
	}
	for _, group := range prometheus.Groups(t, root) {
		for _, rule := range group.Rules {
			if !strings.Contains(tests.String(), `{"`+rule.Alert+`", `) && !strings.Contains(tests.String(), `fires(t, "`+rule.Alert+`", `) {
				t.Errorf("no test fires %s", rule.Alert)
			}
		}
	}
}

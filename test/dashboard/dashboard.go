// Package dashboard asks a Prometheus what the panels of the Grafana dashboard of an installation ask, and draws the answers: docs/dashboard.svg is
// made so, by "make dashboard". It is no Grafana: it knows the kinds of panels and the options that this dashboard uses, and refuses others.
package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Dashboard is the part of a Grafana dashboard that is asked and drawn.
type Dashboard struct {
	Title      string
	Templating struct {
		List []struct{ Name, Type, AllValue string }
	}
	Panels []Panel
}

// Panel is a panel, or a row with a title.
type Panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Max        *float64
			Thresholds struct{ Steps []Threshold }
			Custom     struct{ Stacking struct{ Mode string } }
		}
	}
	Targets []Target
	// Transformations hide and rename the columns of a table.
	Transformations []struct {
		Options struct {
			ExcludeByName map[string]bool
			RenameByName  map[string]string
		}
	}
}

// Threshold has a color from a value on; the first has none.
type Threshold struct {
	Color string
	Value *float64
}

// Target is a query of a panel.
type Target struct {
	Expr, LegendFormat string
	Instant            bool
}

// Answer is a panel with what its queries gave.
type Answer struct {
	Panel
	Series []Series
}

// Series is one line of a panel, or one value: then it has one point.
type Series struct {
	Name   string
	Labels map[string]string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	At    time.Time
	Value float64
}

// Last is the newest value.
func (s Series) Last() float64 { return s.Points[len(s.Points)-1].Value }

// Get asks a Prometheus at a path of its API and returns the answer's data.
type Get func(ctx context.Context, path string, query url.Values) (json.RawMessage, error)

// Load reads the dashboard of an installation. root is the repository.
func Load(root string) (Dashboard, error) {
	var d Dashboard
	content, err := os.ReadFile(filepath.Join(root, "config", "monitoring", "bartizan.json"))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(content, &d); err != nil {
		return d, err
	}
	for _, panel := range d.Panels {
		if !slices.Contains([]string{"row", "stat", "timeseries", "bargauge", "table"}, panel.Type) {
			return d, fmt.Errorf("the panel %q is a %s, which nobody here can draw", panel.Title, panel.Type)
		}
	}
	return d, nil
}

// Span is the time that is shown.
type Span struct {
	From, To time.Time
	Step     time.Duration
}

// Ask asks what every panel asks, as Grafana does when everything is selected.
func (d Dashboard) Ask(ctx context.Context, get Get, span Span) ([]Answer, error) {
	pairs := []string{"$__rate_interval", "1m"}
	for _, variable := range d.Templating.List {
		if variable.Type == "query" {
			pairs = append(pairs, "$"+variable.Name, cmp.Or(variable.AllValue, ".*"))
		}
	}
	variables := strings.NewReplacer(pairs...)
	var answers []Answer
	for _, panel := range d.Panels {
		answer := Answer{Panel: panel}
		for _, target := range panel.Targets {
			series, err := ask(ctx, get, target, variables.Replace(target.Expr), span)
			if err != nil {
				return nil, fmt.Errorf("the panel %q asks %s: %w", panel.Title, target.Expr, err)
			}
			answer.Series = append(answer.Series, series...)
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func ask(ctx context.Context, get Get, target Target, expression string, span Span) ([]Series, error) {
	query := url.Values{"query": {expression}, "time": {unix(span.To)}}
	path := "/api/v1/query"
	if !target.Instant {
		query = url.Values{"query": {expression}, "start": {unix(span.From)}, "end": {unix(span.To)}, "step": {strconv.FormatFloat(span.Step.Seconds(), 'f', -1, 64)}}
		path += "_range"
	}
	raw, err := get(ctx, path, query)
	if err != nil {
		return nil, err
	}
	var data struct {
		ResultType string
		Result     []struct {
			Metric map[string]string
			Value  *sample
			Values []sample
		}
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		return nil, err
	}
	var all []Series
	for _, one := range data.Result {
		if one.Value != nil {
			one.Values = append(one.Values, *one.Value)
		}
		series := Series{Name: legend(target.LegendFormat, one.Metric), Labels: one.Metric}
		for _, value := range one.Values {
			if p := Point(value); !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
				series.Points = append(series.Points, p)
			}
		}
		if len(series.Points) > 0 {
			all = append(all, series)
		}
	}
	// Prometheus orders the answers of instant queries alone, where they ask for it.
	if !target.Instant {
		slices.SortStableFunc(all, func(a, b Series) int { return strings.Compare(a.Name, b.Name) })
	}
	return all, nil
}

func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64) }

// sample is a point as Prometheus writes it: [1700000000.5, "1"].
type sample Point

func (s *sample) UnmarshalJSON(raw []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil {
		return err
	}
	var at float64
	var text string
	if err := json.Unmarshal(pair[0], &at); err != nil {
		return err
	}
	if err := json.Unmarshal(pair[1], &text); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	s.At, s.Value = time.UnixMilli(int64(math.Round(at*1000))).UTC(), value
	return err
}

var placeholder = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend is the name of a series.
func legend(format string, labels map[string]string) string {
	return placeholder.ReplaceAllStringFunc(format, func(match string) string {
		return labels[placeholder.FindStringSubmatch(match)[1]]
	})
}

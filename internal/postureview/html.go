package postureview

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

//go:embed report.html.tmpl
var reportTemplate string

var report = template.Must(template.New("report").Funcs(template.FuncMap{
	"sign":  func(r Result) string { return signs[r] },
	"word":  func(r Result) string { return strings.ToUpper(string(r)[:1]) + string(r)[1:] },
	"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"join":  strings.Join,
	"deref": func(t *time.Time) time.Time { return *t },
}).Parse(reportTemplate))

// signs tell results apart without colour.
var signs = map[Result]string{Pass: "✓", Fail: "✗", Warn: "!", Unknown: "?", Exempted: "–"}

// column is one control as the head of a column.
type column struct {
	posture.Control
	// First begins a new group, such as AUTH.
	First bool
}

// HTML writes a report as one file that loads nothing from anywhere and runs nothing.
func HTML(out io.Writer, servers []Server, now time.Time) error {
	page := struct {
		Now     time.Time
		Servers []Server
		Columns []column
		Results []Result
		Failing int
	}{Now: now, Servers: servers, Results: []Result{Pass, Warn, Fail, Unknown, Exempted}}
	group := ""
	for _, c := range posture.Catalogue() {
		prefix, _, _ := strings.Cut(c.ID, "-")
		page.Columns = append(page.Columns, column{Control: c, First: prefix != group})
		group = prefix
	}
	for _, s := range servers {
		if s.Count(Fail) > 0 {
			page.Failing++
		}
	}
	return report.Execute(out, page)
}

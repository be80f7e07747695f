package dashboard

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// The measures of the picture, in pixels: a cell of Grafana's grid of 24 columns, and what is around.
const (
	cellWidth, cellHeight = 54, 30
	margin, gap           = 16, 8
	head                  = 52
	axis                  = 46
)

var (
	palette = []string{"#5b8c3a", "#c9920e", "#3274d9", "#e0752d", "#d0384a", "#8f5bb8", "#1f9aa5", "#7a6a52", "#4b5d78", "#b0507c"}
	named   = map[string]string{"green": "#3f8f3b", "orange": "#d9731a", "red": "#cf2f3f"}
)

// picture is an SVG that is being drawn.
type picture struct{ bytes.Buffer }

func (p *picture) add(format string, arguments ...any) { fmt.Fprintf(p, format+"\n", arguments...) }

// text writes a text, cut to a width in pixels. style is its class.
func (p *picture) text(x, y float64, style, text string, width float64) {
	// A character is about this wide.
	if most := int(width / 6.2); width > 0 && len([]rune(text)) > most {
		text = string([]rune(text)[:max(most-1, 1)]) + "…"
	}
	p.add(`<text x="%s" y="%s" class="%s">%s</text>`, number(x), number(y), style, html.EscapeString(text))
}

func number(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// Draw draws the panels at their places.
func Draw(title string, answers []Answer, span Span) []byte {
	rows := 0
	for _, a := range answers {
		rows = max(rows, a.GridPos.Y+a.GridPos.H)
	}
	width, height := 24*cellWidth+2*margin, rows*cellHeight+head+margin
	p := &picture{}
	p.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#24292f">`, width, height)
	p.add(`<style>.t{font-weight:bold}.h{font-size:20px;font-weight:bold}.r{font-size:15px;font-weight:bold}.s{font-size:11px;fill:#57606a}` +
		`.e{font-size:11px;fill:#57606a;text-anchor:end}.m{font-size:11px;fill:#57606a;text-anchor:middle}.v{font-size:38px;font-weight:bold;text-anchor:middle}</style>`)
	p.add(`<rect width="%d" height="%d" fill="#f4f5f5"/>`, width, height)
	p.text(margin, 32, "h", title, 0)
	p.add(`<text x="%d" y="32" class="e">%s to %s</text>`, width-margin, span.From.UTC().Format("2006-01-02 15:04"), span.To.UTC().Format("15:04 MST"))
	for _, a := range answers {
		x, y := float64(margin+a.GridPos.X*cellWidth), float64(head+a.GridPos.Y*cellHeight)
		if a.Type == "row" {
			p.text(x, y+20, "r", a.Title, 0)
			continue
		}
		box := area{x, y, float64(a.GridPos.W*cellWidth - gap), float64(a.GridPos.H*cellHeight - gap)}
		p.add(`<rect x="%s" y="%s" width="%s" height="%s" rx="3" fill="#fff" stroke="#d8dee4"/>`, number(box.x), number(box.y), number(box.w), number(box.h))
		p.text(box.x+8, box.y+18, "t", a.Title, box.w-16)
		inner := area{box.x + 8, box.y + 26, box.w - 16, box.h - 34}
		switch {
		case len(a.Series) == 0:
			p.add(`<text x="%s" y="%s" class="m">no data</text>`, number(inner.x+inner.w/2), number(inner.y+inner.h/2))
		case a.Type == "stat":
			p.stat(a, inner)
		case a.Type == "timeseries":
			p.lines(a, inner, span)
		case a.Type == "bargauge":
			p.bars(a, inner)
		case a.Type == "table":
			p.table(a, inner)
		}
	}
	p.add(`</svg>`)
	return p.Bytes()
}

type area struct{ x, y, w, h float64 }

// color is that of the last threshold that a value has reached.
func (a Answer) color(value float64) string {
	color := named["green"]
	for _, step := range a.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value == nil || value >= *step.Value {
			color = cmp.Or(named[step.Color], step.Color)
		}
	}
	return color
}

func (p *picture) stat(a Answer, in area) {
	each := in.w / float64(len(a.Series))
	for i, series := range a.Series {
		x := in.x + each*(float64(i)+0.5)
		value := series.Last()
		p.add(`<text x="%s" y="%s" class="v" fill="%s">%s</text>`, number(x), number(in.y+in.h/2+12), a.color(value), format(a.FieldConfig.Defaults.Unit, value))
		if len(a.Series) > 1 {
			p.add(`<text x="%s" y="%s" class="m">%s</text>`, number(x), number(in.y+in.h-2), html.EscapeString(series.Name))
		}
	}
}

// lines draws series over time, one on top of the other where the panel says so.
func (p *picture) lines(a Answer, in area, span Span) {
	stacked := a.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	rows := p.legend(a.Series, in)
	plot := area{in.x + axis, in.y + 4, in.w - axis - 4, in.h - 24 - 15*float64(rows)}
	below := map[time.Time]float64{}
	tops := make([][]Point, len(a.Series))
	highest := 0.0
	for i, series := range a.Series {
		for _, point := range series.Points {
			if stacked {
				below[point.At] += point.Value
				point.Value = below[point.At]
			}
			tops[i] = append(tops[i], point)
			highest = max(highest, point.Value)
		}
	}
	step := nice(highest)
	if a.FieldConfig.Defaults.Unit == "s" {
		step = niceTime(highest)
	}
	top := step * max(1, math.Ceil(highest/step-1e-9))
	x := func(at time.Time) float64 {
		return plot.x + plot.w*float64(at.Sub(span.From))/float64(span.To.Sub(span.From))
	}
	y := func(value float64) float64 { return plot.y + plot.h*(1-value/top) }
	for value := 0.0; value <= top+step/2; value += step {
		p.add(`<path d="M%s %sh%s" stroke="#eaeef2"/>`, number(plot.x), number(y(value)), number(plot.w))
		p.add(`<text x="%s" y="%s" class="e">%s</text>`, number(plot.x-5), number(y(value)+4), format(a.FieldConfig.Defaults.Unit, value))
	}
	for i := range 4 {
		at := span.From.Add(span.To.Sub(span.From) * time.Duration(2*i+1) / 8)
		p.add(`<text x="%s" y="%s" class="m">%s</text>`, number(x(at)), number(plot.y+plot.h+15), at.UTC().Format("15:04"))
	}
	// The uppermost first, so that those below stay visible.
	for i := len(tops) - 1; i >= 0; i-- {
		color := palette[i%len(palette)]
		for _, part := range unbroken(tops[i], span.Step) {
			var path strings.Builder
			for j, point := range part {
				// What goes on as it is needs no point.
				if j > 0 && j < len(part)-1 && part[j-1].Value == point.Value && part[j+1].Value == point.Value {
					continue
				}
				fmt.Fprintf(&path, "%s%s %s", map[bool]string{true: "M", false: "L"}[j == 0], number(x(point.At)), number(y(point.Value)))
			}
			if stacked {
				// White first: what is above must not shine through.
				for _, fill := range []string{`fill="#fff"`, `fill="` + color + `" fill-opacity=".3"`} {
					p.add(`<path d="%sV%sH%sZ" %s/>`, &path, number(y(0)), number(x(part[0].At)), fill)
				}
			}
			p.add(`<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, &path, color)
		}
	}
}

// unbroken divides points where some are missing.
func unbroken(points []Point, step time.Duration) (parts [][]Point) {
	for i, point := range points {
		if i == 0 || point.At.Sub(points[i-1].At) > step*3/2 {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], point)
	}
	return parts
}

// legend writes the names of series at the bottom, and returns how many rows they take.
func (p *picture) legend(all []Series, in area) (rows int) {
	const most = 4
	var places []area
	x, row := 0.0, 1
	for i, series := range all {
		width := 22 + 6.2*float64(len([]rune(series.Name)))
		if x > 0 && x+width > in.w {
			x, row = 0, row+1
		}
		if row > most {
			all = all[:i]
			break
		}
		places = append(places, area{x: x, y: float64(row), w: in.w - x})
		x += width
	}
	rows = min(row, most)
	for i, series := range all {
		left, base := in.x+places[i].x, in.y+in.h-15*(float64(rows)-places[i].y)
		p.add(`<rect x="%s" y="%s" width="10" height="3" fill="%s"/>`, number(left), number(base-5), palette[i%len(palette)])
		p.text(left+14, base, "s", series.Name, places[i].w-14)
	}
	return rows
}

func (p *picture) bars(a Answer, in area) {
	const height = 22
	shown := a.Series[:min(len(a.Series), int(in.h/height))]
	highest := 0.0
	for _, series := range shown {
		highest = max(highest, series.Last())
	}
	if a.FieldConfig.Defaults.Max != nil {
		highest = *a.FieldConfig.Defaults.Max
	}
	name := in.w * .5
	for i, series := range shown {
		y, value := in.y+float64(i)*height, series.Last()
		p.text(in.x, y+14, "s", series.Name, name)
		room := in.w - name - 60
		p.add(`<rect x="%s" y="%s" width="%s" height="14" fill="#eaeef2"/>`, number(in.x+name), number(y+3), number(room))
		p.add(`<rect x="%s" y="%s" width="%s" height="14" fill="%s"/>`, number(in.x+name), number(y+3), number(room*min(1, max(0, value/max(highest, 1e-9)))), a.color(value))
		p.add(`<text x="%s" y="%s" class="e">%s</text>`, number(in.x+in.w), number(y+14), format(a.FieldConfig.Defaults.Unit, value))
	}
}

func (p *picture) table(a Answer, in area) {
	hidden, renamed := map[string]bool{}, map[string]string{}
	for _, t := range a.Transformations {
		hidden, renamed = t.Options.ExcludeByName, t.Options.RenameByName
	}
	var columns []string
	for _, series := range a.Series {
		for label := range series.Labels {
			if !hidden[label] && !slices.Contains(columns, label) {
				columns = append(columns, label)
			}
		}
	}
	slices.Sort(columns)
	columns = append(columns, "Value")
	const height = 20
	each := in.w / float64(len(columns))
	for i, column := range columns {
		p.text(in.x+float64(i)*each, in.y+12, "t", cmp.Or(renamed[column], column), each)
	}
	for row, series := range a.Series[:min(len(a.Series), int(in.h/height)-1)] {
		for i, column := range columns {
			text := series.Labels[column]
			if column == "Value" {
				text = format(a.FieldConfig.Defaults.Unit, series.Last())
			}
			p.text(in.x+float64(i)*each, in.y+12+float64(row+1)*height, "s", text, each)
		}
	}
}

// nice is a round distance of ticks, for three or four up to a value.
func nice(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(highest/3)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if highest/(power*factor) <= 4 {
			return power * factor
		}
	}
	return power * 10
}

// niceTime is the same for seconds: whole minutes, hours or days where there are several.
func niceTime(highest float64) float64 {
	for _, unit := range []float64{86400, 3600, 60} {
		if highest >= 3*unit {
			return unit * nice(highest/unit)
		}
	}
	return nice(highest)
}

// format writes a value in a unit of Grafana's.
func format(unit string, value float64) string {
	short := func(v float64) string {
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
	}
	switch unit {
	case "s":
		for _, of := range []struct {
			seconds float64
			name    string
		}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}, {1e-3, "ms"}} {
			if math.Abs(value) >= of.seconds {
				return fmt.Sprintf("%.3g %s", value/of.seconds, of.name)
			}
		}
		return "0 s"
	case "reqps", "ops":
		return short(value) + "/s"
	}
	return short(value)
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// row is one comparison: a figure of the gate, and of what it is compared with.
type row struct {
	ID   string `json:"id"`
	Work string `json:"work"`
	// Value is the gate's median, BaselineValue the baseline's; Ratio is the median of the rounds' ratios, Min and Max the least and the
	// greatest of them. Where nothing is measured beside the gate, they are those of the value.
	Value         float64 `json:"value"`
	Unit          string  `json:"unit"`
	Baseline      string  `json:"baseline"`
	BaselineValue float64 `json:"baseline_value"`
	Ratio         float64 `json:"ratio"`
	Min           float64 `json:"min"`
	Max           float64 `json:"max"`
	Goal          string  `json:"goal"`
	Met           bool    `json:"met"`
}

// atMost is a goal that a figure is no more than, atLeast one that it is no less than; so are their texts.
func atMost(n float64) func(float64) (string, bool) {
	return func(got float64) (string, bool) { return fmt.Sprintf("≤ %v", n), got <= n }
}

func atLeast(n float64) func(float64) (string, bool) {
	return func(got float64) (string, bool) { return fmt.Sprintf("≥ %v", n), got >= n }
}

// none is for comparisons that are only told.
func none(float64) (string, bool) { return "", true }

// compare adds the row of a comparison, whose goal is about the ratio.
func (b *bench) compare(id, work, unit string, gate []float64, baseline string, base []float64, goal func(float64) (string, bool)) {
	var ratios []float64
	for i := range min(len(gate), len(base)) {
		if base[i] != 0 {
			ratios = append(ratios, gate[i]/base[i])
		}
	}
	if len(ratios) == 0 {
		return
	}
	r := row{ID: id, Work: work, Unit: unit, Value: median(gate), Baseline: baseline, BaselineValue: median(base), Ratio: median(ratios), Min: least(ratios), Max: -least(negative(ratios))}
	r.Goal, r.Met = goal(r.Ratio)
	if r.Goal != "" {
		r.Goal += "×"
	}
	b.add(r)
}

// measured adds the row of a figure whose goal is about itself. The baseline is a published figure, or none.
func (b *bench) measured(id, work, unit string, values []float64, baseline string, published float64, goal func(float64) (string, bool)) {
	r := row{ID: id, Work: work, Unit: unit, Value: median(values), Baseline: baseline, BaselineValue: published, Min: least(values), Max: -least(negative(values))}
	if published != 0 {
		r.Ratio = r.Value / published
	}
	r.Goal, r.Met = goal(r.Value)
	if r.Goal != "" {
		r.Goal += " " + unit
	}
	b.add(r)
}

func (b *bench) add(r row) {
	b.rows = append(b.rows, r)
	b.progress("%s %s: %s %s, %s %s, ratio %s (%s to %s); goal %s: %t", r.ID, r.Work, short(r.Value), r.Unit, r.Baseline, short(r.BaselineValue), short(r.Ratio), short(r.Min), short(r.Max), r.Goal, r.Met)
}

func least(all []float64) float64 {
	m := all[0]
	for _, one := range all {
		m = min(m, one)
	}
	return m
}

func negative(all []float64) []float64 {
	out := make([]float64, len(all))
	for i, one := range all {
		out[i] = -one
	}
	return out
}

// short is a figure with three digits that count.
func short(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f >= 100 || f <= -100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10 || f <= -10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.3g", f)
	}
}

// report writes both files into the folder; none without a folder.
func (b *bench) report(folder string) error {
	if folder == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "benchmarks.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	page, err := b.page()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "benchmarks.md"), page, 0o644)
}

// page is the page for people.
func (b *bench) page() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprint(&out, intro)
	fmt.Fprintf(&out, "Measured on %s, %s to %s UTC, %d rounds: %s; load average %s at the beginning and %s at the end%s.\n\n", b.begun.UTC().Format(time.DateOnly),
		b.begun.UTC().Format("15:04"), time.Now().UTC().Format("15:04"), b.rounds, machine(), b.load, loadAverage(), map[bool]string{true: "; the measured process pinned to a core of its own"}[b.pinned])
	fmt.Fprintf(&out, "Versions: %s.\n\n", versions())
	if b.quick {
		fmt.Fprint(&out, "**This was `make bench QUICK=1`**, which shows that everything can be measured: few requests, two rounds, no care for what else the machine does.\n\n")
	}
	if left := strings.Join(b.without, ", "); left != "" {
		fmt.Fprintf(&out, "Left out: %s.\n\n", left)
	}
	fmt.Fprint(&out, "| | Work | Gate | Against | | Ratio (min to max) | Goal | |\n|---|---|--:|---|--:|--:|---|---|\n")
	var missed []row
	goals := 0
	for _, r := range b.rows {
		ratio, mark := "", ""
		if r.Goal != "" {
			goals++
		}
		if r.Ratio != 0 {
			ratio = short(r.Ratio)
		}
		switch {
		case r.Goal != "" && r.Met:
			mark = "met"
		case r.Goal != "":
			mark = "**not met**"
			missed = append(missed, r)
		}
		base := ""
		if r.BaselineValue != 0 {
			base = short(r.BaselineValue)
		}
		fmt.Fprintf(&out, "| %s | %s | %s %s | %s | %s | %s (%s to %s) | %s | %s |\n", r.ID, r.Work, short(r.Value), r.Unit, r.Baseline, base, ratio, short(r.Min), short(r.Max), r.Goal, mark)
	}
	limits, err := os.ReadFile(filepath.Join("test", "bench", "limits.md"))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&out, "\n%d goals of %d are not met.\n\n%s", len(missed), goals, limits)
	return out.Bytes(), nil
}

const intro = `# Benchmarks

` + "`make bench`" + ` measures the gate side by side with what people would take in its place, and writes this page and
[benchmarks.json](benchmarks.json). The others are set up for the same work as far as they can do it, in
[files that you can read](../test/peers/config); what each does is in [its table](../test/peers/README.md). All listen on loopback before the same
small server; callers keep their connections (HTTP/1.1, TLS 1.3, ECDSA P-256), 16 of them unless the row says otherwise.

The main figure is CPU time of the measured process for a request, user and system, in microseconds: machines differ and are busy, so only
ratios within one run mean something. The gate and each other program are measured in turn, in each round; a ratio is that of a round,
and the row has the median, the least and the greatest.

`

// machine is what the figures were made on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d cores of %s, Linux %s", runtime.NumCPU(), model, strings.TrimSpace(string(release)))
}

// versions are those of what was measured.
func versions() string {
	all := []string{runtime.Version()}
	for _, command := range [][]string{{"/usr/sbin/haproxy", "-v"}, {"/usr/sbin/nginx", "-v"}} {
		if text, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err == nil {
			first, _, _ := strings.Cut(string(text), "\n")
			all = append(all, strings.TrimSpace(strings.TrimPrefix(strings.Split(first, " 20")[0], "nginx version: ")))
		}
	}
	return strings.Join(append(all, "kube-rbac-proxy v0.19.1", "ToolHive v0.47.0", "vegeta v12.12.0"), ", ")
}

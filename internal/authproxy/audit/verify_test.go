package audit_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// TestVerifyFindsWhatWasDone: whatever somebody does to a log, the first line that is not what was written is named.
func TestVerifyFindsWhatWasDone(t *testing.T) {
	var records []audit.Record
	for i := range 8 {
		records = append(records, audit.Record{Decision: audit.Allowed, Client: "a/b", Method: fmt.Sprintf("m%d", i)})
	}
	first := strings.SplitAfter(strings.TrimSuffix(written(t, "one", nil, records...), "\n"), "\n")
	first[len(first)-1] += "\n"
	verified, err := audit.Verify(strings.NewReader(strings.Join(first, "")))
	if err != nil {
		t.Fatal(err)
	}
	head := verified.Heads[0]
	second := strings.SplitAfter(strings.TrimSuffix(written(t, "two", []audit.Head{head}, records...), "\n"), "\n")
	second[len(second)-1] += "\n"
	both := slices.Concat(first, second)
	forged := strings.Replace(first[3], `"m2"`, `"mX"`, 1)

	for _, tc := range []struct {
		name  string
		lines []string
		heads []audit.Head
		// line is the one that is named, 0 for a log that is whole.
		line int
	}{
		{name: "whole", lines: both},
		{name: "mixed by a collector", lines: slices.Concat(first[:3], second[:4], first[3:], second[4:])},
		{name: "one boot alone, with its end known", lines: first, heads: []audit.Head{head}},
		{name: "the later boot alone", lines: second},
		{name: "nothing"},
		{name: "edited", lines: slices.Concat(first[:3], []string{forged}, first[4:]), line: 4},
		{name: "edited, the last of the file, known by a later boot", lines: slices.Concat(first[:8], []string{strings.Replace(first[8], `"m7"`, `"mX"`, 1)}, second), line: 9},
		{name: "edited, the last, known elsewhere", lines: slices.Concat(first[:8], []string{strings.Replace(first[8], `"m7"`, `"mX"`, 1)}), heads: []audit.Head{head}, line: 9},
		{name: "removed", lines: slices.Delete(slices.Clone(first), 3, 5), line: 4},
		{name: "removed, the first of its boot", lines: first[1:], line: 1},
		{name: "reordered", lines: slices.Concat(first[:3], []string{first[4], first[3]}, first[5:]), line: 4},
		{name: "truncated, known by a later boot", lines: slices.Concat(first[:6], second), line: 7},
		{name: "truncated, known elsewhere", lines: first[:6], heads: []audit.Head{head}, line: 7},
		{name: "a boot removed, known elsewhere", lines: second, heads: []audit.Head{head}, line: 10},
		{name: "cut within a line", lines: slices.Concat(first[:6], []string{first[6][:40]}), line: 7},
		{name: "inserted, a copy", lines: slices.Concat(first[:4], []string{first[3]}, first[4:]), line: 5},
		{name: "inserted, with the place of the next", lines: slices.Concat(first[:4], []string{strings.Replace(first[4], `"m3"`, `"mX"`, 1)}, first[4:]), line: 6},
		{name: "inserted, of another boot", lines: slices.Concat(first[:4], []string{strings.Replace(first[3], `"boot":"one"`, `"boot":"new"`, 1)}, first[4:]), line: 5},
		{name: "inserted, no line", lines: slices.Concat(first[:4], []string{"hello\n"}, first[4:]), line: 5},
		{name: "inserted, empty", lines: slices.Concat(first[:4], []string{"\n"}, first[4:]), line: 5},
		{name: "appended, no line", lines: slices.Concat(first, []string{"hello\n"}), line: 10},
		{name: "a second beginning", lines: slices.Concat(first[:4], []string{first[0]}, first[4:]), line: 5},
		{name: "very long", lines: slices.Concat(first[:4], []string{strings.Repeat("x", audit.MaxLine) + "\n"}, first[4:]), line: 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := audit.Verify(strings.NewReader(strings.Join(tc.lines, "")), tc.heads...)
			var broken *audit.BrokenError
			switch {
			case tc.line == 0 && err != nil:
				t.Error(err)
			case tc.line > 0 && (!errors.As(err, &broken) || broken.Line != tc.line):
				t.Errorf("got %v, want line %d", err, tc.line)
			}
		})
	}
}

// TestNoChangeOfAByteGoesUnnoticed changes each byte of a log in turn.
func TestNoChangeOfAByteGoesUnnoticed(t *testing.T) {
	text := written(t, "one", nil, audit.Record{Decision: audit.Allowed, Method: "m"}, audit.Record{Decision: audit.Denied, Reason: "tool"})
	verified, err := audit.Verify(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		changed := []byte(text)
		changed[i] ^= 1
		if _, err := audit.Verify(strings.NewReader(string(changed)), verified.Heads...); err == nil {
			t.Errorf("byte %d, %q, can be changed", i, text[max(0, i-20):i+1])
		}
		if _, err := audit.Verify(strings.NewReader(text[:i]), verified.Heads...); err == nil {
			t.Errorf("the log can be cut at %d", i)
		}
	}
}

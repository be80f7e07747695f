package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// check is one thing that is tried, and what must become of it.
type check struct {
	name, tried string
	// want are the outcomes that are right.
	want []result.Outcome
	// contains is what the answer must contain; empty for anything.
	contains string
	// command prints a result.Result.
	command []string
}

// show tries a check and prints it.
func (c check) show(ctx context.Context, s *screen) {
	got, err := attempt(ctx, c.command)
	if err != nil {
		s.seen(c.name, c.tried, err.Error(), false)
		return
	}
	right := slices.Contains(c.want, got.Outcome) && strings.Contains(got.Text+got.Message+strings.Join(got.Tools, " "), c.contains)
	s.seen(c.name, c.tried, describe(got), right)
}

// attempt runs mcpclient, here or in a pod, and reads what it prints. An exit code other than 0 is a result as well.
func attempt(ctx context.Context, command []string) (result.Result, error) {
	var errors strings.Builder
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Stderr = &errors
	output, err := run.Output()
	var got result.Result
	if decoded := json.Unmarshal(output, &got); decoded != nil {
		return got, fmt.Errorf("%s: %w: %s%s", command[0], err, output, errors.String())
	}
	return got, nil
}

func describe(r result.Result) string {
	switch r.Outcome {
	case result.OK:
		if r.Tools != nil {
			return fmt.Sprintf("it sees %d tools: %s", len(r.Tools), strings.Join(r.Tools, ", "))
		}
		return "answered:\n" + cut(r.Text+r.Message, width-20)
	case result.Unauthorized, result.Forbidden, result.Throttled:
		return fmt.Sprintf("HTTP %d: %s", r.Status, r.Message)
	case result.NoConnection:
		return "no connection: " + r.Message
	case result.TLSRefused:
		return "no TLS session: " + r.Message
	case result.ToolError:
		return "the tool answered with an error: " + r.Text
	default:
		return strings.TrimSpace(fmt.Sprintf("%s %d: %s", r.Outcome, r.Status, r.Message))
	}
}

// cut shortens each line: tables get unreadable when they are wrapped.
func cut(text string, length int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if runes := []rune(line); len(runes) > length {
			lines[i] = string(runes[:length-1]) + "…"
		}
	}
	return strings.Join(lines, "\n")
}

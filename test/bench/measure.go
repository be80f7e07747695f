package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpuTime is how long a process's threads have run, user and system, to the nanosecond.
func cpuTime(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	var sum time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			// The thread ended; Go ends none of those that work.
			continue
		}
		ran, _, _ := bytes.Cut(text, []byte(" "))
		n, err := strconv.ParseInt(string(ran), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// resident is the memory that a process has, in bytes.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory", pid)
}

// loadAverage is how busy the machine is.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// perRequest is what the target's process works for one of so many requests, in microseconds.
func perRequest(t *target, count int, load func() error) (float64, error) {
	before, err := cpuTime(t.pid)
	if err != nil {
		return 0, err
	}
	if err := load(); err != nil {
		return 0, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := cpuTime(t.pid)
	return float64((after - before).Nanoseconds()) / 1e3 / float64(count), err
}

// inTurn measures each target once in each round, and returns the figures of each.
func (b *bench) inTurn(ctx context.Context, what string, targets []*target, measure func(t *target) (float64, error)) (map[string][]float64, error) {
	figures := map[string][]float64{}
	for round := range b.rounds {
		for _, t := range targets {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			figure, err := measure(t)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			figures[t.name] = append(figures[t.name], figure)
		}
		b.progress("%s: round %d of %d", what, round+1, b.rounds)
	}
	return figures, nil
}

// saturated is CPU time a request of each target in turn, with so many connections and requests.
func (b *bench) saturated(ctx context.Context, what string, targets []*target, connections, count int) (map[string][]float64, error) {
	all := map[string]callers{}
	defer func() {
		for _, c := range all {
			c.close()
		}
	}()
	for _, t := range targets {
		c, err := connect(t, connections)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", what, t.name, err)
		}
		all[t.name] = c
		// Buffers, caches and the upstream's connections are there before anything is measured.
		if err := c.saturate(t, max(count/4, connections)); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", what, t.name, err)
		}
	}
	return b.inTurn(ctx, what, targets, func(t *target) (float64, error) {
		return perRequest(t, count, func() error { return all[t.name].saturate(t, count) })
	})
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// maxExamples bounds the failures that a Load tells in full.
const maxExamples = 10

// Load is the account of many calls.
type Load struct {
	Calls    int `json:"calls"`
	Failures int `json:"failures"`
	// Examples are the first failures.
	Examples []Example `json:"examples,omitempty"`
	// Connections is how many TCP connections were opened.
	Connections int64 `json:"connections"`
	// Serial is the serving certificate's serial number in hex, as last seen.
	Serial string `json:"serial,omitempty"`
	// Answers are the different texts that the tool answered, with how often; at most maxExamples.
	Answers map[string]int `json:"answers,omitempty"`
	// Median and Slowest are durations of calls in milliseconds.
	Median  int64 `json:"medianMs"`
	Slowest int64 `json:"slowestMs"`
}

// Example is one failed call.
type Example struct {
	// After is when it failed, since the beginning.
	After string `json:"after"`
	Result
}

type tally struct {
	mu    sync.Mutex
	begun time.Time
	load  Load
	took  []time.Duration
}

func (t *tally) add(took time.Duration, result Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load.Calls++
	t.took = append(t.took, took)
	if result.Outcome == OK {
		if _, known := t.load.Answers[result.Text]; known || len(t.load.Answers) < maxExamples {
			t.load.Answers[result.Text]++
		}
		return
	}
	t.load.Failures++
	if len(t.load.Examples) < maxExamples {
		t.load.Examples = append(t.load.Examples, Example{After: time.Since(t.begun).Round(time.Millisecond).String(), Result: result})
	}
}

// load calls one tool again and again. Nothing is tried twice: a call that fails is counted.
func load(ctx context.Context, s settings) Result {
	total := tally{begun: time.Now(), load: Load{Answers: map[string]int{}}}
	until := total.begun.Add(s.duration)
	var workers sync.WaitGroup
	for range s.parallel {
		connection, err := newConnection(s)
		if err != nil {
			return Result{Outcome: Usage, Message: err.Error()}
		}
		workers.Go(func() {
			worker(ctx, connection, until, &total)
			total.mu.Lock()
			defer total.mu.Unlock()
			total.load.Connections += connection.opened.Load()
			if serial := connection.serial.Load(); serial != nil {
				total.load.Serial = *serial
			}
		})
	}
	workers.Wait()
	if n := len(total.took); n > 0 {
		slices.Sort(total.took)
		total.load.Median, total.load.Slowest = total.took[n/2].Milliseconds(), total.took[n-1].Milliseconds()
	}
	result := Result{Outcome: OK, Load: &total.load}
	if total.load.Failures > 0 || total.load.Calls == 0 {
		result.Outcome = Failed
	}
	return result
}

func worker(ctx context.Context, connection *connection, until time.Time, total *tally) {
	var session *mcp.ClientSession
	for time.Now().Before(until) && ctx.Err() == nil {
		begun := time.Now()
		result := func() Result {
			ctx, cancel := context.WithTimeout(ctx, connection.settings.timeout)
			defer cancel()
			if session == nil {
				var err error
				if session, err = connection.open(ctx); err != nil {
					return connection.failure(err)
				}
			}
			result, err := call(ctx, connection.settings, session)
			if err != nil {
				return connection.failure(err)
			}
			return result
		}()
		total.add(time.Since(begun), result)
		if session != nil && (connection.settings.fresh || result.Outcome != OK) {
			connection.drop(session)
			session = nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(connection.settings.pause):
		}
	}
	if session != nil {
		connection.drop(session)
	}
}

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bartizan-dev/bartizan/test/mcpclient/result"
)

// maxExamples bounds the failures and the answers that are told in full.
const maxExamples = 10

type tally struct {
	mu    sync.Mutex
	begun time.Time
	load  result.Load
	took  []time.Duration
}

func (t *tally) add(took time.Duration, done result.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load.Calls++
	t.took = append(t.took, took)
	if done.Outcome == result.OK {
		if _, known := t.load.Answers[done.Text]; known || len(t.load.Answers) < maxExamples {
			t.load.Answers[done.Text]++
		}
		return
	}
	t.load.Failures++
	if len(t.load.Examples) < maxExamples {
		t.load.Examples = append(t.load.Examples, result.Example{After: time.Since(t.begun).Round(time.Millisecond).String(), Result: done})
	}
}

// load calls one tool again and again. Nothing is tried twice: a call that fails is counted.
func load(ctx context.Context, s settings) result.Result {
	total := tally{begun: time.Now(), load: result.Load{Answers: map[string]int{}}}
	until := total.begun.Add(s.duration)
	var workers sync.WaitGroup
	for range s.parallel {
		connection, err := newConnection(s)
		if err != nil {
			return result.Result{Outcome: result.Usage, Message: err.Error()}
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
	done := result.Result{Outcome: result.OK, Load: &total.load}
	if total.load.Failures > 0 || total.load.Calls == 0 {
		done.Outcome = result.Failed
	}
	return done
}

func worker(ctx context.Context, connection *connection, until time.Time, total *tally) {
	var session *mcp.ClientSession
	for time.Now().Before(until) && ctx.Err() == nil {
		begun := time.Now()
		done := func() result.Result {
			ctx, cancel := context.WithTimeout(ctx, connection.settings.timeout)
			defer cancel()
			if session == nil {
				var err error
				if session, err = connection.open(ctx); err != nil {
					return connection.failure(err)
				}
			}
			done, err := call(ctx, connection.settings, session)
			if err != nil {
				return connection.failure(err)
			}
			return done
		}()
		total.add(time.Since(begun), done)
		if session != nil && (connection.settings.fresh || done.Outcome != result.OK) {
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

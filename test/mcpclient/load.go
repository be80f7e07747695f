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

func newTally(begun time.Time) *tally {
	return &tally{begun: begun, load: result.Load{Answers: map[string]int{}, Succeeded: map[string]time.Time{}}}
}

// add counts a call that was made with a key; its id is empty without one.
func (t *tally) add(took time.Duration, key string, done result.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load.Calls++
	t.took = append(t.took, took)
	if key != "" && !slices.Contains(t.load.KeyIDs, key) {
		t.load.KeyIDs = append(t.load.KeyIDs, key)
	}
	if done.Outcome == result.OK {
		if key != "" {
			t.load.Succeeded[key] = time.Now()
		}
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

// met adds what a worker's connection has met.
func (t *tally) met(c *connection, opened int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load.Connections += opened
	if serial := c.serial.Load(); serial != nil {
		t.load.Serial = *serial
	}
}

// load calls one tool again and again. Nothing is tried twice: a call that fails is counted.
func load(ctx context.Context, s settings) result.Result {
	total := newTally(time.Now())
	until := total.begun.Add(s.duration)
	var workers sync.WaitGroup
	for range s.parallel {
		connection, err := newConnection(s)
		if err != nil {
			return result.Result{Outcome: result.Usage, Message: err.Error()}
		}
		workers.Go(func() { worker(ctx, connection, func(int) bool { return s.fresh }, until, total) })
	}
	workers.Wait()
	sum := total.sum()
	done := result.Result{Outcome: result.OK, Load: sum}
	if sum.Failures > 0 || sum.Calls == 0 {
		done.Outcome = result.Failed
	}
	return done
}

// worker makes one call after another until a time, or without an end where that is zero. enough says after how many calls it
// opens a new connection.
func worker(ctx context.Context, connection *connection, enough func(calls int) bool, until time.Time, total *tally) {
	var session *mcp.ClientSession
	var opened int64
	for calls := 1; ctx.Err() == nil && (until.IsZero() || time.Now().Before(until)); calls++ {
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
		if ctx.Err() != nil {
			break // told to end in the middle of a call
		}
		key := ""
		if id := connection.keyID.Load(); id != nil {
			key = *id
		}
		total.add(time.Since(begun), key, done)
		total.met(connection, connection.opened.Load()-opened)
		opened = connection.opened.Load()
		if session != nil && (enough(calls) || done.Outcome != result.OK) {
			connection.drop(session)
			session = nil
		}
		pause(ctx, connection.settings.pause)
	}
	if session != nil {
		connection.drop(session)
	}
}

// Command attack sends the hostile requests of test/corpus to the gate and to what people would put in its place, has servers give it the
// hostile answers, and writes the tables of what gets through:
//
//	go run ./test/attack [--out docs/attacks.md]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/bartizan-dev/bartizan/test/corpus"
	"github.com/bartizan-dev/bartizan/test/peers"
)

func main() {
	out := flag.String("out", "docs/attacks.md", "file for the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	requests, err := corpus.Requests()
	if err != nil {
		fatal(err)
	}
	answers, err := marked()
	if err != nil {
		fatal(err)
	}
	results, err := attack(ctx, requests, answers, []peers.Peer{peers.HAProxy, peers.Nginx, peers.KubeRBACProxy, peers.ToolHive})
	if err != nil {
		fatal(err)
	}
	if err := os.WriteFile(*out, page(requests, answers, results), 0o600); err != nil {
		fatal(err)
	}
	fmt.Println(*out)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "attack:", err)
	os.Exit(1)
}

// result is what became of the requests at one program: which of them reached the server. Answered are the answers of which
// something reached the caller.
type result struct {
	name              string
	reached, answered map[int]bool
}

// attack sends the requests to the gate and to the peers, has servers give them the answers, and returns what got through.
func attack(ctx context.Context, requests []corpus.Request, answers []corpus.Answer, others []peers.Peer) ([]result, error) {
	directory, err := os.MkdirTemp("", "attack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	w, err := newWorld(directory)
	if err != nil {
		return nil, err
	}
	results := make([]result, 1+len(others))
	failures := make([]error, len(results))
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			name := "gate"
			started := func(tokens bool) start {
				return func(ctx context.Context, upstream string) (*target, error) {
					if tokens {
						return w.gate(ctx, upstream, w.withTokens())
					}
					return w.gate(ctx, upstream, w.config)
				}
			}
			if i > 0 {
				name = string(others[i-1])
				started = func(tokens bool) start {
					return func(ctx context.Context, upstream string) (*target, error) {
						return w.peer(ctx, others[i-1], upstream, tokens)
					}
				}
			}
			results[i] = result{name, map[int]bool{}, map[int]bool{}}
			for _, tokens := range []bool{false, true} {
				if tokens && slices.Contains(without[name], "token") {
					continue
				}
				sent := func(r *corpus.Request) bool { return (r.Token != nil) == tokens }
				if err := w.attack(ctx, started(tokens), requests, sent, results[i].reached); err != nil {
					failures[i] = fmt.Errorf("%s: %w", name, err)
					return
				}
			}
			if err := w.listen(ctx, started(false), answers, results[i].answered); err != nil {
				failures[i] = fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	all.Wait()
	return results, errors.Join(failures...)
}

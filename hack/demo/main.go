// Command demo shows Bartizan at work, on processes of this machine or on a real cluster: see usage.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const usage = `demo shows Bartizan at work. It prints what was tried and what happened, and fails when anything did not end as it must.

  demo run        everything, on a real cluster that it compiles and brings up on this machine, and leaves there (make demo)
  demo local      the gate alone before a real MCP server, as processes of this machine, without root (make demo-local)
  demo up         only the cluster, with the operator of this checkout in it: for single end-to-end tests
  demo dev        up, and then the operator is built and installed again at each change of the checkout (make dev)
  demo down       take the cluster down, without a trace (make down)
  demo up-flux    another cluster beside it, with Flux, which is to install the operator itself: for make gitops
  demo down-flux  take that one down

With BARTIZAN_CONTEXT, a context of your kubeconfig, and BARTIZAN_REGISTRY, which its nodes pull from, run and up use a cluster of yours.
What is compiled stays in $XDG_CACHE_HOME/bartizan. More: docs/demo.md
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "\n✘ %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("which command?\n\n%s", usage)
	}
	if slices.Contains([]string{"help", "-h", "--help"}, arguments[0]) {
		fmt.Print(usage)
		return nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "bartizan")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	s := newScreen(os.Stdout)
	if arguments[0] == "local" {
		if err := local(ctx, s, cache); err != nil {
			return err
		}
		return s.summary()
	}
	c, err := newCluster(cache)
	if err != nil {
		return err
	}
	command, flux := strings.CutSuffix(arguments[0], "-flux")
	if flux {
		if command != "up" && command != "down" {
			return fmt.Errorf("unknown command %q: only up and down are for Flux, too", arguments[0])
		}
		if err := c.forFlux(); err != nil {
			return err
		}
	}
	switch command {
	case "run":
		err = full(ctx, s, c)
	case "up":
		err = upAlone(ctx, s, c)
	case "dev":
		return dev(ctx, s, c)
	case "down":
		return down(ctx, s, c)
	default:
		return fmt.Errorf("unknown command %q\n\n%s", arguments[0], usage)
	}
	if err != nil {
		return err
	}
	return s.summary()
}

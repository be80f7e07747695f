// Command demo shows Bartizan at work: "demo local" the gate alone, as processes of this machine; "demo run" everything, on a
// real cluster; "demo up" only brings that cluster up, with the operator in it, and "demo down" takes it down. It prints what was tried and what
// happened, and fails when anything did not end as it must. "demo dev" is up, and then renews the operator at each change of the checkout. "demo up-flux" and "demo down-flux" are for another cluster beside it, with Flux and
// without the operator, which Flux is to install.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

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
		return fmt.Errorf("usage: demo local|run|up|dev|down|up-flux|down-flux")
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
		return fmt.Errorf("unknown command %q: local, run, up, dev, down, up-flux or down-flux", arguments[0])
	}
	if err != nil {
		return err
	}
	return s.summary()
}

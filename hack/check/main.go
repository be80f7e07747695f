// Command check runs the project's checks and tests, shows a person what goes on, and ends with the number of tests that
// passed and failed:
//
//	check verify [NAME...]   everything that needs no test: generated files, formats, lint, licences, …
//	check unit               the tests that need nothing but Go
//	check conformance        the MCP conformance suite, without and behind the gate; it needs npm
//	check integration        the tests that need a real API server
//	check e2e                the demo and the tests that need a real cluster
//	check fuzz [TIME]        each fuzz target for a while (default 10s)
//	check all                verify, unit, conformance, integration and e2e
//
// A test's kind is in its name: TestConformance…, TestIntegration…, TestE2E…, and any other is a unit test.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

// result is what came out of one kind of tests.
type result struct {
	kind           string
	passed, failed int
	took           time.Duration
	// failures name what failed.
	failures []string
}

var kinds = map[string]func(ctx context.Context, arguments []string) result{
	"verify":      verify,
	"unit":        unit,
	"integration": integration,
	"e2e":         e2e,
	"conformance": conformance,
	"fuzz":        fuzz,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	arguments := os.Args[1:]
	if len(arguments) == 0 {
		fatal(errors.New("usage: check verify|unit|conformance|integration|e2e|fuzz|all"))
	}
	run := arguments[:1]
	if arguments[0] == "all" {
		run = []string{"verify", "unit", "conformance", "integration", "e2e"}
	}
	var results []result
	for _, kind := range run {
		do, ok := kinds[kind]
		if !ok {
			fatal(fmt.Errorf("unknown kind %q: verify, unit, conformance, integration, e2e, fuzz or all", kind))
		}
		fmt.Printf("\n=== %s\n", kind)
		started := time.Now()
		r := do(ctx, arguments[1:])
		r.kind, r.took = kind, time.Since(started).Round(time.Second)
		results = append(results, r)
		if ctx.Err() != nil {
			fatal(errors.New("interrupted"))
		}
	}
	if report(os.Stdout, results) {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "check:", err)
	os.Exit(2)
}

// report prints the results, the sum on the last line, and says whether anything failed.
func report(out io.Writer, results []result) (failed bool) {
	fmt.Fprintln(out)
	sum := result{kind: "all"}
	for _, r := range results {
		for _, failure := range r.failures {
			fmt.Fprintf(out, "FAILED %s: %s\n", r.kind, failure)
		}
		sum.passed += r.passed
		sum.failed += r.failed
		sum.took += r.took
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "tests\tpassed\tfailed\ttook\t")
	for _, r := range append(results, sum) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t\n", r.kind, r.passed, r.failed, r.took)
	}
	_ = table.Flush()
	fmt.Fprintf(out, "\n%d passed, %d failed\n", sum.passed, sum.failed)
	return sum.failed > 0 || sum.passed == 0
}

// Command check runs the project's checks and tests, shows a person what goes on, and ends with the number of tests that
// passed and failed: see usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

const usage = `check runs the project's checks and tests, shows what goes on, and ends with the number of tests that passed and failed.

  check verify [NAME...]   everything that needs no test: generated files, formats, lint, licences, …
  check unit               the tests that need nothing but Go
  check conformance        the MCP conformance suite, without and behind the gate; it needs npm
  check integration        the tests that need a real API server, or the programs that the gate is compared with
  check e2e                the demo and the tests that need a real cluster
  check gitops             the operator and servers installed, changed, broken, healed and pruned by Flux's real controllers
  check samples            the samples of real servers, on the demo's cluster
  check elsewhere          the demo, as on a cluster of somebody's own: by a kubeconfig and a registry
  check fuzz [TIME]        each fuzz target for a while (default 10s)
  check all                verify, unit, conformance and integration, and e2e beside them

A test's kind is in its name: TestConformance…, TestIntegration…, TestE2E…, TestGitOps…, TestSamples…, TestElsewhere…, and any other is a unit test.
KEEP_CLUSTER=1 leaves the cluster of e2e, gitops and elsewhere there. The make targets of the same names call this.
`

// result is what came out of one kind of tests.
type result struct {
	kind           string
	passed, failed int
	took           time.Duration
	// failures name what failed.
	failures []string
	// unsteady name what failed, and passed when it ran again by itself.
	unsteady []string
}

var kinds = map[string]func(ctx context.Context, arguments []string) result{
	"verify":      verify,
	"unit":        unit,
	"integration": integration,
	"e2e":         e2e,
	"conformance": conformance,
	"gitops":      gitops,
	"samples":     samples,
	"elsewhere":   elsewhere,
	"fuzz":        fuzz,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	arguments := os.Args[1:]
	if len(arguments) == 0 {
		fatal(fmt.Errorf("what?\n\n%s", usage))
	}
	if slices.Contains([]string{"help", "-h", "--help"}, arguments[0]) {
		fmt.Print(usage)
		return
	}
	run := arguments[:1]
	if arguments[0] == "all" {
		run = []string{"verify", "unit", "conformance", "integration", "e2e"}
	}
	for _, kind := range run {
		if kinds[kind] == nil {
			fatal(fmt.Errorf("unknown kind %q\n\n%s", kind, usage))
		}
	}
	started := time.Now()
	results := inLanes(ctx, run, arguments[1:])
	if ctx.Err() != nil {
		fatal(errors.New("interrupted"))
	}
	if report(os.Stdout, results, time.Since(started).Round(time.Second)) {
		os.Exit(1)
	}
}

// inLanes runs the kinds one after the other, but the end-to-end tests, which mostly wait for their cluster, beside the others. These run
// with a low priority, so that they take only the time that is left.
func inLanes(ctx context.Context, kinds, arguments []string) []result {
	results := make([]result, len(kinds))
	var lanes sync.WaitGroup
	if i := slices.Index(kinds, "e2e"); i >= 0 && len(kinds) > 1 {
		lanes.Go(func() { results[i] = one(ctx, kinds[i], arguments) })
		lanes.Go(func() {
			// Processes inherit the priority of the thread that starts them; the thread ends with the goroutine.
			runtime.LockOSThread()
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10)
			for j, kind := range kinds {
				if j != i && ctx.Err() == nil {
					results[j] = one(ctx, kind, arguments)
				}
			}
		})
		lanes.Wait()
		return results
	}
	for i, kind := range kinds {
		results[i] = one(ctx, kind, arguments)
	}
	return results
}

// one runs one kind of tests.
func one(ctx context.Context, kind string, arguments []string) result {
	fmt.Printf("\n=== %s\n", kind)
	started := time.Now()
	r := kinds[kind](ctx, arguments)
	r.kind, r.took = kind, time.Since(started).Round(time.Second)
	fmt.Printf("\n=== %s: %d passed, %d failed, after %s\n", kind, r.passed, r.failed, r.took)
	return r
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "check:", err)
	os.Exit(2)
}

// report prints the results, the sum on the last line, and says whether anything failed.
func report(out io.Writer, results []result, took time.Duration) (failed bool) {
	fmt.Fprintln(out)
	sum := result{kind: "all", took: took}
	for _, r := range results {
		for _, name := range r.unsteady {
			fmt.Fprintf(out, "UNSTEADY %s: %s failed, and passed when it ran again by itself; what it said is above. Mend it.\n", r.kind, name)
		}
		for _, failure := range r.failures {
			fmt.Fprintf(out, "FAILED %s: %s\n", r.kind, failure)
		}
		sum.passed += r.passed
		sum.failed += r.failed
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

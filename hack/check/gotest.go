package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// How the names of tests say their kind.
const (
	integrationTests = "^TestIntegration"
	e2eTests         = "^TestE2E"
	conformanceTests = "^TestConformance"
	otherTests       = "^(TestIntegration|TestE2E|TestConformance)"
)

// modules are the folders of the Go modules with tests, beside the root.
var modules = []string{"hack/testbed", "hack/images"}

// compileTools brings the tools of the tests into the cache, where they take none of the tests' time.
func compileTools(ctx context.Context) error {
	for _, tool := range toolchain.All {
		if _, err := tool.Path(ctx); err != nil {
			return err
		}
	}
	return nil
}

func unit(ctx context.Context, _ []string) result {
	if err := compileTools(ctx); err != nil {
		return result{failed: 1, failures: []string{err.Error()}}
	}
	// The race detector needs a C compiler. Without one the tests run all the same.
	race := []string{"-race"}
	if _, err := exec.LookPath("gcc"); err != nil {
		fmt.Println("no gcc: without the race detector (apt-get install gcc libc6-dev)")
		race = nil
	}
	r := goTest(ctx, ".", append(race, "-skip", otherTests, "-timeout", "15m", "./...")...)
	for _, module := range modules {
		r.add(goTest(ctx, module, "-skip", otherTests, "-timeout", "15m", "./..."))
	}
	return r
}

func conformance(ctx context.Context, _ []string) result {
	return goTest(ctx, ".", "-run", conformanceTests, "-timeout", "10m", "./test/conformance")
}

func integration(ctx context.Context, _ []string) result {
	packages, err := packagesWith(ctx, "func TestIntegration")
	if err == nil {
		err = compileTools(ctx)
	}
	if err != nil {
		return result{failed: 1, failures: []string{err.Error()}}
	}
	// Each package has an API server of its own: two at a time are enough for two cores.
	return goTest(ctx, ".", append([]string{"-p", "2", "-run", integrationTests, "-timeout", "20m"}, packages...)...)
}

func e2e(ctx context.Context, _ []string) result {
	r := result{}
	// What is shown to a newcomer is a test, too, and leaves the cluster that the other tests run on.
	r.command(ctx, "the demo", exec.CommandContext(ctx, "go", "run", "./hack/demo", "run"))
	if r.failed == 0 {
		r.add(goTest(ctx, ".", "-run", e2eTests, "-p", "1", "-parallel", "4", "-timeout", "75m", "./test/..."))
	}
	if os.Getenv("KEEP_CLUSTER") == "" {
		r.command(ctx, "the cluster goes away", exec.CommandContext(ctx, "go", "run", "./hack/demo", "down"))
	}
	if os.Getenv("BARTIZAN_CONTEXT") == "" {
		r.add(testbed(ctx))
	}
	return r
}

// testbed is the self test of the cluster that the other tests run on, in a folder of its own: what it promises, also when its parts are
// killed, and that nothing is left of it.
func testbed(ctx context.Context) (r result) {
	dir, err := os.MkdirTemp("", "testbed-")
	if err != nil {
		return result{failed: 1, failures: []string{err.Error()}}
	}
	defer os.RemoveAll(dir)
	r.command(ctx, "the testbed's self test", exec.CommandContext(ctx, "go", "-C", "hack/testbed", "run", ".", "selftest", "--dir", dir))
	return r
}

// command runs a command as one test.
func (r *result) command(ctx context.Context, name string, c *exec.Cmd) {
	fmt.Printf("--- %s\n", name)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		r.failed++
		r.failures = append(r.failures, fmt.Sprintf("%s: %v", name, err))
		return
	}
	r.passed++
}

func (r *result) add(other result) {
	r.passed += other.passed
	r.failed += other.failed
	r.failures = append(r.failures, other.failures...)
}

// packagesWith returns the packages of the root module whose tests contain a text.
func packagesWith(ctx context.Context, text string) ([]string, error) {
	listed, err := output(ctx, ".", "git", "grep", "--untracked", "-l", "-F", text, "--", "*_test.go")
	if err != nil {
		return nil, fmt.Errorf("find the tests: %w", err)
	}
	var packages []string
	for _, file := range strings.Fields(listed) {
		packages = append(packages, "./"+file[:strings.LastIndex(file, "/")])
	}
	slices.Sort(packages)
	return slices.Compact(packages), nil
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
	FailedBuild                   string
	ImportPath                    string
}

// goTest runs go test in a module and counts the tests that have no tests below them. A package that does not build, or whose
// process dies, counts as one failed test.
func goTest(ctx context.Context, dir string, arguments ...string) result {
	c := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, arguments...)...)
	c.Dir = dir
	c.Stderr = os.Stderr
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return result{failed: 1, failures: []string{err.Error()}}
	}
	t := newTally()
	t.read(pipe)
	err = c.Wait()
	r := t.result()
	if err != nil && r.failed == 0 {
		r.failed, r.failures = 1, []string{fmt.Sprintf("%s: %v", c, err)}
	}
	return r
}

type tally struct {
	// outputs are what tests printed, by package and test; it is shown when they fail.
	outputs map[string]*strings.Builder
	// parents are the tests that have tests below them.
	parents  map[string]bool
	outcomes map[string]string
	counts   map[string]int
	running  string
}

func newTally() *tally {
	return &tally{outputs: map[string]*strings.Builder{}, parents: map[string]bool{}, outcomes: map[string]string{}, counts: map[string]int{}, running: "compiling"}
}

func (t *tally) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 16<<20)
	last := time.Now()
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text())
			continue
		}
		t.take(e)
		if e.Test != "" {
			t.running = e.Package + " " + e.Test
		}
		if time.Since(last) > 30*time.Second {
			last = time.Now()
			fmt.Printf("    … %s\n", t.running)
		}
	}
}

func (t *tally) take(e event) {
	if e.Package == "" {
		e.Package = e.ImportPath
	}
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "output", "build-output":
		if t.outputs[key] == nil {
			t.outputs[key] = &strings.Builder{}
		}
		t.outputs[key].WriteString(e.Output)
	case "run":
		if parent, _, found := cutLast(e.Test, "/"); found {
			t.parents[e.Package+"\x00"+parent] = true
		}
	case "pass", "fail", "skip":
		t.outcomes[key] = e.Action
		if e.Test == "" {
			t.finished(e)
			return
		}
		t.counts[e.Package]++
		if e.Action != "pass" {
			fmt.Print(t.outputs[key])
		}
	case "build-fail":
		fmt.Print(t.outputs[key])
	}
}

// finished shows that a package is done.
func (t *tally) finished(e event) {
	key := e.Package + "\x00"
	if e.Action == "fail" {
		if text := t.outputs[key]; text != nil {
			fmt.Print(text)
		}
		fmt.Printf("FAIL  %s  %.1fs\n", e.Package, e.Elapsed)
		return
	}
	if n := t.counts[e.Package]; n > 0 {
		fmt.Printf("ok    %s  %d tests  %.1fs\n", e.Package, n, e.Elapsed)
	}
}

func (t *tally) result() result {
	var r result
	failedIn := map[string]bool{}
	for key, outcome := range t.outcomes {
		name, test, _ := strings.Cut(key, "\x00")
		if test == "" || t.parents[key] && (outcome == "pass" || t.failedBelow(key)) {
			continue
		}
		if outcome == "pass" {
			r.passed++
			continue
		}
		// A skipped test has shown nothing.
		failedIn[name] = true
		r.failed++
		r.failures = append(r.failures, name+" "+test+" ("+outcome+")")
	}
	for key, outcome := range t.outcomes {
		name, test, _ := strings.Cut(key, "\x00")
		if test == "" && outcome == "fail" && !failedIn[name] {
			r.failed++
			r.failures = append(r.failures, name+" (did not build, or died)")
		}
	}
	slices.Sort(r.failures)
	return r
}

func (t *tally) failedBelow(key string) bool {
	for other, outcome := range t.outcomes {
		if outcome == "fail" && strings.HasPrefix(other, key+"/") {
			return true
		}
	}
	return false
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// output returns what a command printed.
func output(ctx context.Context, dir, name string, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, name, arguments...)
	c.Dir = dir
	printed, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", c, err, printed)
	}
	return strings.TrimSpace(string(printed)), nil
}

func fuzz(ctx context.Context, arguments []string) result {
	duration := "10s"
	if len(arguments) > 0 {
		duration = arguments[0]
	}
	packages, err := packagesWith(ctx, "func Fuzz")
	if err != nil {
		return result{failed: 1, failures: []string{err.Error()}}
	}
	var r result
	target := regexp.MustCompile(`(?m)^Fuzz\w+$`)
	for _, name := range packages {
		listed, err := output(ctx, ".", "go", "test", "-list", "^Fuzz", name)
		if err != nil {
			r.failed++
			r.failures = append(r.failures, err.Error())
			continue
		}
		for _, f := range target.FindAllString(listed, -1) {
			r.command(ctx, name+" "+f, exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+f+"$", "-fuzztime", duration, name))
		}
	}
	return r
}

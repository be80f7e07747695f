package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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
	sampleTests      = "^TestSamples"
	gitOpsTests      = "^TestGitOps"
	elsewhereTests   = "^TestElsewhere"
	otherTests       = "^(TestIntegration|TestE2E|TestConformance|TestSamples|TestGitOps|TestElsewhere)"
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

// compileControlPlane compiles what the tests' API servers run, where it takes none of the tests' time, and says how far it is.
func compileControlPlane(ctx context.Context) error {
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		return nil
	}
	build := exec.CommandContext(ctx, "go", "-C", "hack/testbed", "run", ".", "build", "--only", "control-plane")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("compile the control plane: %s: %w", build, err)
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
	r := goTest(ctx, tests{dir: ".", flags: race, selection: []string{"-skip", otherTests}, limit: 30 * time.Minute, packages: []string{"./..."}})
	for _, module := range modules {
		r.add(goTest(ctx, tests{dir: module, selection: []string{"-skip", otherTests}, limit: 30 * time.Minute, packages: []string{"./..."}}))
	}
	return r
}

func conformance(ctx context.Context, _ []string) result {
	return goTest(ctx, tests{dir: ".", selection: []string{"-run", conformanceTests}, limit: 20 * time.Minute, packages: []string{"./test/conformance"}})
}

func integration(ctx context.Context, _ []string) result {
	packages, err := packagesWith(ctx, "func TestIntegration")
	if err == nil {
		err = compileTools(ctx)
	}
	if err == nil {
		err = compileControlPlane(ctx)
	}
	if err != nil {
		return result{failed: 1, failures: []string{err.Error()}}
	}
	// Each package has an API server of its own: two at a time are enough for two cores.
	return goTest(ctx, tests{dir: ".", selection: []string{"-p", "2", "-run", integrationTests}, limit: 40 * time.Minute, packages: packages})
}

func e2e(ctx context.Context, _ []string) result {
	r := result{}
	// What is shown to a newcomer is a test, too, and leaves the cluster that the other tests run on.
	r.command(ctx, "the demo", exec.CommandContext(ctx, "go", "run", "./hack/demo", "run"))
	if r.failed == 0 {
		r.add(goTest(ctx, tests{dir: ".", selection: []string{"-p", "1", "-parallel", "4", "-run", e2eTests}, limit: 75 * time.Minute, packages: []string{"./test/..."}}))
	}
	if os.Getenv("KEEP_CLUSTER") == "" {
		r.command(ctx, "the cluster goes away", exec.CommandContext(ctx, "go", "run", "./hack/demo", "down"))
	}
	if os.Getenv("BARTIZAN_CONTEXT") == "" {
		r.add(testbed(ctx))
	}
	return r
}

// gitops is the story of docs/gitops.md, on a cluster of its own with Flux in it.
func gitops(ctx context.Context, _ []string) result {
	return onCluster(ctx, "up-flux", "down-flux", gitOpsTests, "./test/gitops")
}

// samples runs the samples of real servers on the demo's cluster, and leaves it there.
func samples(ctx context.Context, _ []string) result {
	return onCluster(ctx, "up", "", sampleTests, "./test/samples")
}

// elsewhere is what docs/demo.md says of a cluster of the reader's own, on the testbed, which it leaves without the operator.
func elsewhere(ctx context.Context, _ []string) result {
	return onCluster(ctx, "up", "down", elsewhereTests, "./test/docs")
}

// onCluster runs tests on a cluster that one command of the demo brings up and another, if any, takes down. Each step of these tests needs the one before,
// so that nothing is tried again, and a person sees what happens.
func onCluster(ctx context.Context, up, down, selection, packages string) (r result) {
	demo := func(command string) *exec.Cmd { return exec.CommandContext(ctx, "go", "run", "./hack/demo", command) }
	r.command(ctx, "a cluster", demo(up))
	if r.failed == 0 {
		r.command(ctx, packages, exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", selection, "-timeout", "75m", packages))
	}
	if down != "" && os.Getenv("KEEP_CLUSTER") == "" {
		r.command(ctx, "the cluster goes away", demo(down))
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
	r.unsteady = append(r.unsteady, other.unsteady...)
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

// tests are what one call of go test runs.
type tests struct {
	// dir is the module's folder.
	dir string
	// flags are for the build, and selection is which tests run and how many at once.
	flags, selection []string
	limit            time.Duration
	packages         []string
}

// mostAgain is how many failed tests run again: with more of them, something is broken.
const mostAgain = 3

// goTest runs go test in a module and counts the tests that have no tests below them. A package that does not build, or whose
// process dies, counts as one failed test. A few failed tests run once more, by themselves: those that pass then count as passed,
// and are named in the report.
func goTest(ctx context.Context, of tests) result {
	t, err := goTestOnce(ctx, of)
	r := t.result()
	if err != nil && r.failed == 0 {
		r.failed, r.failures = 1, []string{err.Error()}
	}
	failed := t.failedTests()
	if len(failed) == 0 || len(failed) > mostAgain || t.died() || ctx.Err() != nil {
		return r
	}
	for _, test := range failed {
		fmt.Printf("--- once more, by itself: %s %s\n", test.pack, test.name)
		again := of
		again.selection, again.packages = []string{"-count=1", "-run", "^" + test.name + "$"}, []string{test.pack}
		if second, err := goTestOnce(ctx, again); err == nil {
			t.replace(test, second)
		}
	}
	steady := t.result()
	for _, failure := range r.failures {
		if !slices.Contains(steady.failures, failure) {
			steady.unsteady = append(steady.unsteady, failure)
		}
	}
	return steady
}

// goTestOnce runs go test. What it returns is never nil, also beside an error.
func goTestOnce(ctx context.Context, of tests) (*tally, error) {
	t := newTally()
	c := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-json", "-timeout", of.limit.String()}, of.flags, of.selection, of.packages)...)
	c.Dir = of.dir
	c.Stderr = os.Stderr
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return t, err
	}
	t.read(pipe)
	if err := c.Wait(); err != nil {
		return t, fmt.Errorf("%s: %w", c, err)
	}
	return t, nil
}

// test is one test of a package that has no test above it.
type test struct{ pack, name string }

// failedTests are the tests that failed, without those below them.
func (t *tally) failedTests() (failed []test) {
	for key, outcome := range t.outcomes {
		pack, name, _ := strings.Cut(key, "\x00")
		if outcome == "fail" && name != "" && !strings.Contains(name, "/") {
			failed = append(failed, test{pack, name})
		}
	}
	slices.SortFunc(failed, func(a, b test) int { return strings.Compare(a.pack+a.name, b.pack+b.name) })
	return failed
}

// died says whether a package failed of which no test says why: it did not build, or its process died.
func (t *tally) died() bool {
	failed := t.failedTests()
	for key, outcome := range t.outcomes {
		pack, name, _ := strings.Cut(key, "\x00")
		if name == "" && outcome == "fail" && !slices.ContainsFunc(failed, func(f test) bool { return f.pack == pack }) {
			return true
		}
	}
	return false
}

// replace takes the outcome of one test, and of those below it, from another run.
func (t *tally) replace(of test, from *tally) {
	in := func(key string) bool {
		pack, name, _ := strings.Cut(key, "\x00")
		return pack == of.pack && (name == of.name || strings.HasPrefix(name, of.name+"/"))
	}
	maps.DeleteFunc(t.outcomes, func(key, _ string) bool { return in(key) })
	for key, outcome := range from.outcomes {
		if in(key) {
			t.outcomes[key] = outcome
		}
	}
	if !slices.ContainsFunc(t.failedTests(), func(f test) bool { return f.pack == of.pack }) {
		delete(t.outcomes, of.pack+"\x00")
	}
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

// Command bench measures the gate side by side with what people would take in its place, in one run, and writes docs/benchmarks.md and
// docs/benchmarks.json. Its main figure is the CPU time of the measured process for a request, user and system: it is less at the mercy of a
// machine than rates and latencies.
//
//	bench [--quick] [--rows P1,P3] [--without PEER,…] [--out FOLDER]
//
// It listens and dials on loopback only, keeps its files in a temporary folder, and stops what it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bartizan-dev/bartizan/test/peers"
)

// asUpstream makes the program the server behind what is measured; asLoad says that it is pinned to the core of the load.
const (
	asUpstream = "BARTIZAN_BENCH_UPSTREAM"
	asLoad     = "BARTIZAN_BENCH_LOAD"
)

// gateName is the gate among the targets.
const gateName = "gate"

// bench is one run.
type bench struct {
	quick   bool
	rounds  int
	without []string
	w       *world
	rows    []row
	out     io.Writer
	begun   time.Time
	load    string
	// pinned says that the measured process has a core of its own.
	pinned bool
}

// groups are the measurements, in their order; each adds rows.
var groups = []struct {
	id string
	do func(b *bench, ctx context.Context) error
}{
	{"P1", (*bench).calls}, {"P3", (*bench).latency}, {"P4", (*bench).tokens}, {"P5", (*bench).keys}, {"P6", (*bench).bodies}, {"P7", (*bench).lists},
	{"P8", (*bench).streams}, {"P9", (*bench).memory}, {"P10", (*bench).handshakes}, {"P11", (*bench).refusals}, {"A1", (*bench).audit},
}

func main() {
	if os.Getenv(asUpstream) != "" {
		fatal(serveUpstream(os.Args[2], os.Args[3]))
	}
	quick := flag.Bool("quick", false, "measure little: shows that everything can be measured, not how fast it is")
	rows := flag.String("rows", "", "only these, such as P1,P3; P2 belongs to P1")
	without := flag.String("without", "", "leave these peers out, such as kube-rbac-proxy,toolhive, which take minutes to compile")
	out := flag.String("out", "", "folder for benchmarks.md and benchmarks.json (default docs; with --quick or --rows none)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	comma := func(r rune) bool { return r == ',' }
	b := &bench{quick: *quick, out: os.Stdout, without: strings.FieldsFunc(*without, comma)}
	if *out == "" && !*quick && *rows == "" {
		*out = "docs"
	}
	if err := b.pin(); err != nil {
		fatal(err)
	}
	if err := b.run(ctx, strings.FieldsFunc(*rows, comma)); err != nil {
		fatal(err)
	}
	if err := b.report(*out); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// pin gives what is measured a core of its own: the load and the server behind share another.
func (b *bench) pin() error {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return nil //nolint:nilerr // Without it the figures are only noisier.
	}
	if os.Getenv(asLoad) == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return syscall.Exec(taskset, append([]string{taskset, "-c", "0", self}, os.Args[1:]...), append(os.Environ(), asLoad+"=1"))
	}
	b.pinned = true
	return nil
}

// run measures the groups that are named, or all.
func (b *bench) run(ctx context.Context, only []string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			text, ok := v.(failure)
			if !ok {
				panic(v)
			}
			err = errors.New(string(text))
		}
	}()
	b.begun, b.load, b.rounds = time.Now(), loadAverage(), 7
	if b.quick {
		b.rounds = 2
	}
	directory, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	var prefix []string
	if b.pinned {
		prefix = []string{"taskset", "-c", "1"}
	}
	b.w = newWorld(directory, prefix)
	for _, group := range groups {
		if len(only) > 0 && !slices.Contains(only, group.id) {
			continue
		}
		if err := group.do(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", group.id, err)
		}
	}
	return ctx.Err()
}

// progress shows what goes on.
func (b *bench) progress(format string, arguments ...any) {
	fmt.Fprintf(b.out, "[%4.0fs, load %s] %s\n", time.Since(b.begun).Seconds(), loadAverage(), fmt.Sprintf(format, arguments...))
}

// some is how much of a whole measurement is made.
func (b *bench) some(whole, quick int) int {
	if b.quick {
		return quick
	}
	return whole
}

// with says whether a peer takes part.
func (b *bench) with(peer peers.Peer) bool { return !slices.Contains(b.without, string(peer)) }

// field are an upstream, the gate and peers before it.
type field struct {
	upstream *target
	targets  []*target
}

// prepare starts an upstream, the gate and the peers. What was started is stopped by the field's stop, also after an error.
func (b *bench) prepare(ctx context.Context, kind string, change func(*setups), list ...peers.Peer) (*field, error) {
	f := &field{}
	var err error
	if f.upstream, err = b.w.startUpstream(ctx, kind); err != nil {
		return f, err
	}
	s := &setups{gate: b.w.config(), peer: b.w.setup(f.upstream.address)}
	if change != nil {
		change(s)
	}
	t, err := b.w.startGate(ctx, f.upstream.address, s.config)
	if t != nil {
		f.targets = append(f.targets, t)
	}
	if err != nil {
		return f, err
	}
	for _, peer := range list {
		if !b.with(peer) {
			continue
		}
		t, err := b.w.startPeer(ctx, peer, s.peer)
		if err != nil {
			return f, err
		}
		f.targets = append(f.targets, t)
	}
	return f, nil
}

// asks sets the requests of all targets.
func (f *field) asks(requests ...[]byte) {
	for _, t := range append(f.targets, f.upstream) {
		t.requests = requests
	}
}

func (f *field) stop() {
	for _, t := range f.targets {
		_ = t.stop()
	}
	if f.upstream != nil {
		_ = f.upstream.stop()
	}
}

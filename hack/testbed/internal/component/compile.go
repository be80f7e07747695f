package component

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A Built component is ready to run.
type Built struct {
	// Binary is the executable, CRDs the folder of its CustomResourceDefinitions, or "".
	Binary, CRDs string
}

// flags of go build. Debug information is left out, which nobody would look at. Without optimisation it would compile in a fifth less time, once, and
// then run at half the speed, every time: measured.
func (b *Builder) flags(c Component) []string {
	return []string{
		"-trimpath", "-buildvcs=false", "-mod=readonly", "-gcflags=all=-dwarf=false", strings.TrimSpace("-ldflags=-s -w " + c.LDFlags),
	}
}

// Build compiles what is not in the cache, and returns the components by name. Only one process does this at a time: it takes all cores.
func (b *Builder) Build(ctx context.Context, components ...Component) (map[string]Built, error) {
	built := map[string]Built{}
	var missing []Component
	for _, c := range components {
		if found, ok, err := b.cached(c); err != nil {
			return nil, err
		} else if ok {
			built[c.Name] = found
		} else {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return built, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("the program go is missing, which compiles %s: install Go 1.26 or later (https://go.dev/dl) and put it on the PATH", names(missing))
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()

	// Downloads of the later components run beside the compiling of the first.
	downloads, stop := context.WithCancel(ctx)
	defer stop()
	go b.prefetch(downloads, missing)

	begin := time.Now()
	for i, c := range missing {
		left := time.Duration(0)
		for _, later := range missing[i+1:] {
			left += later.Usually
		}
		if found, ok, err := b.cached(c); err != nil { // by another process, while this one waited
			return nil, err
		} else if ok {
			built[c.Name] = found
			continue
		}
		if built[c.Name], err = b.compile(ctx, c, begin, left); err != nil {
			return nil, err
		}
	}
	return built, nil
}

func names(components []Component) string {
	list := make([]string, len(components))
	for i, c := range components {
		list[i] = c.Name
	}
	return strings.Join(list, ", ")
}

func (b *Builder) cached(c Component) (Built, bool, error) {
	folder, err := b.Folder(c)
	if err != nil {
		return Built{}, false, err
	}
	built := Built{Binary: filepath.Join(folder, c.Name)}
	if c.CRDModule != "" {
		built.CRDs = filepath.Join(folder, "crds")
	}
	if _, err = os.Stat(built.Binary); err != nil {
		return built, false, nil
	}
	now := time.Now()
	_ = os.Chtimes(folder, now, now) // for prune
	return built, true, nil
}

// unused is for how long a binary is kept that nobody asks for.
const unused = 14 * 24 * time.Hour

// prune removes the binaries of earlier versions of a component.
func (b *Builder) prune(c Component) {
	folders, _ := filepath.Glob(filepath.Join(b.Cache, "bin", c.Name+"-*"))
	for _, folder := range folders {
		if info, err := os.Stat(folder); err == nil && time.Since(info.ModTime()) > unused {
			_ = os.RemoveAll(folder)
		}
	}
}

// lock waits until no other process compiles.
func (b *Builder) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(b.Cache, "build.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for said := false; ; said = true {
		if err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { file.Close() }, nil
		}
		if !said {
			b.Say("another process compiles the testbed's components just now; waiting for it")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (b *Builder) prefetch(ctx context.Context, components []Component) {
	for _, c := range components {
		// An error shows again when the component is compiled.
		if c.Patch != nil {
			_, _ = b.download(ctx, c.Patch)
		} else {
			_ = b.goCommand(ctx, b.source(c), io.Discard, "mod", "download").Run()
		}
	}
}

// compile builds into a temporary folder, which becomes the cached one in a single step.
func (b *Builder) compile(ctx context.Context, c Component, begin time.Time, left time.Duration) (Built, error) {
	folder, err := b.Folder(c)
	if err != nil {
		return Built{}, err
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return Built{}, err
	}
	draft, err := os.MkdirTemp(filepath.Dir(folder), "."+c.Name+"-")
	if err != nil {
		return Built{}, err
	}
	defer os.RemoveAll(draft)

	started := time.Now()
	b.Say("%s: compiling; from nothing this takes about %s on two cores, and is kept for the next time", c.Name, round(c.Usually))
	source, err := b.assemble(ctx, c)
	if err != nil {
		return Built{}, err
	}
	if err := b.goBuild(ctx, c, source, filepath.Join(draft, c.Name), started, left); err != nil {
		return Built{}, err
	}
	if c.CRDModule != "" {
		if err := b.copyCRDs(ctx, c, source, filepath.Join(draft, "crds")); err != nil {
			return Built{}, err
		}
	}
	if err := os.Chmod(draft, 0o755); err != nil {
		return Built{}, err
	}
	if err := os.Rename(draft, folder); err != nil {
		return Built{}, err
	}
	b.prune(c)
	b.Say("%s: compiled in %s (%s since the start)", c.Name, round(time.Since(started)), round(time.Since(begin)))
	built, _, err := b.cached(c)
	return built, err
}

func (b *Builder) goBuild(ctx context.Context, c Component, source, binary string, started time.Time, left time.Duration) error {
	var compiled atomic.Int64
	var output bytes.Buffer
	reader, writer := io.Pipe()
	cmd := b.goCommand(ctx, source, writer, append(append([]string{"build", "-v", "-o", binary}, b.flags(c)...), cmp.Or(c.Package, "."))...)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(reader)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if line := lines.Text(); strings.ContainsAny(line, " :\t") || strings.HasPrefix(line, "#") {
				fmt.Fprintln(&output, line) // anything but a package's name
			} else {
				compiled.Add(1)
			}
		}
		_, _ = io.Copy(io.Discard, reader)
	}()
	ticker := time.NewTicker(15 * time.Second)
	defer ticker.Stop()
	done := make(chan error, 1)
	go func() { done <- cmd.Run() }()
	for {
		select {
		case err := <-done:
			writer.Close()
			<-read
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("compiling %s: %w\n%s", c.Name, err, output.String())
			}
			return err
		case <-ticker.C:
			gone := time.Since(started)
			b.Say("%s: %d packages compiled in %s; about %s left for all", c.Name, compiled.Load(), round(gone), round(max(c.Usually-gone, 15*time.Second)+left))
		}
	}
}

func (b *Builder) goCommand(ctx context.Context, folder string, stderr io.Writer, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = folder
	cmd.Stderr = stderr
	// The compiler is a short-lived process with much memory at hand: less garbage collection makes it a good deal quicker.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOTOOLCHAIN=local", "GOGC=400")
	return cmd
}

func (b *Builder) copyCRDs(ctx context.Context, c Component, source, to string) error {
	cmd := b.goCommand(ctx, source, nil, "list", "-m", "-f", "{{.Dir}}", c.CRDModule)
	module, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("finding the CRDs of %s: %w", c.Name, err)
	}
	var files []string
	for _, pattern := range c.CRDs {
		matches, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(module)), pattern))
		if err != nil || len(matches) == 0 {
			return fmt.Errorf("%s has no CRDs at %s of %s", c.Name, pattern, c.CRDModule)
		}
		files = append(files, matches...)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(time.Second) }

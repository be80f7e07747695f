package component

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func builder(t *testing.T) *Builder {
	return &Builder{Source: t.TempDir(), Cache: t.TempDir(), Say: t.Logf}
}

func TestKeyFollowsEverythingThatIsBuiltFrom(t *testing.T) {
	b := builder(t)
	write(t, filepath.Join(b.Source, "components/one/main.go"), "package main\nfunc main() {}\n")
	write(t, filepath.Join(b.Source, "components/one/go.mod"), "module one\ngo 1.26.0\n")
	c := Component{Name: "one"}
	key := func(c Component) string {
		t.Helper()
		key, err := b.key(c)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	seen := map[string]string{key(c): "unchanged"}
	if again := key(c); seen[again] == "" {
		t.Error("the key differs without a change")
	}
	differs := func(what string, key string) {
		t.Helper()
		if before, ok := seen[key]; ok {
			t.Errorf("%s: the same key as %s", what, before)
		}
		seen[key] = what
	}
	flagged := c
	flagged.LDFlags = "-X a=b"
	differs("other flags", key(flagged))
	patched := c
	patched.Patch = &Patch{Module: "m"}
	differs("a patch", key(patched))
	patched.Patch = &Patch{Module: "m", Remove: []string{"x"}}
	differs("another patch", key(patched))
	write(t, filepath.Join(b.Source, "components/one/go.sum"), "")
	differs("a new file", key(c))
	write(t, filepath.Join(b.Source, "components/one/main.go"), "package main\nfunc main() { }\n")
	differs("a changed file", key(c))

	if _, err := b.key(Component{Name: "none"}); err == nil {
		t.Error("a component without a folder has a key")
	}
}

func TestBuildOnceAndThenNever(t *testing.T) {
	b := builder(t)
	write(t, filepath.Join(b.Source, "components/one/main.go"), "package main\nfunc main() {}\n")
	write(t, filepath.Join(b.Source, "components/one/go.mod"), "module one\ngo 1.26.0\n")
	c := Component{Name: "one", Usually: time.Second}
	ctx := context.Background()
	built, err := b.Build(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(built["one"].Binary); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(b.Cache, "bin", "one-0123456789ab")
	write(t, filepath.Join(stale, "one"), "")
	if err := os.Chtimes(stale, time.Now(), time.Now().Add(-2*unused)); err != nil {
		t.Fatal(err)
	}
	b.prune(c)
	if _, err := os.Stat(stale); err == nil {
		t.Error("a binary that nobody has used for long is kept")
	}
	t.Setenv("PATH", "") // nothing can be compiled any more
	again, err := b.Build(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if again["one"] != built["one"] {
		t.Errorf("%v and then %v", built, again)
	}
	write(t, filepath.Join(b.Source, "components/one/main.go"), "package main\nfunc main() { }\n")
	if _, err := b.Build(ctx, c); err == nil {
		t.Error("compiled without a compiler")
	}
}

func TestBuildErrorShowsTheCompilersWords(t *testing.T) {
	b := builder(t)
	write(t, filepath.Join(b.Source, "components/one/main.go"), "package main\nfunc main() { undefinedThing() }\n")
	write(t, filepath.Join(b.Source, "components/one/go.mod"), "module one\ngo 1.26.0\n")
	_, err := b.Build(context.Background(), Component{Name: "one"})
	if err == nil || !strings.Contains(err.Error(), "undefinedThing") {
		t.Errorf("error %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(b.Cache, "bin", "*"))
	hidden, _ := filepath.Glob(filepath.Join(b.Cache, "bin", ".*"))
	if len(left)+len(hidden) > 0 {
		t.Errorf("left %v %v", left, hidden)
	}
}

func TestLockIsWaitedForUntilTheContextEnds(t *testing.T) {
	b := builder(t)
	unlock, err := b.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.lock(ctx); err == nil {
		t.Error("two hold the lock")
	}
	unlock()
	unlock, err = b.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestCopyTreeOverwritesAndMakesWritable(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "a/b.go"), "new")
	write(t, filepath.Join(to, "a/b.go"), "old")
	write(t, filepath.Join(to, "a/c.go"), "kept")
	if err := os.Chmod(filepath.Join(from, "a/b.go"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(to, from); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"a/b.go": "new", "a/c.go": "kept"} {
		if content, err := os.ReadFile(filepath.Join(to, file)); err != nil || string(content) != want {
			t.Errorf("%s is %q, %v", file, content, err)
		}
	}
	if info, err := os.Stat(filepath.Join(to, "a/b.go")); err != nil || info.Mode().Perm()&0o200 == 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Every component's folder is in the checkout, with pinned dependencies.
func TestComponentsAreThere(t *testing.T) {
	source, err := SourceFolder()
	if err != nil {
		t.Fatal(err)
	}
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{Source: source}
	for _, c := range slices.Concat(all, Flux, []Component{Probe, KubernetesNext}) {
		if _, err := os.Stat(filepath.Join(b.source(c), "go.mod")); err != nil {
			t.Error(err)
		}
		if (c.CRDModule == "") != (len(c.CRDs) == 0) {
			t.Errorf("%s names a module of CRDs or their files, but not both", c.Name)
		}
	}
}

func TestAPIServerIsOfAKnownVersion(t *testing.T) {
	for version, name := range map[string]string{"": "kubernetes", "1.36": "kubernetes", "1.37": "kubernetesnext", "1.38": ""} {
		t.Setenv("BARTIZAN_KUBERNETES", version)
		got, err := APIServer()
		if got.Name != name || (err == nil) != (name != "") {
			t.Errorf("%q: %q, %v", version, got.Name, err)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTally(t *testing.T) {
	const printed = `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"run","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA/two"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"run","Package":"p","Test":"TestC"}
{"Action":"run","Package":"p","Test":"TestC/one"}
{"Action":"pass","Package":"p","Test":"TestC/one"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"fail","Package":"does-not-build"}
{"Action":"pass","Package":"has-none"}
`
	tally := newTally()
	tally.read(strings.NewReader(strings.TrimSpace(printed)))
	got := tally.result()
	want := result{passed: 2, failed: 4, failures: []string{
		"does-not-build (did not build, or died)", "p TestA/two (fail)", "p TestB (skip)", "p TestC (fail)",
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("the result (-want +got):\n%s", diff)
	}
}

// TestUnsteady: what fails once is named, and what fails twice has failed.
func TestUnsteady(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module unsteady\n\ngo 1.26\n",
		"unsteady_test.go": `package unsteady

import (
	"os"
	"testing"
)

func TestGood(t *testing.T) {}

func TestBroken(t *testing.T) { t.Error("always") }

func TestUnsteady(t *testing.T) {
	t.Run("below", func(t *testing.T) {
		if os.Mkdir("was-here", 0o755) == nil {
			t.Error("the first time")
		}
	})
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := goTest(t.Context(), tests{dir: dir, limit: time.Minute, packages: []string{"./..."}})
	want := result{passed: 2, failed: 1, failures: []string{"unsteady TestBroken (fail)"}, unsteady: []string{"unsteady TestUnsteady/below (fail)"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("the result (-want +got):\n%s", diff)
	}
	var out strings.Builder
	if !report(&out, []result{got}, time.Minute) || !strings.Contains(out.String(), "UNSTEADY : unsteady TestUnsteady/below") {
		t.Errorf("the report:\n%s", &out)
	}
}

func TestReport(t *testing.T) {
	for _, test := range []struct {
		name    string
		results []result
		failed  bool
		last    string
	}{
		{"all passed", []result{{kind: "unit", passed: 3}, {kind: "e2e", passed: 2}}, false, "5 passed, 0 failed"},
		{"one failed", []result{{kind: "unit", passed: 3, failed: 1, failures: []string{"x"}}}, true, "3 passed, 1 failed"},
		{"nothing ran", []result{{kind: "unit"}}, true, "0 passed, 0 failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if failed := report(&out, test.results, time.Minute); failed != test.failed {
				t.Errorf("failed is %t", failed)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; last != test.last {
				t.Errorf("the last line is %q, want %q", last, test.last)
			}
		})
	}
}

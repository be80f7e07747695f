package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(asUpstream) != "" {
		fatal(serveUpstream(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// TestIntegrationBench measures a little of everything: no row may be missing, however slow the machine is. What takes minutes to compile is left
// out.
func TestIntegrationBench(t *testing.T) {
	b := &bench{quick: true, out: t.Output(), without: []string{"kube-rbac-proxy", "toolhive"}}
	if err := b.run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join("..", ".."))
	folder := t.TempDir()
	if err := b.report(folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "benchmarks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.ID == group.id }) {
			t.Errorf("%s has no row", group.id)
		}
	}
	for _, r := range rows {
		// What is lost and what reaches the server is nothing.
		nothing := r.ID == "A1" && r.Unit == "lines" || r.ID == "P11" && r.Unit == "requests" || r.Unit == "allocations"
		if nothing != (r.Value == 0) || r.Work == "" || r.Unit == "" || r.Min > r.Max {
			t.Errorf("%+v", r)
		}
	}
	page, err := os.ReadFile(filepath.Join(folder, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(page), "\n| P") < 20 {
		t.Errorf("the page has too few rows:\n%s", page)
	}
}

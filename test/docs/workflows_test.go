package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestWorkflowsUseTheMakefile: the workflows are YAML, run make targets that exist, and have no more rights than they name.
func TestWorkflowsUseTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]struct {
				Steps []struct{ Run string }
			}
		}
		if err := yaml.Unmarshal(content, &workflow); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if workflow.Permissions == nil {
			t.Errorf("%s has the rights that the repository happens to give", file)
		}
		targets := 0
		for _, job := range workflow.Jobs {
			for _, step := range job.Steps {
				for _, line := range strings.Split(step.Run, "\n") {
					_, words, found := strings.Cut(line, "make ")
					if !found {
						continue
					}
					for _, word := range strings.Fields(words) {
						if strings.Contains(word, "=") {
							continue
						}
						targets++
						if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(word) + `:`).Match(makefile) {
							t.Errorf("%s runs make %s, which the Makefile does not have", file, word)
						}
					}
				}
			}
		}
		if targets == 0 {
			t.Errorf("%s runs no make target", file)
		}
	}
}

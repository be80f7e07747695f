package posture_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/posture"
)

// TestDocs keeps the table of controls in the documentation up to date.
func TestDocs(t *testing.T) {
	const file, begin, end = "../../docs/posture.md", "<!-- controls: written by go test ./internal/posture -update -->\n", "<!-- end of controls -->\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the controls", file)
	}
	var b strings.Builder
	b.WriteString("| Id | Severity | What holds | By | Evidence | When it does not | Answers |\n|---|---|---|---|---|---|---|\n")
	for _, c := range posture.Catalogue() {
		var kinds []string
		for _, k := range c.Evidence {
			kinds = append(kinds, string(k))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", c.ID, c.Severity, c.Title, c.Enforcement, strings.Join(kinds, ", "),
			strings.NewReplacer("<", "&lt;", ">", "&gt;", "|", "\\|").Replace(c.Remediation), strings.Join(c.Maps, ", "))
	}
	want := before + begin + b.String() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(content) != want {
		t.Errorf("%s is not up to date: go test ./internal/posture -update", file)
	}
}

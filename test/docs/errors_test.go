package docs_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// How the gate's code writes the reasons of its refusals.
var reasonForms = []*regexp.Regexp{
	regexp.MustCompile(`\bReason: +"([a-z0-9-]+)"`),
	regexp.MustCompile(`\bbad\(Code\w+, "([a-z0-9-]+)"`),
	regexp.MustCompile(`\bReason\w+ += "([a-z0-9-]+)"`),
	regexp.MustCompile(`\bFailure += "([a-z0-9-]+)"`),
	regexp.MustCompile(`&Refusal\{http\.Status\w+, "[^"]*", "([a-z0-9-]+)"\}`),
	regexp.MustCompile(`audit\.Failed, "([a-z0-9-]+)"`),
}

// TestErrorsPage: docs/errors.md has every reason for which the gate refuses, and no other.
func TestErrorsPage(t *testing.T) {
	inCode := map[string]bool{}
	gate := filepath.Join(root, "internal", "authproxy")
	if err := filepath.WalkDir(gate, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, form := range reasonForms {
			for _, match := range form.FindAllStringSubmatch(string(content), -1) {
				inCode[match[1]] = true
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(inCode) < 80 {
		t.Errorf("only %d reasons are found in the code", len(inCode))
	}
	onPage := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| ((?:`[a-z0-9-]+`(?:, )?)+) \\|").FindAllStringSubmatch(pages(t)["docs/errors.md"], -1) {
		for _, reason := range strings.Split(row[1], ", ") {
			onPage[strings.Trim(reason, "`")] = true
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(inCode)) {
		if !onPage[reason] {
			t.Errorf("the page does not say what %s is", reason)
		}
		delete(onPage, reason)
	}
	for reason := range onPage {
		t.Errorf("the page has %s, which the gate does not say", reason)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// maxLines is the longest that a file written by hand may be.
const maxLines = 500

// rules are texts that no file of ours has.
var rules = []struct {
	text    *regexp.Regexp
	files   *regexp.Regexp
	because string
}{
	{regexp.MustCompile(`\bTO` + `DO\b|\bFIX` + `ME\b`), regexp.MustCompile(`\.(go|yaml|sh)$|Makefile$`), "what is missing is built or written down as an issue"},
	{regexp.MustCompile(`\bt\.Skip`), regexp.MustCompile(`_test\.go$`), "a skipped test shows nothing: name it by its kind instead"},
	{regexp.MustCompile(`"/(work|root|home)/`), regexp.MustCompile(`\.(go|yaml|sh|md)$|Makefile$`), "a path of one machine"},
}

var generatedFile = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func houseRules(ctx context.Context) error {
	names, err := files(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if strings.HasSuffix(name, ".go") && generatedFile.Match(content) {
			continue
		}
		if lines := bytes.Count(content, []byte("\n")); strings.HasSuffix(name, ".go") && lines > maxLines {
			problems = append(problems, fmt.Errorf("%s: %d lines are more than %d: a file is one thing", name, lines, maxLines))
		}
		for _, rule := range rules {
			if !rule.files.MatchString(name) || strings.HasPrefix(name, "hack/check/") {
				continue
			}
			if at := rule.text.FindIndex(content); at != nil {
				line := 1 + bytes.Count(content[:at[0]], []byte("\n"))
				problems = append(problems, fmt.Errorf("%s:%d: %q: %s", name, line, content[at[0]:at[1]], rule.because))
			}
		}
	}
	return errors.Join(problems...)
}

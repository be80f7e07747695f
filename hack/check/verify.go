package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// checks are what verify does, by name, in this order.
var checks = []struct {
	name string
	// says what to do when it fails.
	remedy string
	do     func(ctx context.Context) error
}{
	{"format", "gofmt -w FILE", format},
	{"house-rules", "mend the line that is named", houseRules},
	{"modules-tidy", "go mod tidy in the folder that is named", tidy},
	{"generated", "make generate", generated},
	{"vet", "mend what go vet says", vet},
	{"lint", "mend what the linter says; make lint shows it alone", lint},
	{"licences", "take another module, or add the licence to allowedLicences with a reason", licences},
}

// verify runs the checks that are named, or all. Each counts as a test.
func verify(ctx context.Context, names []string) result {
	var r result
	for _, name := range names {
		if !slices.ContainsFunc(checks, func(c struct {
			name, remedy string
			do           func(context.Context) error
		}) bool {
			return c.name == name
		}) {
			r.failed++
			r.failures = append(r.failures, "there is no check "+name)
		}
	}
	for _, check := range checks {
		if len(names) > 0 && !slices.Contains(names, check.name) {
			continue
		}
		started := time.Now()
		if err := check.do(ctx); err != nil {
			fmt.Printf("FAIL  %s  %.1fs\n%v\n→ %s\n", check.name, time.Since(started).Seconds(), err, check.remedy)
			r.failed++
			r.failures = append(r.failures, check.name)
			continue
		}
		fmt.Printf("ok    %s  %.1fs\n", check.name, time.Since(started).Seconds())
		r.passed++
	}
	return r
}

// files returns the files of the project that match a pattern of git, tracked or not, but not what git ignores.
func files(ctx context.Context, patterns ...string) ([]string, error) {
	listed, err := output(ctx, ".", "git", append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range strings.Split(strings.Trim(listed, "\x00"), "\x00") {
		if _, err := os.Lstat(name); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func format(ctx context.Context) error {
	names, err := files(ctx, "*.go")
	if err != nil {
		return err
	}
	unformatted, err := output(ctx, ".", "gofmt", append([]string{"-l"}, names...)...)
	if err != nil {
		return err
	}
	if unformatted != "" {
		return fmt.Errorf("not formatted:\n%s", unformatted)
	}
	return nil
}

func tidy(ctx context.Context) error {
	var problems []error
	for _, module := range append([]string{"."}, modules...) {
		if _, err := output(ctx, module, "go", "mod", "tidy", "-diff"); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", module, err))
		}
	}
	return errors.Join(problems...)
}

func vet(ctx context.Context) error {
	var problems []error
	for _, module := range append([]string{"."}, modules...) {
		if _, err := output(ctx, module, "go", "vet", "./..."); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func lint(ctx context.Context) error {
	fmt.Println("      the linter (compiled once, 2 to 5 minutes)")
	printed, err := output(ctx, ".", "go", "tool", "-modfile=hack/tools/lint/go.mod", "golangci-lint-kube-api-linter", "run", "--allow-parallel-runners", "./...")
	if err != nil {
		return err
	}
	fmt.Println("     ", printed)
	return nil
}

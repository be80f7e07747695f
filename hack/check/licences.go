package main

import (
	"context"
	"fmt"
	"strings"
)

// allowedLicences go with Apache-2.0 in a program that is given away as a binary.
var allowedLicences = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// licences checks all that is linked into the programs that users run.
func licences(ctx context.Context) error {
	const tool = "-modfile=hack/tools/go.mod"
	// Apache-2.0 by the headers of its files: the module has no file with the licence.
	const unstated = "github.com/openreports/reports-api"
	allowed := "--allowed_licenses=" + strings.Join(allowedLicences, ",")
	if _, err := output(ctx, ".", "go", "tool", tool, "go-licenses", "check", "./cmd/...", allowed, "--ignore", "github.com/bartizan-dev/bartizan", "--ignore", unstated); err != nil {
		return fmt.Errorf("only %s are allowed: %w", strings.Join(allowedLicences, ", "), err)
	}
	return nil
}

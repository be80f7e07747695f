// Package register replaces the module's own: it registers only the providers that tests use. The module's brings 38 clouds' SDKs.
package register

import (
	_ "github.com/external-secrets/external-secrets/pkg/provider/fake"
	_ "github.com/external-secrets/external-secrets/pkg/provider/kubernetes"
)

package manifests

import "testing"

func TestService(t *testing.T) {
	golden(t, "service", []string{"minimal", "stateful"}, func(c Children) any { return c.Service })
}

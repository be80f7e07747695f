package manifests

import "testing"

func TestCABundle(t *testing.T) {
	golden(t, "cabundle", []string{"minimal"}, func(c Children) any { return c.CABundle })
}

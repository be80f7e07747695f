package manifests

import "testing"

func TestServiceAccount(t *testing.T) {
	golden(t, "serviceaccount", []string{"minimal", "everything", "own-serviceaccount"}, func(c Children) any { return c.ServiceAccount })
}

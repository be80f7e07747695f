package manifests

import "testing"

func TestDisruptionBudget(t *testing.T) {
	golden(t, "disruptionbudget", []string{"minimal", "stateful"}, func(c Children) any { return c.DisruptionBudget })
}

package manifests

import "testing"

func TestGateSecret(t *testing.T) {
	golden(t, "gatesecret", []string{"minimal"}, func(c Children) any { return c.GateSecret })
}

package manifests

import "testing"

func TestCertificate(t *testing.T) {
	golden(t, "certificate", []string{"minimal", "everything", "issuer"}, func(c Children) any { return c.Certificate })
}

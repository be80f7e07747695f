package authority

import (
	"crypto/x509"
	"testing"
)

func TestOthers(t *testing.T) {
	certificate := func(keyID ...byte) *x509.Certificate { return &x509.Certificate{SubjectKeyId: keyID} }
	for name, c := range map[string]struct {
		issued *issued
		keyID  string
		want   bool
	}{
		"its own":                           {&issued{certificate: certificate(1, 2)}, "0102", false},
		"another's":                         {&issued{certificate: certificate(1, 2)}, "0103", true},
		"that of a lost Secret":             {&issued{certificate: certificate(1, 2), former: []*x509.Certificate{certificate(1, 3)}}, "0103", false},
		"a gate that does not say":          {&issued{certificate: certificate(1, 2)}, "", false},
		"an authority without identifier":   {&issued{certificate: certificate()}, "0103", false},
		"an authority that nobody knows":    {&issued{}, "0103", false},
		"a generation that is not there":    {nil, "0103", false},
		"another's, beside a lost Secret's": {&issued{certificate: certificate(1, 2), former: []*x509.Certificate{certificate(1, 3)}}, "0104", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.issued.others(c.keyID); got != c.want {
				t.Errorf("others(%q) = %v", c.keyID, got)
			}
		})
	}
}

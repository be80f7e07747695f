package verification

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"time"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// authorityFact compares the ends of the serving certificates and of what vouches for each. While one authority is replaced by another, both
// do: then only the gates tell from which of them theirs is.
func (o *observed) authorityFact(last *run) posture.Fact[posture.Authority] {
	if o.caBundle == "" || o.server.Status.Gate == nil || o.server.Status.Gate.CertificateNotAfter == nil {
		return posture.Unknown[posture.Authority]("the authority of the serving certificate is not known")
	}
	var end time.Time
	ends := map[string]time.Time{}
	for rest := []byte(o.caBundle); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		ends[hex.EncodeToString(certificate.SubjectKeyId)] = certificate.NotAfter
		if certificate.NotAfter.After(end) {
			end = certificate.NotAfter
		}
	}
	if end.IsZero() {
		return posture.Unknown[posture.Authority]("the authority of the serving certificate cannot be read")
	}
	// The operator replaces its own authorities; how an issuer of somebody else's is replaced, nothing tells.
	own := o.server.Spec.TLS == nil || o.server.Spec.TLS.IssuerRef == nil
	worst := posture.Authority{NotAfter: end, LeafNotAfter: o.server.Status.Gate.CertificateNotAfter.Time, RollsOver: own}
	source := "ConfigMap " + manifests.CABundleName(o.server.Name)
	told := false
	if last != nil {
		for _, status := range last.gates {
			of, known := ends[status.CertificateAuthority]
			if status.CertificateAuthority == "" || !known || status.CertificateNotAfter.IsZero() {
				continue
			}
			if !told || of.Sub(status.CertificateNotAfter) < worst.NotAfter.Sub(worst.LeafNotAfter) {
				worst.NotAfter, worst.LeafNotAfter = of, status.CertificateNotAfter
			}
			told = true
		}
	}
	if !told && own && len(ends) > 1 {
		return posture.Unknown[posture.Authority]("the authority is being replaced, and no gate tells which one its certificate is from")
	}
	if told {
		return posture.See(worst, source+", status of the gates", last.looked())
	}
	return posture.See(worst, source, o.now)
}

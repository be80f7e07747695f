package authority

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mostFormer bounds how many lost certificates of a generation are remembered.
const mostFormer = 8

// issued are the certificates of one generation.
type issued struct {
	generation int
	// certificate is its Secret's; nil while there is none.
	certificate *x509.Certificate
	// former are those of Secrets of the same name that were lost: what they signed may be in use. cert-manager makes another
	// authority under the same name, and knows nothing of them; the generation's Certificate remembers them.
	former []*x509.Certificate
	// remembered says that the generation's Certificate knows of the Secret's.
	remembered bool
}

// all are the certificates that signed what the generation has issued, the Secret's at the end.
func (c *issued) all() []*x509.Certificate {
	if c.certificate == nil {
		return c.former
	}
	return append(slices.Clone(c.former), c.certificate)
}

// lost says that another authority has taken the generation's name.
func (c *issued) lost() bool { return c.certificate != nil && len(c.former) > 0 }

// signed says whether the generation issued a certificate.
func (c *issued) signed(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(c.all(), func(by *x509.Certificate) bool { return leaf.CheckSignatureFrom(by) == nil })
}

// others says whether certificates with this authority key identifier are surely of another authority.
func (c *issued) others(keyID string) bool {
	return c != nil && len(c.all()) > 0 && keyID != "" && !slices.ContainsFunc(c.all(), func(by *x509.Certificate) bool {
		return len(by.SubjectKeyId) == 0 || hex.EncodeToString(by.SubjectKeyId) == keyID
	})
}

// certificates are those of a family in a namespace, by generation: those of Secrets and, with cert-manager's API, those that
// Certificates remember.
func (f family) certificates(ctx context.Context, reader client.Reader, namespace string, certManager bool) ([]issued, error) {
	secrets, certificates := &corev1.SecretList{}, &certmanager.CertificateList{}
	ours := []client.ListOption{client.InNamespace(namespace), client.MatchingLabels(objectLabels())}
	if err := reader.List(ctx, secrets, ours...); err != nil {
		return nil, err
	}
	if certManager {
		if err := reader.List(ctx, certificates, ours...); err != nil {
			return nil, err
		}
	}
	all := map[int]issued{}
	for i := range secrets.Items {
		n := f.generation(secrets.Items[i].Name)
		if c := parse(secrets.Items[i].Data[corev1.TLSCertKey]); n > 0 && len(c) > 0 {
			all[n] = issued{generation: n, certificate: c[0]}
		}
	}
	for i := range certificates.Items {
		n := f.generation(certificates.Items[i].Name)
		if n == 0 {
			continue
		}
		c := all[n]
		c.generation = n
		for _, known := range parse([]byte(certificates.Items[i].Annotations[annotationCertificates])) {
			switch {
			case c.certificate != nil && known.Equal(c.certificate):
				c.remembered = true
			case !slices.ContainsFunc(c.former, known.Equal):
				c.former = append(c.former, known)
			}
		}
		if len(c.all()) > 0 {
			all[n] = c
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b issued) int { return cmp.Compare(a.generation, b.generation) }), nil
}

// remember has a generation's Certificate say which certificates it has had. One that follows another and has issued nothing
// yet, which is what fresh says, has only its Secret's: when that was lost, everybody has to learn of the one that is there now.
func (x *found) remember(i int, fresh bool) {
	g := &x.generations[i]
	c := x.certificate(g.number)
	if c == nil {
		return
	}
	c.former = slices.DeleteFunc(c.former, func(former *x509.Certificate) bool { return x.facts.Now.After(former.NotAfter) })
	if fresh && c.lost() {
		c.former = nil
		delete(g.annotations, annotationDistributed)
		x.facts.Authorities[i].DistributedAt = time.Time{}
	}
	c.former = c.former[max(0, len(c.former)-mostFormer):]
	x.facts.Authorities[i].Lost = c.lost()
	if c.lost() && !c.remembered {
		x.lost = append(x.lost, g.number)
	}
	if text := encode(c.all()...); text != "" {
		g.annotations[annotationCertificates] = text
	}
}

package authority

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// SystemSigner returns the authority that vouches for the operator, and its key. Probes sign with it what no gate may accept,
// such as a certificate that has ended.
func SystemSigner(ctx context.Context, reader client.Reader, operatorNamespace string) (*x509.Certificate, crypto.Signer, error) {
	// While one authority follows another, every gate trusts the older one.
	all, err := system.certificates(ctx, reader, operatorNamespace, false)
	if err != nil {
		return nil, nil, err
	}
	oldest := 1
	if len(all) > 0 {
		oldest = all[0].generation
	}
	key := client.ObjectKey{Namespace: operatorNamespace, Name: system.name(oldest)}
	secret := &corev1.Secret{}
	if err := reader.Get(ctx, key, secret); err != nil {
		return nil, nil, err
	}
	// The parser's own words could quote the key.
	unusable := fmt.Errorf("no usable authority in Secret %s", key)
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, nil, unusable
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || pair.Leaf == nil {
		return nil, nil, unusable
	}
	return pair.Leaf, signer, nil
}

package authority

import (
	"context"
	"crypto/tls"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
)

// Bundle returns the certificates, in PEM, of the authority of a namespace; empty while there is none.
func Bundle(ctx context.Context, reader client.Reader, namespace string) (string, error) {
	return bundle(ctx, reader, namespace, Issuer)
}

// SystemBundle returns the certificates, in PEM, of the authority that vouches for the operator; empty while there is none.
func SystemBundle(ctx context.Context, reader client.Reader, operatorNamespace string) (string, error) {
	return bundle(ctx, reader, operatorNamespace, SystemIssuer)
}

func bundle(ctx context.Context, reader client.Reader, namespace, name string) (string, error) {
	secret := &corev1.Secret{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret); err != nil {
		return "", client.IgnoreNotFound(err)
	}
	return string(secret.Data[corev1.TLSCertKey]), nil
}

// Credentials returns the operator's certificate towards gates.
func Credentials(reader client.Reader, operatorNamespace string) gates.Credentials {
	return func(ctx context.Context) (*tls.Certificate, error) {
		key := client.ObjectKey{Namespace: operatorNamespace, Name: OperatorCertificate}
		secret := &corev1.Secret{}
		if err := reader.Get(ctx, key, secret); apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("no Secret %s yet: cert-manager has to issue it", key)
		} else if err != nil {
			return nil, err
		}
		certificate, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			// The parser's own words could quote the key.
			return nil, fmt.Errorf("no usable certificate in Secret %s: delete it, and cert-manager issues it anew", key)
		}
		return &certificate, nil
	}
}

package authority

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/internal/rollover"
)

// Bundle returns the certificates, in PEM, of the authorities of a namespace, those that follow and those that go among
// them; empty while there is none.
func Bundle(ctx context.Context, reader client.Reader, namespace string) (string, error) {
	return private.bundle(ctx, reader, namespace)
}

// SystemBundle returns the certificates, in PEM, of the authorities that vouch for the operator; empty while there is none.
func SystemBundle(ctx context.Context, reader client.Reader, operatorNamespace string) (string, error) {
	return system.bundle(ctx, reader, operatorNamespace)
}

func (f family) bundle(ctx context.Context, reader client.Reader, namespace string) (string, error) {
	all, err := f.certificates(ctx, reader, namespace)
	if err != nil {
		return "", err
	}
	var bundle strings.Builder
	for _, c := range all {
		bundle.WriteString(encode(c.certificate))
	}
	return bundle.String(), nil
}

// issued is the certificate of one generation.
type issued struct {
	generation  int
	certificate *x509.Certificate
}

// certificates are those of a family in a namespace, by generation. What is no authority's certificate is left out: a gate
// would refuse the whole bundle because of it.
func (f family) certificates(ctx context.Context, reader client.Reader, namespace string) ([]issued, error) {
	secrets := &corev1.SecretList{}
	if err := reader.List(ctx, secrets, client.InNamespace(namespace), client.MatchingLabels(objectLabels())); err != nil {
		return nil, err
	}
	var all []issued
	for i := range secrets.Items {
		n := f.generation(secrets.Items[i].Name)
		if n == 0 {
			continue
		}
		if c := parse(secrets.Items[i].Data[corev1.TLSCertKey]); c != nil && c.BasicConstraintsValid && c.IsCA {
			all = append(all, issued{n, c})
		}
	}
	slices.SortFunc(all, func(a, b issued) int { return cmp.Compare(a.generation, b.generation) })
	return all, nil
}

// parse is the first certificate in PEM; nil without one.
func parse(text []byte) *x509.Certificate {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return certificate
}

func encode(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// contains says whether a bundle, in PEM, has a certificate.
func contains(bundle []byte, c *x509.Certificate) bool {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if bytes.Equal(block.Bytes, c.Raw) {
			return true
		}
	}
	return false
}

// Issuing is where the certificates of a namespace come from.
type Issuing struct {
	// Issuer is the Issuer's name.
	Issuer string
	// Longest is how long a certificate may live so that it does not outlive the authority; zero while that is unknown.
	Longest time.Duration
	// Next is the authority that is to follow, as Issuer will be; empty when none is.
	Next string
}

// InForce returns the Issuer of a namespace's private authority: the newest that is there. cert-manager must be served.
func InForce(ctx context.Context, reader client.Reader, namespace string) (Issuing, error) {
	issuers := &certmanager.IssuerList{}
	if err := reader.List(ctx, issuers, client.InNamespace(namespace), client.MatchingLabels(objectLabels())); err != nil {
		return Issuing{}, err
	}
	newest := 0
	for i := range issuers.Items {
		if issuers.Items[i].DeletionTimestamp == nil {
			newest = max(newest, private.generation(issuers.Items[i].Name))
		}
	}
	all, err := private.certificates(ctx, reader, namespace)
	if err != nil {
		return Issuing{}, err
	}
	in := Issuing{Issuer: private.name(max(newest, 1))}
	for _, c := range all {
		switch {
		case c.generation == newest:
			in.Longest = rollover.Authority{NotBefore: c.certificate.NotBefore, NotAfter: c.certificate.NotAfter}.Longest()
		case newest > 0 && c.generation > newest:
			in.Next = private.name(c.generation)
		}
	}
	return in, nil
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

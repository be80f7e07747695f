package authority

import (
	"bytes"
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

// Bundle returns the certificates, in PEM, of the authorities of a namespace, those that follow, those that go, and those whose
// Secrets were lost among them; empty while there is none. The last need cert-manager's API.
func Bundle(ctx context.Context, reader client.Reader, namespace string, certManager bool) (string, error) {
	return private.bundle(ctx, reader, namespace, certManager)
}

// SystemBundle returns the certificates, in PEM, of the authorities that vouch for the operator; empty while there is none.
func SystemBundle(ctx context.Context, reader client.Reader, operatorNamespace string, certManager bool) (string, error) {
	return system.bundle(ctx, reader, operatorNamespace, certManager)
}

func (f family) bundle(ctx context.Context, reader client.Reader, namespace string, certManager bool) (string, error) {
	all, err := f.certificates(ctx, reader, namespace, certManager)
	if err != nil {
		return "", err
	}
	var bundle strings.Builder
	for _, c := range all {
		bundle.WriteString(encode(c.all()...))
	}
	return bundle.String(), nil
}

// Vouches says whether a certificate of a bundle, in PEM, signed another.
func Vouches(bundle string, leaf *x509.Certificate) bool {
	return slices.ContainsFunc(parse([]byte(bundle)), func(c *x509.Certificate) bool { return leaf.CheckSignatureFrom(c) == nil })
}

// parse are the certificates of authorities in PEM. What is none is left out: a gate would refuse a whole bundle because of it.
func parse(text []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" && c.BasicConstraintsValid && c.IsCA {
			all = append(all, c)
		}
	}
	return all
}

// Leaf is the first certificate in PEM; nil without one.
func Leaf(text []byte) *x509.Certificate {
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

func encode(all ...*x509.Certificate) string {
	var text strings.Builder
	for _, c := range all {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return text.String()
}

// contains says whether a bundle, in PEM, has one of the certificates.
func contains(bundle []byte, all ...*x509.Certificate) bool {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if slices.ContainsFunc(all, func(c *x509.Certificate) bool { return bytes.Equal(block.Bytes, c.Raw) }) {
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
	// Loss says, for people, what is the matter with the authority's Secret; empty when nothing is.
	Loss string
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
	all, err := private.certificates(ctx, reader, namespace, true)
	if err != nil {
		return Issuing{}, err
	}
	in := Issuing{Issuer: private.name(max(newest, 1))}
	for _, c := range all {
		switch {
		case c.generation == newest && c.certificate == nil:
			in.Loss = fmt.Sprintf("Secret %s/%s of the authority was deleted: cert-manager makes another one under its name; where it does not, see whether it runs", namespace, in.Issuer)
		case c.generation == newest:
			if c.lost() {
				in.Loss = fmt.Sprintf("Secret %s/%s of the authority was lost, and has another authority now: the certificate of the one before is trusted until all that it issued is issued again by one that follows", namespace, in.Issuer)
			}
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

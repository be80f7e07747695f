// Package certmanager plays cert-manager for tests on an API server without it, as little as the operator can notice. The real
// one is for the end-to-end tests.
package certmanager

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Issue issues what a Certificate asks for, an authority by itself and any other by its Issuer's Secret, unless it was issued
// by that Issuer before. While its Issuer or the Issuer's Secret is missing it returns an error that says so.
func Issue(ctx context.Context, c client.Client, wanted *certmanager.Certificate, now time.Time) error {
	key := client.ObjectKey{Namespace: wanted.Namespace, Name: wanted.Spec.SecretName}
	secret, issuer := &corev1.Secret{}, &certmanager.Issuer{}
	if err := c.Get(ctx, key, secret); client.IgnoreNotFound(err) != nil || err == nil && secret.Annotations[certmanager.IssuerNameAnnotationKey] == wanted.Spec.IssuerRef.Name {
		return err
	}
	if err := c.Get(ctx, client.ObjectKey{Namespace: wanted.Namespace, Name: wanted.Spec.IssuerRef.Name}, issuer); err != nil {
		return err
	}
	by := &corev1.Secret{}
	if issuer.Spec.CA != nil {
		if err := c.Get(ctx, client.ObjectKey{Namespace: wanted.Namespace, Name: issuer.Spec.CA.SecretName}, by); err != nil {
			return err
		}
	}
	data, err := sign(wanted, by, now)
	if err != nil {
		return err
	}
	secret.Data, secret.Type = data, corev1.SecretTypeTLS
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[certmanager.CertificateNameKey], secret.Annotations[certmanager.IssuerNameAnnotationKey] = wanted.Name, issuer.Name
	if secret.UID == "" {
		secret.Namespace, secret.Name = key.Namespace, key.Name
		if wanted.Spec.SecretTemplate != nil {
			secret.Labels = wanted.Spec.SecretTemplate.Labels
		}
		err = c.Create(ctx, secret)
	} else {
		err = c.Update(ctx, secret)
	}
	if err != nil {
		return err
	}
	end := metav1.NewTime(now.Add(wanted.Spec.Duration.Duration))
	wanted.Status.NotAfter = &end
	wanted.Status.Conditions = []certmanager.CertificateCondition{{Type: certmanager.CertificateConditionReady, Status: certmanagermeta.ConditionTrue, Reason: "Ready"}}
	return c.Status().Update(ctx, wanted)
}

// sign makes the content of a certificate's Secret, signed by the authority of another; by itself where that is empty.
func sign(wanted *certmanager.Certificate, by *corev1.Secret, now time.Time) (map[string][]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: wanted.Spec.CommonName},
		NotBefore: now.Add(-time.Second), NotAfter: now.Add(wanted.Spec.Duration.Duration), DNSNames: wanted.Spec.DNSNames,
		IsCA: wanted.Spec.IsCA, BasicConstraintsValid: true,
	}
	for _, uri := range wanted.Spec.URIs {
		parsed, err := url.Parse(uri)
		if err != nil {
			return nil, err
		}
		template.URIs = append(template.URIs, parsed)
	}
	parent, signer := template, private
	if len(by.Data) > 0 {
		if parent, signer, err = Decode(by); err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, err
	}
	authority := der
	if parent != template {
		authority = parent.Raw
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}),
		"ca.crt":                pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}),
	}, nil
}

// Decode reads the certificate and the private key of a Secret.
func Decode(secret *corev1.Secret) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certificate, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	key, _ := pem.Decode(secret.Data[corev1.TLSPrivateKeyKey])
	if certificate == nil || key == nil {
		return nil, nil, errors.New("no certificate and private key in PEM")
	}
	parsed, err := x509.ParseCertificate(certificate.Bytes)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.ParseECPrivateKey(key.Bytes)
	return parsed, private, err
}

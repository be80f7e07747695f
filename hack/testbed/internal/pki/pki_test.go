package pki

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"
)

func parse(t *testing.T, raw []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(raw)
	if block == nil || len(rest) > 0 {
		t.Fatal("not one PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificates(t *testing.T) {
	now := time.Now()
	ca, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Server("server", []string{"127.0.0.1", "kubernetes.default.svc"}, now)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.Client("admin", []string{"system:masters"}, now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	foreign := x509.NewCertPool()
	foreign.AppendCertsFromPEM(other.Cert)

	for _, test := range []struct {
		name    string
		pair    Pair
		options x509.VerifyOptions
		ok      bool
	}{
		{"server by name", server, x509.VerifyOptions{Roots: roots, DNSName: "kubernetes.default.svc"}, true},
		{"server by address", server, x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1"}, true},
		{"server by another name", server, x509.VerifyOptions{Roots: roots, DNSName: "example.com"}, false},
		{"server of another authority", server, x509.VerifyOptions{Roots: foreign}, false},
		{"client", client, x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true},
		{"client as a server", client, x509.VerifyOptions{Roots: roots}, false},
		{"too late", client, x509.VerifyOptions{Roots: roots, CurrentTime: now.Add(2 * Validity), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parse(t, test.pair.Cert).Verify(test.options); (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
		})
	}
	subject := parse(t, client.Cert).Subject
	if subject.CommonName != "admin" || len(subject.Organization) != 1 || subject.Organization[0] != "system:masters" {
		t.Errorf("the client is %v", subject)
	}
}

package probe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/bartizan-dev/bartizan/internal/clientid"
)

// Forge makes certificates that no gate of a namespace of servers may accept. The authority is the one that vouches for the
// operator, and only for it: what it signs for somebody else is worth nothing. None of the identities exists.
func Forge(parent *x509.Certificate, signer crypto.Signer, servers string) ([]Forged, error) {
	someone := strings.ToLower(nonce())
	client := clientid.Client{Namespace: someone, Name: someone, Servers: servers}
	elsewhere := client
	elsewhere.Servers = someone
	now := time.Now()
	forger, own, err := unknownAuthority(now)
	if err != nil {
		return nil, err
	}
	var all []Forged
	for _, f := range []struct {
		name   string
		uri    string
		parent *x509.Certificate
		signer crypto.Signer
		change func(*x509.Certificate)
	}{
		{"expired certificate", clientid.Operator, parent, signer, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }},
		{"certificate of an unknown authority", clientid.Operator, forger, own, nil},
		{"client that another namespace's authority vouches for", client.URI(), parent, signer, nil},
		{"certificate for servers of another namespace", elsewhere.URI(), parent, signer, nil},
		{"certificate of a server", clientid.Operator, parent, signer, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
	} {
		certificate, err := issue(f.uri, f.parent, f.signer, now, f.change)
		if err != nil {
			return nil, err
		}
		all = append(all, Forged{Name: f.name, Certificate: certificate})
	}
	return all, nil
}

func issue(uri string, parent *x509.Certificate, signer crypto.Signer, now time.Time, change func(*x509.Certificate)) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	identity, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(5 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{identity},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// unknownAuthority is an authority that nobody knows.
func unknownAuthority(now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "nobody"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return certificate, key, err
}

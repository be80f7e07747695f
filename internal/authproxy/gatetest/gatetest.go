// Package gatetest makes what tests of the gate need: authorities, certificates, keys and configuration directories as
// the kubelet lays them out.
package gatetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// Authority is a certificate authority.
type Authority struct {
	Certificate *x509.Certificate
	// PEM is the certificate.
	PEM string
	key *ecdsa.PrivateKey
}

// life is how long certificates are valid: a million requests under the race detector took more than an hour on a busy machine.
const life = 24 * time.Hour

// NewAuthority makes an authority.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der := sign(t, template, template, key, key)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{Certificate: certificate, PEM: encode("CERTIFICATE", der), key: key}
}

// Pool returns the authority as a pool.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Client returns a client certificate with a URI SAN, changed by the functions given.
func (a *Authority) Client(t testing.TB, uri string, changes ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(t), URIs: []*url.URL{u}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, change := range changes {
		change(template)
	}
	key := newKey(t)
	return tls.Certificate{Certificate: [][]byte{sign(t, template, a.Certificate, key, a.key)}, PrivateKey: key}
}

// Serving returns a serving certificate for loopback and "gate.test", and its key, in PEM, changed by the functions given.
func (a *Authority) Serving(t testing.TB, changes ...func(*x509.Certificate)) (certificate, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), DNSNames: []string{"gate.test", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, change := range changes {
		change(template)
	}
	private := newKey(t)
	der := sign(t, template, a.Certificate, private, a.key)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", encoded)
}

// NewKey makes an API key and what a configuration says of it.
func NewKey(t testing.TB, notAfter time.Time) (text string, accepted gateconfig.Key) {
	t.Helper()
	key, err := keys.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Text, gateconfig.Key{ID: key.ID, SHA256: keys.Hash(key.Text), NotAfter: notAfter.UTC()}
}

// Directory is a configuration directory as the kubelet lays a projected volume out.
type Directory struct {
	Path string
	n    atomic.Int64
}

// NewDirectory makes an empty directory.
func NewDirectory(t testing.TB) *Directory { return &Directory{Path: t.TempDir()} }

// Write replaces the directory's content in one step.
func (d *Directory) Write(t testing.TB, files map[string]string) {
	t.Helper()
	name := fmt.Sprintf("..data_%d", d.n.Add(1))
	must(t, os.Mkdir(filepath.Join(d.Path, name), 0o755))
	for file, content := range files {
		must(t, os.WriteFile(filepath.Join(d.Path, name, file), []byte(content), 0o600))
		if _, err := os.Lstat(filepath.Join(d.Path, file)); err != nil {
			must(t, os.Symlink(filepath.Join("..data", file), filepath.Join(d.Path, file)))
		}
	}
	must(t, os.Symlink(name, filepath.Join(d.Path, "..data_tmp")))
	must(t, os.Rename(filepath.Join(d.Path, "..data_tmp"), filepath.Join(d.Path, "..data")))
}

// Files are the content of a configuration directory.
func Files(t testing.TB, c gateconfig.Config, certificate, key string) map[string]string {
	t.Helper()
	document, _, err := gateconfig.Seal(c)
	must(t, err)
	return map[string]string{gateconfig.ConfigFile: string(document), gateconfig.CertificateFile: certificate, gateconfig.PrivateKeyFile: key}
}

// Eventually waits until the condition holds, and fails the test when it does not within a minute: the machine may be busy.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(t, err)
	return n.Add(n, big.NewInt(1))
}

func sign(t testing.TB, template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, of.Public(), by)
	must(t, err)
	return der
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// End ends a server whose callers connect again at any time, streams that they hold open among it: Close alone would wait for those
// that came after the others were closed.
func End(server *httptest.Server) {
	_ = server.Listener.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Close()
	}()
	for {
		server.CloseClientConnections()
		select {
		case <-ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

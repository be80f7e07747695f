package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// pair is a certificate that signs itself, as PEM.
func pair(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// TestBridge: what goes through carries the client's credentials and none of the caller's, with the newest key and certificate; what does not
// know the address, or comes from a page in a browser, is refused.
func TestBridge(t *testing.T) {
	serverCertificate, serverKey := pair(t, "pods.tools.svc")
	clientCertificate, clientKey := pair(t, "me")
	served, err := tls.X509KeyPair(serverCertificate, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	gate := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s host=%s authorization=%s key=%s origin=%s certificate=%s body=%s", r.Method, r.URL, r.Host, r.Header.Get("Authorization"),
			r.Header.Get("X-Api-Key"), r.Header.Get("Origin"), r.TLS.PeerCertificates[0].Subject.CommonName, body)
	}))
	gate.TLS = &tls.Config{Certificates: []tls.Certificate{served}, ClientAuth: tls.RequireAnyClientCert}
	gate.StartTLS()
	defer gate.Close()

	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	who := &v1alpha1.MCPClient{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "me"}}
	who.Status.Credentials = []v1alpha1.ClientCredential{{Namespace: "tools", SecretName: "me.tools", CertificateSecretName: "me.tools.tls"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "me.tools"}, Data: map[string][]byte{"api-key": []byte("first"), "ca.crt": serverCertificate}}
	identity := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "me.tools.tls"}, Data: map[string][]byte{"tls.crt": clientCertificate, "tls.key": clientKey}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(who, secret, identity).Build()
	now := time.Now()
	b := &bridge{
		target:      &url.URL{Scheme: "https", Host: "pods.tools.svc", Path: "/mcp"},
		credentials: &credentials{Client: c, who: client.ObjectKeyFromObject(who), servers: "tools", now: func() time.Time { return now }},
		dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", gate.Listener.Addr().String())
		},
		secret: "secret",
	}
	local := httptest.NewServer(nil)
	defer local.Close()
	b.host = local.Listener.Addr().String()
	local.Config.Handler = b.handler()

	ask := func(path string, change func(*http.Request)) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, local.URL+path, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(request)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text)
	}
	const first = "POST /mcp host=pods.tools.svc authorization=Bearer first key= origin= certificate=me body=hello"
	for _, test := range []struct {
		name, path string
		change     func(*http.Request)
		status     int
		text       string
	}{
		{"the way in", "/secret/mcp", nil, 200, first},
		{"with credentials of the caller's", "/secret/mcp", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer mine")
			r.Header.Set("X-Api-Key", "mine")
		}, 200, first},
		{"another secret", "/secret2/mcp", nil, 404, ""},
		{"no secret", "/mcp", nil, 404, ""},
		{"another path", "/secret/admin", nil, 404, ""},
		{"a query", "/secret/mcp?x=y", nil, 404, ""},
		{"a page in a browser", "/secret/mcp", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, ""},
		{"a name that leads here", "/secret/mcp", func(r *http.Request) { r.Host = "evil.example" }, 403, ""},
	} {
		if status, text := ask(test.path, test.change); status != test.status || (test.text != "" && text != test.text) {
			t.Errorf("%s: %d %s", test.name, status, text)
		}
	}

	// A new key and a new certificate are shown when what is known is no longer fresh.
	secret.Data["api-key"] = []byte("second")
	nextCertificate, nextKey := pair(t, "me-again")
	identity.Data = map[string][]byte{"tls.crt": nextCertificate, "tls.key": nextKey}
	for _, o := range []client.Object{secret, identity} {
		if err := c.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if _, text := ask("/secret/mcp", nil); text != first {
		t.Errorf("before: %s", text)
	}
	now = now.Add(fresh)
	if _, text := ask("/secret/mcp", nil); !strings.Contains(text, "Bearer second") || !strings.Contains(text, "certificate=me-again") {
		t.Errorf("after: %s", text)
	}

	// Without the Secret the answer names it, and what it was is not used any more.
	now = now.Add(fresh)
	if err := c.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if status, text := ask("/secret/mcp", nil); status != http.StatusBadGateway || !strings.Contains(text, "me.tools") {
		t.Errorf("without the Secret: %d %s", status, text)
	}
}

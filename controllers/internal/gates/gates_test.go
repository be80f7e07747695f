package gates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-dev/bartizan/internal/clientid"
)

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a authority) issue(t *testing.T, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(2)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a authority) serving(t *testing.T, name string) *tls.Certificate {
	return a.issue(t, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a authority) operator(t *testing.T) *tls.Certificate {
	identity, err := url.Parse(clientid.Operator)
	if err != nil {
		t.Fatal(err)
	}
	return a.issue(t, &x509.Certificate{URIs: []*url.URL{identity}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func gateServer(t *testing.T, certificate *tls.Certificate, clients authority, handler http.HandlerFunc, watch ...func(net.Conn, http.ConnState)) (address string, port int) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(clients.certificate)
	server := httptest.NewUnstartedServer(handler)
	for _, w := range watch {
		server.Config.ConnState = w
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	tcp := server.Listener.Addr().(*net.TCPAddr)
	return tcp.IP.String(), tcp.Port
}

func TestRead(t *testing.T) {
	serving, system, other := newAuthority(t), newAuthority(t), newAuthority(t)
	const name = "weather.team-a.svc"
	good := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"generation":"g1","upstreamReady":true}`)
	}
	for _, test := range []struct {
		name       string
		serving    *tls.Certificate
		client     *tls.Certificate
		serverName string
		handler    http.HandlerFunc
		want       string // part of the error; empty: success
	}{
		{name: "a gate answers", serving: serving.serving(t, name), client: system.operator(t), serverName: name, handler: good},
		{name: "a certificate of another authority", serving: other.serving(t, name), client: system.operator(t), serverName: name, handler: good, want: "unknown authority"},
		{name: "a certificate of another server", serving: serving.serving(t, "other.team-a.svc"), client: system.operator(t), serverName: name, handler: good, want: "other.team-a.svc"},
		{name: "the gate does not know the operator", serving: serving.serving(t, name), client: other.operator(t), serverName: name, handler: good, want: "certificate"},
		{name: "a redirect", serving: serving.serving(t, name), client: system.operator(t), serverName: name, want: "do not redirect",
			handler: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		{name: "a refusal", serving: serving.serving(t, name), client: system.operator(t), serverName: name, want: "status 403",
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
		{name: "no status", serving: serving.serving(t, name), client: system.operator(t), serverName: name, want: "not what it was asked for",
			handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }},
		{name: "an answer without end", serving: serving.serving(t, name), client: system.operator(t), serverName: name, want: "not what it was asked for",
			handler: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, `{"version":"`)
				chunk := strings.Repeat("x", 1<<16)
				for range 64 {
					if _, err := io.WriteString(w, chunk); err != nil {
						return
					}
				}
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, port := gateServer(t, test.serving, system, test.handler)
			client := New(func(context.Context) (*tls.Certificate, error) { return test.client, nil })
			client.port = port
			answer := client.Read(t.Context(), []Gate{{Address: address, ServerName: test.serverName, Roots: serving.pem}})[0]
			if test.want == "" {
				if answer.Err != nil || answer.Status.Generation != "g1" {
					t.Fatalf("got %+v", answer)
				}
				return
			}
			if answer.Err == nil || !strings.Contains(answer.Err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", answer.Err, test.want)
			}
		})
	}
}

func TestReadIsBoundedInTime(t *testing.T) {
	serving, system := newAuthority(t), newAuthority(t)
	release := make(chan struct{})
	address, port := gateServer(t, serving.serving(t, "*.a.b.svc"), system, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	client := New(func(context.Context) (*tls.Certificate, error) { return system.operator(t), nil })
	client.port = port
	gates := make([]Gate, 3*concurrency)
	for i := range gates {
		gates[i] = Gate{Address: address, ServerName: fmt.Sprintf("%d.a.b.svc", i), Roots: serving.pem}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	began := time.Now()
	for _, answer := range client.Read(ctx, gates) {
		if answer.Err == nil {
			t.Fatal("a silent gate answered")
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Fatalf("took %s", took)
	}
}

func TestReadWithoutCredentials(t *testing.T) {
	client := New(func(context.Context) (*tls.Certificate, error) { return nil, errors.New("not there yet") })
	answers := client.Read(t.Context(), make([]Gate, 2))
	if len(answers) != 2 || answers[0].Err == nil || answers[1].Err == nil {
		t.Fatalf("got %+v", answers)
	}
}

package issuers_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
)

const keySet = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// provider is an issuer on loopback.
func provider(t *testing.T, handler http.HandlerFunc) (*httptest.Server, manifests.KeySource) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return server, manifests.KeySource{Type: v1alpha1.TokenIssuerOIDC, Issuer: server.URL, CABundle: bundle}
}

// discovered answers as an issuer does whose keys are at /keys.
func discovered(self func() string, keys http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, self(), self()+"/keys")
		case "/keys":
			keys(w, r)
		default:
			http.NotFound(w, r)
		}
	}
}

func text(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(content)) }
}

func TestFetch(t *testing.T) {
	t.Parallel()
	var self string
	server, from := provider(t, discovered(func() string { return self }, text(keySet)))
	self = server.URL
	network := &issuers.Network{Allowed: loopback}
	got, err := network.Fetch(t.Context(), from)
	if err != nil || got.Issuer != self || len(got.Keys) != 1 || got.Keys[0].ID != "one" {
		t.Errorf("%+v, %v", got, err)
	}
	from.JWKSURI = self + "/keys"
	if got, err = network.Fetch(t.Context(), from); err != nil || len(got.Keys) != 1 {
		t.Errorf("by jwksURI: %+v, %v", got, err)
	}
	// RFC 8414: the well-known path stands before the issuer's own.
	server, from = provider(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server/realm":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, self+"/realm", self+"/keys")
		case "/keys":
			text(keySet)(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	self = server.URL
	from.Issuer = self + "/realm"
	if got, err = network.Fetch(t.Context(), from); err != nil || len(got.Keys) != 1 {
		t.Errorf("by RFC 8414: %+v, %v", got, err)
	}
}

// TestFetchRefuses: whatever an issuer answers, what is told says which field and what to do, and nothing that it sent.
func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	const marker = "s3cret-of-the-network"
	for name, test := range map[string]struct {
		handler       func(self func() string) http.HandlerFunc
		change        func(*manifests.KeySource, *issuers.Network)
		reason, field string
	}{
		"status 500": {func(func() string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, marker, http.StatusInternalServerError) }
		}, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"not found": {func(func() string) http.HandlerFunc { return http.NotFound }, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"garbage":   {func(func() string) http.HandlerFunc { return text("<html>" + marker) }, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"another issuer": {func(self func() string) http.HandlerFunc {
			return discovered(func() string { return self() + "/" }, text(keySet))
		}, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"keys by http": {func(self func() string) http.HandlerFunc {
			return text(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://127.0.0.1/%s"}`, self(), marker))
		}, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"keys in a file": {func(self func() string) http.HandlerFunc {
			return text(fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/%s"}`, self(), marker))
		}, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"garbage for keys": {func(self func() string) http.HandlerFunc { return discovered(self, text(`{"keys":"`+marker+`"}`)) }, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"no keys":          {func(self func() string) http.HandlerFunc { return discovered(self, text(`{"keys":[]}`)) }, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"too large": {func(self func() string) http.HandlerFunc {
			return discovered(self, text(`{"keys":[],"x":"`+strings.Repeat("a", 1<<20)+`"}`))
		}, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"a redirect": {func(self func() string) http.HandlerFunc {
			return discovered(self, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, self()+"/.well-known/openid-configuration", http.StatusFound)
			})
		}, nil, issuers.ReasonAnswer, "oidc.issuer"},
		"broken off": {func(self func() string) http.HandlerFunc {
			return discovered(self, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte(keySet))
			})
		}, nil, issuers.ReasonUnreachable, "oidc.issuer"},
		"at loopback": {func(self func() string) http.HandlerFunc { return discovered(self, text(keySet)) }, func(_ *manifests.KeySource, n *issuers.Network) {
			n.Allowed = nil
		}, issuers.ReasonRefused, "oidc.issuer"},
		"keys at loopback": {func(self func() string) http.HandlerFunc { return discovered(self, text(keySet)) }, func(s *manifests.KeySource, n *issuers.Network) {
			s.JWKSURI, n.Allowed = s.Issuer+"/keys", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, issuers.ReasonRefused, "oidc.jwksURI"},
		"at loopback by name": {func(self func() string) http.HandlerFunc { return discovered(self, text(keySet)) }, func(s *manifests.KeySource, n *issuers.Network) {
			s.Issuer, n.Allowed = strings.Replace(s.Issuer, "127.0.0.1", "localhost", 1), nil
		}, issuers.ReasonRefused, "oidc.issuer"},
		"another authority": {func(self func() string) http.HandlerFunc { return discovered(self, text(keySet)) }, func(s *manifests.KeySource, _ *issuers.Network) {
			s.CABundle = ""
		}, issuers.ReasonUntrusted, "oidc.caBundle"},
		"authorities that are none": {func(self func() string) http.HandlerFunc { return discovered(self, text(keySet)) }, func(s *manifests.KeySource, _ *issuers.Network) {
			s.CABundle = marker
		}, issuers.ReasonUntrusted, "oidc.caBundle"},
		"another host": {func(self func() string) http.HandlerFunc { return discovered(self, text(keySet)) }, func(s *manifests.KeySource, _ *issuers.Network) {
			s.Issuer = strings.Replace(s.Issuer, "127.0.0.1", "localhost", 1)
		}, issuers.ReasonUntrusted, "oidc.issuer"},
		"nobody there": {func(func() string) http.HandlerFunc { return http.NotFound }, func(s *manifests.KeySource, _ *issuers.Network) {
			s.Issuer = "https://127.0.0.1:" + closedPort(t)
		}, issuers.ReasonUnreachable, "oidc.issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var self string
			server, from := provider(t, func(w http.ResponseWriter, r *http.Request) {
				test.handler(func() string { return self })(w, r)
			})
			self = server.URL
			server.Config.ErrorLog = quiet
			network := &issuers.Network{Allowed: loopback}
			if test.change != nil {
				test.change(&from, network)
			}
			keys, err := network.Fetch(t.Context(), from)
			var problem *issuers.Problem
			if !errors.As(err, &problem) || problem.Reason != test.reason || problem.Field != test.field || keys.Keys != nil {
				t.Fatalf("%v, %+v; want %s, %s", err, keys, test.reason, test.field)
			}
			if strings.Contains(err.Error(), marker) || len(err.Error()) > 700 {
				t.Errorf("it says too much: %v", err)
			}
		})
	}
}

// TestFetchDoesNotWait: an issuer that never ends its answer is given up when the operator ends.
func TestFetchDoesNotWait(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{})
	_, from := provider(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		close(waiting)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waiting; cancel() }()
	var problem *issuers.Problem
	if _, err := (&issuers.Network{Allowed: loopback}).Fetch(ctx, from); !errors.As(err, &problem) || problem.Reason != issuers.ReasonUnreachable {
		t.Error(err)
	}
}

// TestOnlyTLS: an issuer that speaks HTTP on its port is told apart from one that is down.
func TestOnlyTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	from := manifests.KeySource{Type: v1alpha1.TokenIssuerOIDC, Issuer: strings.Replace(server.URL, "http:", "https:", 1)}
	var problem *issuers.Problem
	if _, err := (&issuers.Network{Allowed: loopback}).Fetch(t.Context(), from); !errors.As(err, &problem) || problem.Reason != issuers.ReasonUntrusted {
		t.Error(err)
	}
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.Config.ErrorLog = quiet
	old.StartTLS()
	defer old.Close()
	from.Issuer = old.URL
	if _, err := (&issuers.Network{Allowed: loopback}).Fetch(t.Context(), from); !errors.As(err, &problem) || problem.Reason != issuers.ReasonUntrusted {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	network := &issuers.Network{Allowed: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00::/8")},
		Cluster: []netip.Prefix{netip.MustParsePrefix("2a00:1::/32")}}
	strict := &issuers.Network{Cluster: []netip.Prefix{netip.MustParsePrefix("8.8.0.0/16"), netip.MustParsePrefix("2a00:1::/32")}}
	for _, test := range []struct {
		address       string
		strict, named bool
	}{
		{"1.1.1.1", true, true}, {"2606:4700::1", true, true}, {"::ffff:1.1.1.1", true, true},
		{"8.8.8.8", false, true}, {"2a00:1::1", false, false}, // the cluster's own
		{"127.0.0.1", false, true}, {"10.96.0.1", false, true}, {"192.168.0.1", false, true}, {"172.16.0.1", false, true}, {"100.100.100.200", false, true}, {"::ffff:10.0.0.1", false, true},
		{"fd12::1", false, true}, {"fd00:ec2::254", false, true}, {"fe80::1", false, false}, {"fe80::1%eth0", false, false}, {"::1", false, false}, {"::", false, false}, {"ff02::1", false, false},
		{"64:ff9b::a00:1", false, false}, {"2002:a00:1::", false, false}, {"2001::1", false, false}, {"fec0::1", false, false},
		// Never, whatever the administrator names: where clouds keep their metadata.
		{"169.254.169.254", false, false}, {"::ffff:169.254.169.254", false, false}, {"169.254.0.1", false, false}, {"0.0.0.0", false, false}, {"224.0.0.1", false, false},
	} {
		address := netip.MustParseAddr(test.address)
		if got := strict.MayDial(address); got != test.strict {
			t.Errorf("%s: %t", address, got)
		}
		if got := network.MayDial(address); got != test.named {
			t.Errorf("%s, in a named network: %t", address, got)
		}
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/mcpclient"
)

// bridge leads from a local port to a gate.
type bridge struct {
	// target is the server's URL, which the gate expects as the host.
	target      *url.URL
	credentials *credentials
	// dial reaches a gate; nil: the target's address.
	dial func(ctx context.Context) (net.Conn, error)
	// secret is the random first segment of the path, host the local address.
	secret, host string
}

// handler takes what comes from this machine and knows the secret. A page in a browser cannot: it does not know the path, and shows an Origin.
func (b *bridge) handler() http.Handler {
	transport := &http.Transport{
		DialTLSContext:        b.dialTLS,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: 0,
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL = b.target
			r.Out.Host = b.target.Host
			r.Out.Header.Del("Origin")
			r.Out.Header.Del("X-Api-Key")
			r.Out.Header.Del("Authorization")
			if key := r.In.Context().Value(apiKey{}); key != "" {
				r.Out.Header.Set("Authorization", "Bearer "+key.(string))
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "kubectl mcp: the gate cannot be reached: "+err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		_, port, _ := net.SplitHostPort(b.host)
		switch {
		case r.Host != b.host && r.Host != "localhost:"+port, r.Header.Get("Origin") != "":
			http.Error(w, "kubectl mcp: not for browsers, and only as "+b.host, http.StatusForbidden)
		case subtle.ConstantTimeCompare([]byte(first), []byte(b.secret)) != 1, "/"+rest != b.target.Path, r.URL.RawQuery != "":
			http.NotFound(w, r)
		default:
			now, err := b.credentials.get(r.Context())
			if err != nil {
				http.Error(w, "kubectl mcp: "+err.Error(), http.StatusBadGateway)
				return
			}
			if now.changed {
				transport.CloseIdleConnections() // they show the last certificate
			}
			proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), apiKey{}, now.key)))
		}
	})
}

// apiKey is the key of a context value: the API key of a request.
type apiKey struct{}

func (b *bridge) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	now, err := b.credentials.get(ctx)
	if err != nil {
		return nil, err
	}
	var plain net.Conn
	if b.dial != nil {
		plain, err = b.dial(ctx)
	} else {
		plain, err = (&net.Dialer{}).DialContext(ctx, network, address)
	}
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: b.target.Hostname(), RootCAs: now.roots, NextProtos: []string{"http/1.1"}}
	if now.certificate != nil {
		config.Certificates = []tls.Certificate{*now.certificate}
	}
	connection := tls.Client(plain, config)
	if err := connection.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, err
	}
	return connection, nil
}

// credentials are what the Secrets of a client hold, read again when they are older than fresh.
type credentials struct {
	client.Client
	who client.ObjectKey
	// servers is the namespace of the servers that they are for.
	servers string
	now     func() time.Time

	mutex sync.Mutex
	last  shown
	read  time.Time
}

const fresh = 30 * time.Second

// shown is what a client shows, and what it trusts.
type shown struct {
	key         string
	certificate *tls.Certificate
	roots       *x509.CertPool
	pem         string
	// changed says that it is not what was shown before.
	changed bool
}

func (c *credentials) get(ctx context.Context) (shown, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !c.read.IsZero() && c.now().Sub(c.read) < fresh {
		same := c.last
		same.changed = false
		return same, nil
	}
	next, err := c.fetch(ctx)
	if err != nil {
		return shown{}, err
	}
	next.changed = next.pem != c.last.pem
	c.last, c.read = next, c.now()
	return next, nil
}

func (c *credentials) fetch(ctx context.Context) (shown, error) {
	who := &v1alpha1.MCPClient{}
	if err := c.Get(ctx, c.who, who); err != nil {
		return shown{}, explain(err, "mcpclient", c.who.Namespace, c.who.Name)
	}
	for _, credential := range who.Status.Credentials {
		if credential.Namespace == c.servers && credential.SecretName != "" {
			return c.secrets(ctx, credential)
		}
	}
	return shown{}, fmt.Errorf("MCPClient %s has no credentials for the servers of namespace %s: it must name the server in spec.servers, and an MCPAccessPolicy there must name it", c.who, c.servers)
}

func (c *credentials) secrets(ctx context.Context, credential v1alpha1.ClientCredential) (shown, error) {
	secret := &corev1.Secret{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.who.Namespace, Name: credential.SecretName}, secret); err != nil {
		return shown{}, explain(err, "secret", c.who.Namespace, credential.SecretName)
	}
	s := shown{key: string(secret.Data[mcpclient.DataAPIKey]), roots: x509.NewCertPool()}
	if !s.roots.AppendCertsFromPEM(secret.Data[mcpclient.DataCABundle]) {
		return shown{}, fmt.Errorf("secret %s/%s has no certificate in %s", c.who.Namespace, credential.SecretName, mcpclient.DataCABundle)
	}
	s.pem = string(secret.Data[mcpclient.DataCABundle])
	if credential.CertificateSecretName == "" {
		return s, nil
	}
	pair := &corev1.Secret{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.who.Namespace, Name: credential.CertificateSecretName}, pair); err != nil {
		return shown{}, explain(err, "secret", c.who.Namespace, credential.CertificateSecretName)
	}
	certificate, err := tls.X509KeyPair(pair.Data[corev1.TLSCertKey], pair.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return shown{}, fmt.Errorf("secret %s/%s holds no certificate with its key", c.who.Namespace, credential.CertificateSecretName)
	}
	s.certificate = &certificate
	s.pem += string(pair.Data[corev1.TLSCertKey])
	return s, nil
}

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"
)

// credentials are what the files hold.
type credentials struct {
	key  string
	pair *tls.Certificate
	// roots are nil for the system's.
	roots *x509.CertPool
}

const (
	// torn is how often a pair is read again that does not fit together: the kubelet replaces both files at once, but not
	// between two reads of ours.
	torn      = 5
	tornPause = 20 * time.Millisecond
)

func (s settings) read() (credentials, error) {
	var c credentials
	if s.caFile != "" {
		bundle, err := os.ReadFile(s.caFile)
		if err != nil {
			return c, err
		}
		c.roots = x509.NewCertPool()
		if !c.roots.AppendCertsFromPEM(bundle) {
			return c, fmt.Errorf("%s: no certificate in it", s.caFile)
		}
	}
	if s.certFile != "" {
		for attempt := 1; c.pair == nil; attempt++ {
			pair, err := tls.LoadX509KeyPair(s.certFile, s.certKeyFile)
			switch {
			case err == nil:
				c.pair = &pair
			case attempt == torn:
				return c, err
			default:
				time.Sleep(tornPause)
			}
		}
	}
	if s.keyFile != "" {
		key, err := os.ReadFile(s.keyFile)
		if err != nil {
			return c, err
		}
		c.key = strings.TrimSpace(string(key))
	}
	return c, nil
}

func (c credentials) tls(serverName string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: serverName, RootCAs: c.roots, NextProtos: []string{"h2", "http/1.1"}}
	if c.pair != nil {
		// Always shown, also where its authority is not among those that the server names: the refusal is what is tested.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.pair, nil }
	}
	return config
}

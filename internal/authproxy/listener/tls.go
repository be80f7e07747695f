// Package listener takes connections and requests in: TLS, bounds on slow and large callers, and the checks of the
// request line and headers that come before any other stage.
package listener

import (
	"crypto/tls"
	"errors"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

var errNoConfiguration = errors.New("no configuration is in force")

// TLS returns the configuration for callers' connections. Each handshake takes the certificate in force. There are no
// session tickets, so a connection never begins with what an earlier generation verified.
//
// A client certificate is only asked for: the handshake proves that the client holds its key, and each request says
// whether it is demanded and trusted. So a caller without one gets an answer that says what is missing.
func TLS(store *config.Store) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g, _ := store.Current()
		if g == nil {
			return nil, errNoConfiguration
		}
		c := base.Clone()
		c.GetConfigForClient = nil
		c.Certificates = []tls.Certificate{g.Certificate}
		if g.Authentication.ClientCertificates != gateconfig.Disabled {
			c.ClientAuth = tls.RequestClientCert
		}
		return c, nil
	}
	return base
}

package identity

import (
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/config"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// maxChain bounds the certificates that a client may present, its own included: each one is work.
const maxChain = 4

// verified is a certificate that passed, and the bounds within which that stays so.
type verified struct {
	generation          *config.Generation
	client              gateconfig.Object
	name, serial        string
	notBefore, notAfter time.Time
}

type connectionKey struct{}

// connection is what is remembered of one.
type connection struct {
	certificate atomic.Pointer[verified]
	// failed says that a token on it was refused.
	failed atomic.Bool
}

// WithConnection gives a connection's context a place to remember its verified certificate, so that a signature is
// checked once for a connection and a generation and not for each request, and whether a token was refused on it. For
// http.Server.ConnContext.
func WithConnection(ctx context.Context) context.Context {
	return context.WithValue(ctx, connectionKey{}, new(connection))
}

// on returns the request's connection; a request without one has one of its own.
func on(r *http.Request) *connection {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		return c
	}
	return new(connection)
}

// verifyCertificate is for a request with a client certificate. The handshake has proved that the client has its key.
func verifyCertificate(r *http.Request, g *config.Generation, now time.Time) (*verified, Failure) {
	memory := &on(r).certificate
	if v := memory.Load(); v != nil && v.generation == g && !now.Before(v.notBefore) && now.Before(v.notAfter) {
		return v, ""
	}
	v, failure := verify(r.TLS.PeerCertificates, g, now)
	if failure != "" {
		return nil, failure
	}
	memory.Store(v)
	return v, ""
}

// claim returns the client that a URI names, and who alone can vouch for it: the authority of the client's namespace, so
// that one namespace cannot vouch for another's, and the system's for the operator.
func claim(uri string, g *config.Generation) (gateconfig.Object, *x509.CertPool, Failure) {
	if uri == clientid.Operator {
		if g.StatusAuthority() == nil {
			return gateconfig.Object{}, nil, ClientUnknown
		}
		return gateconfig.Operator, g.StatusAuthority(), ""
	}
	claimed, err := clientid.Parse(uri)
	if err != nil {
		return gateconfig.Object{}, nil, CertificateInvalid
	}
	if claimed.Servers != g.Server.Namespace {
		return gateconfig.Object{}, nil, CertificateOfOther
	}
	roots := g.Authority(claimed.Namespace)
	if roots == nil {
		return gateconfig.Object{}, nil, ClientUnknown
	}
	return gateconfig.Object{Namespace: claimed.Namespace, Name: claimed.Name}, roots, ""
}

func verify(presented []*x509.Certificate, g *config.Generation, now time.Time) (*verified, Failure) {
	leaf := presented[0]
	if len(presented) > maxChain || leaf.IsCA || len(leaf.URIs) != 1 ||
		len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 ||
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return nil, CertificateInvalid
	}
	client, roots, failure := claim(leaf.URIs[0].String(), g)
	if failure != "" {
		return nil, failure
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range presented[1:] {
		intermediates.AddCert(certificate)
	}
	at := config.JudgedAt(leaf, now)
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil || len(chains) == 0 {
		if !at.Before(leaf.NotAfter) || at.Before(leaf.NotBefore) {
			return nil, CertificateNotInTime
		}
		return nil, CertificateInvalid
	}
	v := &verified{
		generation: g,
		client:     client,
		name:       Principal{Client: client}.ClientName(),
		serial:     leaf.SerialNumber.Text(16),
		notBefore:  leaf.NotBefore.Add(-config.Skew),
		notAfter:   leaf.NotAfter,
	}
	switch {
	case client == gateconfig.Operator:
	case !g.Has(v.client):
		return nil, ClientUnknown
	case !g.TakesCertificates(v.client):
		return nil, CertificateNotAccepted
	}
	for _, certificate := range chains[0] {
		if begins := certificate.NotBefore.Add(-config.Skew); begins.After(v.notBefore) {
			v.notBefore = begins
		}
		if certificate.NotAfter.Before(v.notAfter) {
			v.notAfter = certificate.NotAfter
		}
	}
	return v, ""
}

// maxNotice bounds how long before the end of a certificate its connections are closed.
const maxNotice = time.Hour

// ConnectionSpent says whether the next request had better come on another connection, which shows its certificate anew: the
// one that this connection began with is not accepted, is missing, or ends soon. A client that keeps a connection would
// otherwise be refused on it although it has had a new certificate for long.
func ConnectionSpent(r *http.Request, failure Failure, now time.Time) bool {
	switch failure {
	case CertificateRequired, CertificateInvalid, CertificateNotInTime, CertificateOfOther, ClientUnknown:
		return true
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	leaf := r.TLS.PeerCertificates[0]
	notice := min(leaf.NotAfter.Sub(leaf.NotBefore)/8, maxNotice)
	return !now.Before(leaf.NotAfter.Add(-notice))
}

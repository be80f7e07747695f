package issuers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/jwks"
)

// timeout bounds a fetch, with all of its requests.
const timeout = 15 * time.Second

// Problem is why the keys of an issuer cannot be fetched. It repeats nothing that an issuer sent.
type Problem struct {
	// Reason is a CamelCase word for a condition.
	Reason string
	// Field is the field of the token issuer's spec that is concerned.
	Field string
	// Text says what is wrong and the way out.
	Text string
}

// Error implements error.
func (p *Problem) Error() string { return p.Field + ": " + p.Text }

// The reasons of Problems.
const (
	ReasonUnreachable = "IssuerUnreachable"
	ReasonRefused     = "IssuerAddressRefused"
	ReasonUntrusted   = "IssuerUntrusted"
	ReasonAnswer      = "IssuerAnswerInvalid"
)

// Fetcher fetches the keys of a source. Its errors are Problems.
type Fetcher interface {
	Fetch(ctx context.Context, from manifests.KeySource) (manifests.IssuerKeys, error)
}

// Network is the Fetcher that asks issuers. Who writes MCPServers chooses what it asks, so it dials public addresses only,
// and those private ones that the administrator names: the address that is dialled decides, not the name.
type Network struct {
	// Allowed are private address ranges in which issuers may be.
	Allowed []netip.Prefix
	// Cluster are public addresses that belong to the cluster: they count as private.
	Cluster []netip.Prefix
	// Kubernetes asks the API server; nil where there is none.
	Kubernetes rest.Interface
}

// Fetch implements Fetcher.
func (n *Network) Fetch(ctx context.Context, from manifests.KeySource) (manifests.IssuerKeys, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if from.Type == v1alpha1.TokenIssuerKubernetes {
		return n.kubernetes(ctx)
	}
	client, err := n.client(from)
	if err != nil {
		return manifests.IssuerKeys{}, err
	}
	defer client.CloseIdleConnections()
	uri, field := from.JWKSURI, "oidc.jwksURI"
	if uri == "" {
		field = "oidc.issuer"
		if uri, err = discover(ctx, client, from.Issuer); err != nil {
			return manifests.IssuerKeys{}, err
		}
	}
	document, err := get(ctx, client, uri, field)
	if err != nil {
		return manifests.IssuerKeys{}, err
	}
	keys, err := jwks.Parse(document)
	if err != nil {
		return manifests.IssuerKeys{}, &Problem{ReasonAnswer, field, fmt.Sprintf("the key set at %s cannot be used: %v", uri, err)}
	}
	return manifests.IssuerKeys{Issuer: from.Issuer, Keys: keys}, nil
}

// discover finds the address of the keys in the discovery document of OpenID Connect, or else in that of RFC 8414.
func discover(ctx context.Context, client *http.Client, issuer string) (string, error) {
	const field = "oidc.issuer"
	openID := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	document, err := get(ctx, client, openID, field)
	if status := (*statusError)(nil); errors.As(err, &status) && status.code == http.StatusNotFound {
		if u, parseErr := url.Parse(issuer); parseErr == nil {
			u.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
			document, err = get(ctx, client, u.String(), field)
		}
	}
	if err != nil {
		return "", err
	}
	found, err := jwks.ParseDiscovery(document)
	switch {
	case err != nil:
		return "", &Problem{ReasonAnswer, field, fmt.Sprintf("the discovery document of %s cannot be used: %v; set oidc.jwksURI if the issuer has none", issuer, err)}
	case found.Issuer != issuer:
		return "", &Problem{ReasonAnswer, field, fmt.Sprintf("the discovery document at %s is another issuer's; write the issuer exactly as the provider does, down to the last slash", openID)}
	}
	return found.JWKSURI, nil
}

// client makes an HTTP client for one fetch: no proxy, no redirect, no connection that is used again.
func (n *Network) client(from manifests.KeySource) (*http.Client, error) {
	var roots *x509.CertPool
	if from.CABundle != "" {
		var err error
		if roots, err = gateconfig.Pool(from.CABundle); err != nil {
			return nil, &Problem{ReasonUntrusted, "oidc.caBundle", err.Error()}
		}
	}
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !n.MayDial(at.Addr()) {
			return errAddress
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    timeout,
			DisableKeepAlives:      true,
			DisableCompression:     true, // a small answer must not become a large one
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}, nil
}

var (
	errAddress  = errors.New("an address that may not be dialled")
	errRedirect = errors.New("a redirect")
)

// MayDial says whether an address is one that an issuer may have. Link-local addresses, where clouds keep their metadata,
// are never one.
func (n *Network) MayDial(address netip.Addr) bool {
	address = address.Unmap()
	if !address.IsValid() || address.IsUnspecified() || address.IsMulticast() || address.IsLinkLocalUnicast() || address.Zone() != "" {
		return false
	}
	if slices.ContainsFunc(n.Allowed, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return true
	}
	return manifests.Internet(address, n.Cluster)
}

// statusError is an answer with a status other than 200.
type statusError struct {
	code int
	*Problem
}

func (e *statusError) Unwrap() error { return e.Problem }

func get(ctx context.Context, client *http.Client, uri, field string) ([]byte, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(uri) > 2048 {
		return nil, &Problem{ReasonAnswer, field, "the address of the keys in the discovery document is not an https URL"}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &Problem{ReasonAnswer, field, "it is not an address that can be asked"}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "bartizan")
	response, err := client.Do(request)
	if err != nil {
		return nil, explain(err, uri, field)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{response.StatusCode, &Problem{ReasonAnswer, field, fmt.Sprintf("%s answers with HTTP status %d; it must be 200", uri, response.StatusCode)}}
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, jwks.MaxDocument+1))
	switch {
	case err != nil:
		return nil, explain(err, uri, field)
	case len(document) > jwks.MaxDocument:
		return nil, &Problem{ReasonAnswer, field, fmt.Sprintf("the document at %s is larger than %d bytes", uri, jwks.MaxDocument)}
	}
	return document, nil
}

// explain says in our words why an issuer could not be asked. What the network says may name addresses that are nobody's
// business.
func explain(err error, uri, field string) *Problem {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var dns *net.DNSError
	switch {
	case errors.Is(err, errAddress):
		return &Problem{ReasonRefused, field, fmt.Sprintf("%s is at a private address, which the operator does not dial; ask its administrator to name the network in --issuer-networks", uri)}
	case errors.Is(err, errRedirect):
		return &Problem{ReasonAnswer, field, uri + " redirects, which is not followed; write the address that it leads to"}
	case errors.As(err, &unknown):
		return &Problem{ReasonUntrusted, "oidc.caBundle", fmt.Sprintf("the certificate of %s is from an authority that is not trusted; put the authority's certificate into oidc.caBundle", uri)}
	case errors.As(err, &invalid), errors.As(err, &host):
		return &Problem{ReasonUntrusted, field, fmt.Sprintf("the certificate of %s is not valid for it: it has expired or names another host", uri)}
	case strings.Contains(err.Error(), " tls: "), strings.Contains(err.Error(), "HTTP response to HTTPS client"): // of no type of their own
		return &Problem{ReasonUntrusted, field, fmt.Sprintf("%s does not speak TLS 1.2 or 1.3", uri)}
	case errors.As(err, &dns):
		return &Problem{ReasonUnreachable, field, fmt.Sprintf("the host name of %s cannot be resolved", uri)}
	}
	return &Problem{ReasonUnreachable, field, fmt.Sprintf("%s does not answer, or not in full, within %s; see whether it is up, and whether a network policy keeps the operator from it", uri, timeout)}
}

// kubernetes asks the API server that the operator talks to, whatever address its discovery document has for the keys.
func (n *Network) kubernetes(ctx context.Context) (manifests.IssuerKeys, error) {
	const field = "kubernetes"
	problem := func(what string, err error) error {
		return &Problem{ReasonUnreachable, field, fmt.Sprintf("the API server does not give %s (%s); the operator needs the ClusterRole token-issuer-role of config/rbac/operator", what, statusOf(err))}
	}
	if n.Kubernetes == nil {
		return manifests.IssuerKeys{}, problem("anything", nil)
	}
	document, err := n.Kubernetes.Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return manifests.IssuerKeys{}, problem("its discovery document", err)
	}
	found, err := jwks.ParseDiscovery(document)
	if err != nil {
		return manifests.IssuerKeys{}, &Problem{ReasonAnswer, field, fmt.Sprintf("the discovery document of the API server cannot be used: %v", err)}
	}
	if document, err = n.Kubernetes.Get().AbsPath("/openid/v1/jwks").DoRaw(ctx); err != nil {
		return manifests.IssuerKeys{}, problem("its key set", err)
	}
	keys, err := jwks.Parse(document)
	if err != nil {
		return manifests.IssuerKeys{}, &Problem{ReasonAnswer, field, fmt.Sprintf("the key set of the API server cannot be used: %v", err)}
	}
	return manifests.IssuerKeys{Issuer: found.Issuer, Keys: keys}, nil
}

// statusOf is what the API server said, in a word.
func statusOf(err error) string {
	if reason := apierrors.ReasonForError(err); reason != "" {
		return string(reason)
	}
	return "no answer"
}

// Package probe attacks one gate as a client would, and says which attacks failed.
//
// Probes are harmless by construction: the methods, tools, prompts and resources that they name are random and exist
// nowhere, and where the attack is on authentication or on the reading of a message, what it carries is a method that no
// gate passes on even to who may do everything. A refusal counts only beside a positive control: the gate of the same
// address, asked from the same place, answered as it should.
package probe

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// Target is one gate, and what it is attacked with.
type Target struct {
	// Pod names it in results.
	Pod string
	// Address is the pod's IP, GatePort the gate's port there and ServerPort the server's; 0 for a server that has none.
	Address              string
	GatePort, ServerPort int
	// ServerName is the name that the certificate must carry, Host the Host header that is served, Path the MCP endpoint.
	ServerName, Host, Path string
	// Roots vouch for the certificate; nil: those of the system.
	Roots *x509.CertPool
	// Revision is the revision of MCP to speak.
	Revision string
	// Identity is a certificate that the gate accepts and that may do nothing; nil where the gate asks for no certificate.
	Identity *tls.Certificate
	// Keys are API keys of the operator's, which may do nothing either; nil for a gate that takes none.
	Keys *Keys
	// Signers sign tokens of the operator's, which give nothing either; nil for a gate that takes no tokens.
	Signers *Signers
	// Token are tokens of an issuer whose tokens the gate takes; nil where the operator can have none.
	Token *Token
	// Issuers are those whose tokens the gate takes, with their public keys.
	Issuers []gateconfig.TokenIssuer
	// Demanded: the gate demands a certificate, whatever else is shown.
	Demanded bool
	// Forged are certificates that no gate may accept.
	Forged []Forged
	// Resource is what the gate must say of itself to who asks how to get a token; nil where no issuer's tokens are taken.
	Resource *Resource
	// Quick leaves out all but what is cheap and tells most: whether the gate is there, lets nobody in without a credential, speaks
	// no plain HTTP, and shows a good certificate.
	Quick bool
	// Mark is the trace id that every request carries, 32 hex digits: the audit log has it.
	Mark string
	// Timeout bounds each attempt. A connection that does not come about within it is one that something prevents.
	Timeout time.Duration
}

// Keys are API keys of the operator's at one server, which rotate as those of clients do.
type Keys struct {
	// Present is the one that gates accept.
	Present keys.Key
	// Retired is one that they accepted once; empty while none was retired.
	Retired keys.Key
}

// Forged is a certificate that no gate may accept.
type Forged struct {
	// Name says what is wrong with it, such as "expired certificate".
	Name        string
	Certificate *tls.Certificate
}

// Resource is a protected resource as RFC 9728 describes it.
type Resource struct {
	// URL is its identifier, the URL that clients are told to call.
	URL string
	// Issuers are the authorization servers whose tokens are taken.
	Issuers []string
}

// Run attacks the target, with everything unless it is to be quick.
func Run(ctx context.Context, t Target) []posture.Probe {
	r := &run{Target: t, nonce: nonce(), clients: map[*tls.Certificate]*client{}}
	defer r.close()
	if t.Signers != nil {
		r.good = r.own(t.Signers.Present, nil, nil)
	}
	if why := r.control(ctx); why != "" {
		r.add("positive control", "", posture.Inconclusive, why)
		// Somebody else may be there. What holds without a gate holds nothing.
		r.transport(ctx)
		for i := range r.results {
			if r.results[i].Outcome == posture.Held {
				r.results[i].Outcome, r.results[i].Detail = posture.Inconclusive, why
			}
		}
		return r.results
	}
	if t.Quick {
		r.attempt(ctx, "no credential", "AUTH-1", nil, request{body: r.nothing()}, unauthenticated)
		r.plain(ctx)
		r.certificate(ctx)
		return r.results
	}
	for _, step := range []func(context.Context){
		r.authentication, r.throttled, r.retired, r.tokens, r.certificates, r.resource, r.permissions, r.reading, r.malformed, r.leaks, r.transport, r.detours,
	} {
		step(ctx)
	}
	return r.results
}

type run struct {
	Target
	// nonce is in everything that is sent, so that an answer that repeats it shows.
	nonce   string
	clients map[*tls.Certificate]*client
	results []posture.Probe
	// answers are all answers, for what no answer may have in it.
	answers []answer
	// good is a token of the operator's own; empty for a gate that takes none.
	good string
}

func (r *run) result(name, control string, outcome posture.Outcome, detail string) posture.Probe {
	return posture.Probe{Name: name, Control: control, Pod: r.Pod, Outcome: outcome, Detail: detail}
}

func (r *run) add(name, control string, outcome posture.Outcome, detail string) {
	r.results = append(r.results, r.result(name, control, outcome, detail))
}

// control says why the gate does not answer as it should, to somebody who is known to it and may do nothing; "" when it does.
func (r *run) control(ctx context.Context) string {
	switch {
	case r.Identity == nil && r.shown() == "":
		return "the gate takes nothing that the operator has"
	case r.Identity == nil && r.Keys != nil:
		return r.takes(ctx, r.shown(), "present key")
	case r.Identity == nil:
		return r.takes(ctx, r.shown(), "token")
	}
	switch a := r.send(ctx, r.Identity, request{body: r.message("ping", "")}); {
	case a.err != nil:
		return "the gate does not answer: " + words(a.err)
	case denied.met(a) != "":
		return "the gate does not answer as it should: " + denied.met(a)
	}
	return ""
}

// shown is what the operator is known by where no certificate is asked for: its present key, or else a token of its own; "" for nothing.
func (r *run) shown() string {
	if r.Keys != nil {
		return r.Keys.Present.Text
	}
	return r.good
}

// known is a request of somebody who is known: by a certificate, or by a key or a token where the gate asks for none.
func (r *run) known(q request) request {
	if r.Identity != nil {
		return q
	}
	return bearing(q, r.shown())
}

// takes says why a key or a token of the operator's shows nothing; "" when the gate knows it by that, and denies it what nobody granted.
func (r *run) takes(ctx context.Context, text, what string) string {
	switch a := r.send(ctx, r.Identity, bearing(request{body: r.message("ping", "")}, text)); {
	case a.err != nil:
		return "the gate does not answer: " + words(a.err)
	case denied.met(a) != "":
		return "the gate does not accept the operator's " + what + ": " + denied.met(a)
	}
	return ""
}

// bearing is a request with an API key or a token.
func bearing(q request, text string) request {
	q.header = maps.Clone(q.header)
	if q.header == nil {
		q.header = map[string][]string{}
	}
	q.header["Authorization"] = []string{"Bearer " + text}
	return q
}

// address is the gate's.
func (r *run) address(port int) string { return net.JoinHostPort(r.Address, strconv.Itoa(port)) }

// nonce is random and looks like a word of nobody's.
func nonce() string { return "zz" + rand.Text() }

const wrongCertificate = "the certificate is wrong: "

// words says what went wrong with a connection, without addresses and other things that change.
func words(err error) string {
	var timeout net.Error
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	switch {
	case errors.As(err, &unknownAuthority):
		return wrongCertificate + "it is of an unknown authority"
	case errors.As(err, &hostname):
		return wrongCertificate + "it has another name"
	case errors.As(err, &invalid):
		return wrongCertificate + "it is not valid"
	case errors.As(err, &alert):
		return "the TLS handshake was refused"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "no connection in time"
	case refused(err):
		return "the connection was refused"
	}
	return "the connection broke"
}

package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// transport tries older TLS and none, and looks at the certificate.
func (r *run) transport(ctx context.Context) {
	r.oldTLS(ctx)
	r.plain(ctx)
	r.certificate(ctx)
}

func (r *run) dial(ctx context.Context, port int) (net.Conn, error) {
	return (&net.Dialer{Timeout: r.Timeout}).DialContext(ctx, "tcp", r.address(port))
}

func (r *run) oldTLS(ctx context.Context) {
	const name, control = "TLS 1.2 and older", "ENC-1"
	conn, err := r.dial(ctx, r.GatePort)
	if err != nil {
		r.add(name, control, posture.Inconclusive, words(err))
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(r.Timeout))
	old := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, ServerName: r.ServerName, CipherSuites: everySuite(),
		// Whatever completes the handshake is wrong, whoever it says it is.
		InsecureSkipVerify: true, //nolint:gosec // the attack
	})
	err = old.HandshakeContext(ctx)
	switch {
	case err == nil:
		r.add(name, control, posture.Broken, "the handshake completed with "+tls.VersionName(old.ConnectionState().Version))
	case words(err) == "no connection in time":
		r.add(name, control, posture.Inconclusive, words(err))
	default:
		r.add(name, control, posture.Held, "")
	}
}

// everySuite are all cipher suites there are, the weak ones too: what speaks nothing else must not pass for something that refuses.
func everySuite() (all []uint16) {
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		all = append(all, suite.ID)
	}
	return all
}

// plain sends HTTP without TLS. Go's server says in plain text that it wants TLS; anything else than that or silence is an
// answer.
func (r *run) plain(ctx context.Context) {
	const name, control = "plain HTTP", "ENC-2"
	conn, err := r.dial(ctx, r.GatePort)
	if err != nil {
		r.add(name, control, posture.Inconclusive, words(err))
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(r.Timeout))
	body := r.nothing()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Protocol-Version: %s\r\nTraceparent: 00-%s-0000000000000001-00\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		r.Path, r.Host, r.Revision, r.Mark, len(body), body); err != nil {
		r.add(name, control, posture.Held, "")
		return
	}
	text, err := io.ReadAll(io.LimitReader(conn, maxAnswer))
	said := string(text)
	if said == "" && errors.Is(err, os.ErrDeadlineExceeded) {
		// Who takes the request and thinks about it has not refused it.
		r.add(name, control, posture.Inconclusive, "no answer in time")
		return
	}
	if said == "" || strings.HasPrefix(said, "HTTP/1.0 400") && strings.Contains(said, "HTTP request to an HTTPS server") || text[0] == 0x15 {
		r.add(name, control, posture.Held, "")
		return
	}
	line, _, _ := strings.Cut(said, "\r\n")
	r.add(name, control, posture.Broken, fmt.Sprintf("the answer begins with %.40q", line))
}

func (r *run) certificate(ctx context.Context) {
	const name, control = "served certificate", "ENC-3"
	conn, err := r.dial(ctx, r.GatePort)
	if err != nil {
		r.add(name, control, posture.Inconclusive, words(err))
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(r.Timeout))
	verified := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, ServerName: r.ServerName, RootCAs: r.Roots})
	if err := verified.HandshakeContext(ctx); err != nil {
		outcome := posture.Inconclusive
		if strings.HasPrefix(words(err), wrongCertificate) {
			outcome = posture.Broken
		}
		r.add(name, control, outcome, words(err))
		return
	}
	leaf := verified.ConnectionState().PeerCertificates[0]
	life, left := leaf.NotAfter.Sub(leaf.NotBefore), time.Until(leaf.NotAfter)
	strong := false
	switch leaf.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		strong = true
	}
	switch {
	case left < life/10:
		r.add(name, control, posture.Broken, "less than a tenth of its life is left")
	case !strong:
		r.add(name, control, posture.Broken, "its key is "+leaf.PublicKeyAlgorithm.String())
	default:
		r.add(name, control, posture.Held, "")
	}
}

// detours tries the ports at which nobody should answer. The gate answered from the same place: that is the positive
// control.
func (r *run) detours(ctx context.Context) {
	type port struct {
		name string
		port int
	}
	ports := []port{{"a port that nothing is at", r.canary()}}
	if r.ServerPort != 0 {
		ports = append(ports, port{"the server's own port", r.ServerPort})
	}
	found := make([]posture.Probe, len(ports))
	var all sync.WaitGroup
	for i, p := range ports {
		all.Go(func() {
			conn, err := r.dial(ctx, p.port)
			switch {
			case err == nil:
				_ = conn.Close()
				found[i] = r.result(p.name, "LEAST-6", posture.Broken, fmt.Sprintf("port %d accepts connections from the operator's pod", p.port))
			case ctx.Err() != nil:
				found[i] = r.result(p.name, "LEAST-6", posture.Inconclusive, "no time was left")
			default:
				found[i] = r.result(p.name, "LEAST-6", posture.Held, "")
			}
		})
	}
	all.Wait()
	// The gate still answers: it did not go away meanwhile.
	if why := r.control(ctx); why != "" {
		for i := range found {
			if found[i].Outcome == posture.Held {
				found[i].Outcome, found[i].Detail = posture.Inconclusive, why
			}
		}
	}
	r.results = append(r.results, found...)
}

// canary is a random port that is neither the gate's nor the server's.
func (r *run) canary() int {
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(10000))
		if err != nil {
			return 1
		}
		port := 20000 + int(n.Int64())
		if port != r.ServerPort && (port < gateconfig.GatePort || port > gateconfig.ProbePort) {
			return port
		}
	}
}

// Package gates asks the gates of a server for their status, over mutual TLS, and only that: it never sends anything.
package gates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// Gate is where one gate is and how its certificate is judged.
type Gate struct {
	// Address is the IP of the pod.
	Address string
	// ServerName is a DNS name that the certificate must carry.
	ServerName string
	// Roots are the authorities, in PEM, that vouch for the certificate; empty: those of the system.
	Roots string
}

// Answer is what one gate said, or why it could not be asked.
type Answer struct {
	Status gatestatus.Status
	Err    error
}

// Reader asks gates for their status.
type Reader interface {
	// Read asks all gates at once and returns their answers in the same order.
	Read(ctx context.Context, gates []Gate) []Answer
}

// Credentials returns the operator's certificate towards gates. It is asked on each read, so that a renewed certificate
// is used at once.
type Credentials func(ctx context.Context) (*tls.Certificate, error)

const (
	// timeout bounds one question, connection included.
	timeout = 2 * time.Second
	// concurrency bounds the questions that are under way at once, for all servers together.
	concurrency = 64
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 20
)

// Client is the Reader for gates in pods.
type Client struct {
	credentials Credentials
	slots       *semaphore.Weighted
	port        int
}

// New returns a Client that shows the given credentials.
func New(credentials Credentials) *Client {
	return &Client{credentials: credentials, slots: semaphore.NewWeighted(concurrency), port: gateconfig.StatusPort}
}

// Read implements Reader.
func (c *Client) Read(ctx context.Context, gates []Gate) []Answer {
	answers := make([]Answer, len(gates))
	certificate, err := c.credentials(ctx)
	if err != nil {
		for i := range answers {
			answers[i].Err = fmt.Errorf("the operator's certificate: %w", err)
		}
		return answers
	}
	var group errgroup.Group
	for i, gate := range gates {
		if err := c.slots.Acquire(ctx, 1); err != nil {
			answers[i].Err = err
			continue
		}
		group.Go(func() error {
			defer c.slots.Release(1)
			answers[i].Status, answers[i].Err = c.read(ctx, gate, certificate)
			return nil
		})
	}
	_ = group.Wait()
	return answers
}

func (c *Client) read(ctx context.Context, gate Gate, certificate *tls.Certificate) (gatestatus.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var roots *x509.CertPool
	if gate.Roots != "" {
		var err error
		if roots, err = gateconfig.Pool(gate.Roots); err != nil {
			return gatestatus.Status{}, fmt.Errorf("the serving authority: %w", err)
		}
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: gate.ServerName, RootCAs: roots,
			Certificates: []tls.Certificate{*certificate},
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 16 << 10,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("gates do not redirect")
	}}
	address := net.JoinHostPort(gate.Address, strconv.Itoa(c.port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+gatestatus.Path, nil)
	if err != nil {
		return gatestatus.Status{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return gatestatus.Status{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return gatestatus.Status{}, fmt.Errorf("the gate answered with HTTP status %d", response.StatusCode)
	}
	var status gatestatus.Status
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&status); err != nil {
		return gatestatus.Status{}, errors.New("the gate's answer is not a status")
	}
	return status, nil
}

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
	"github.com/bartizan-dev/bartizan/internal/inventory"
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

// Lister asks a gate what its server offers.
type Lister interface {
	// Inventory returns all that the server behind a gate offers.
	Inventory(ctx context.Context, gate Gate) (gatestatus.Inventory, error)
}

// Credentials returns the operator's certificate towards gates. It is asked on each read, so that a renewed certificate
// is used at once.
type Credentials func(ctx context.Context) (*tls.Certificate, error)

const (
	// timeout bounds one question, connection included.
	timeout = 2 * time.Second
	// concurrency bounds the questions that are under way at once, for all servers together.
	concurrency = 64
	// maxAnswer bounds a status, maxInventory an inventory, in bytes: a gate reads 8 MiB of its server.
	maxAnswer    = 1 << 20
	maxInventory = 16 << 20
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
			answers[i].Err = c.read(ctx, gate, certificate, gatestatus.Path, maxAnswer, &answers[i].Status)
			return nil
		})
	}
	_ = group.Wait()
	return answers
}

// Inventory implements Lister. What the gate says is checked: each definition has the hash that it comes with.
func (c *Client) Inventory(ctx context.Context, gate Gate) (gatestatus.Inventory, error) {
	certificate, err := c.credentials(ctx)
	if err != nil {
		return gatestatus.Inventory{}, fmt.Errorf("the operator's certificate: %w", err)
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return gatestatus.Inventory{}, err
	}
	defer c.slots.Release(1)
	var all gatestatus.Inventory
	if err := c.read(ctx, gate, certificate, gatestatus.InventoryPath, maxInventory, &all); err != nil {
		return gatestatus.Inventory{}, err
	}
	for i, item := range all.Items {
		made, err := inventory.NewItem(item.Kind, item.Definition)
		if err != nil || made.SHA256 != item.SHA256 || made.Name != item.Name {
			return gatestatus.Inventory{}, errors.New("the gate's inventory has a definition that is not the one that its hash says")
		}
		all.Items[i] = made
	}
	all.Items = inventory.Sort(all.Items)
	if all.Digest != "" && all.Digest != inventory.Digest(all.Items) {
		return gatestatus.Inventory{}, errors.New("the gate's inventory is not the one that its digest says")
	}
	return all, nil
}

// read asks a gate for one of the documents of its status port.
func (c *Client) read(ctx context.Context, gate Gate, certificate *tls.Certificate, path string, most int64, document any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var roots *x509.CertPool
	if gate.Roots != "" {
		var err error
		if roots, err = gateconfig.Pool(gate.Roots); err != nil {
			return fmt.Errorf("the serving authority: %w", err)
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
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the gate answered with HTTP status %d", response.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, most)).Decode(document); err != nil {
		return errors.New("the gate's answer is not what it was asked for")
	}
	return nil
}

// Package gates asks the gates of a server for their status, over mutual TLS, and only that: it never sends anything.
package gates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/bartizan-dev/bartizan/controllers/internal/fresh"
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
	// Read asks all gates at once and returns their answers in the same order. Each answer is to a question that was asked
	// after the call.
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
	timeout = 5 * time.Second
	// concurrency bounds the questions that are under way at once, for all servers together.
	concurrency = 64
	// idle is for how long a connection waits for another question.
	idle = 30 * time.Second
	// lifetime is for how long a connection is used: then the gate is authenticated again.
	lifetime = 5 * time.Minute
	// maxAnswer bounds a status, maxInventory an inventory, in bytes: a gate reads 8 MiB of its server.
	maxAnswer    = 1 << 20
	maxInventory = 16 << 20
)

// Client is the Reader for gates in pods. While many wait for the same gates, as when the keys of all clients of a server are
// replaced, each gate is asked one question at a time, on one connection, and all who waited for it share the answer.
type Client struct {
	credentials Credentials
	slots       *semaphore.Weighted
	port        int

	questions fresh.Group[*line, gatestatus.Status]

	mutex sync.Mutex // guards what follows
	lines map[Gate]*line
	swept time.Time
}

// New returns a Client that shows the given credentials.
func New(credentials Credentials) *Client {
	return &Client{credentials: credentials, slots: semaphore.NewWeighted(concurrency), port: gateconfig.StatusPort, lines: map[Gate]*line{}}
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
	var asked sync.WaitGroup
	for i, l := range c.to(gates, time.Now()) {
		asked.Go(func() {
			answers[i].Status, answers[i].Err = c.questions.Ask(ctx, l, func() (gatestatus.Status, error) { return l.status(certificate) })
		})
	}
	asked.Wait()
	return answers
}

// Inventory implements Lister. What the gate says is checked: each definition has the hash that it comes with.
func (c *Client) Inventory(ctx context.Context, gate Gate) (gatestatus.Inventory, error) {
	certificate, err := c.credentials(ctx)
	if err != nil {
		return gatestatus.Inventory{}, fmt.Errorf("the operator's certificate: %w", err)
	}
	var all gatestatus.Inventory
	once := &line{gate: gate, port: c.port, slots: c.slots}
	defer once.close()
	if err := once.fetch(ctx, certificate, gatestatus.InventoryPath, maxInventory, &all); err != nil {
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

// to are the lines to gates. Those that nobody used for long are given up.
func (c *Client) to(gates []Gate, now time.Time) []*line {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	all := make([]*line, len(gates))
	for i, gate := range gates {
		l := c.lines[gate]
		if l == nil {
			l = &line{gate: gate, port: c.port, slots: c.slots}
			c.lines[gate] = l
		}
		l.used, all[i] = now, l
	}
	if now.Sub(c.swept) >= idle {
		c.swept = now
		for gate, l := range c.lines {
			if now.Sub(l.used) >= idle {
				delete(c.lines, gate) // its connection ends by itself
			}
		}
	}
	return all
}

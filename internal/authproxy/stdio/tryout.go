package stdio

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// tryTimeout bounds the trial of a server, and tryPause how long one that may be slow, or may not know the question, is left
// with it.
const (
	tryTimeout = 2 * time.Minute
	tryPause   = 20 * time.Second
)

// discover asks a server for what it is, in the newest revision (MCP 2026-07-28, stdio, "Backward Compatibility").
const discover = `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"` + metaRevision + `":"` + firstModern +
	`","io.modelcontextprotocol/clientInfo":{"name":"bartizan","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`

// trial stands for a principal where the server is tried out. No client has such a name: it has no namespace.
const trial = "trial"

// newestLegacy is the newest revision with a handshake.
const newestLegacy = "2025-11-25"

// tryOut starts the server once, to know whether it answers and whether it speaks a stateless revision. That is a property of
// the server, so it is asked once. One that is silent or ends is asked the older way.
func (b *Bridge) tryOut(ctx context.Context) (modern bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	m, err := parse([]byte(discover))
	if err != nil {
		return false, err
	}
	c, release, err := b.pool.get(ctx, key{trial, "first"}, mode{modern: true})
	if err != nil {
		return false, fmt.Errorf("the server cannot be started: %w", err)
	}
	defer func() { go c.end() }()
	defer release()
	if answer, err := b.ask(ctx, c, &m, tryPause); err == nil {
		if answer.result.there() || answer.code <= -32020 && answer.code >= -32022 {
			b.discard(c)
			return true, nil
		}
	} else if errors.Is(err, errGone) {
		// Some servers end at a first message that is no handshake.
		if err := wait(ctx, c); err != nil {
			return false, err
		}
		again, releaseAgain, err := b.pool.get(ctx, key{trial, "second"}, mode{modern: true})
		if err != nil {
			return false, fmt.Errorf("the server cannot be started: %w", err)
		}
		defer func() { go again.end() }()
		defer releaseAgain()
		c = again
	}
	answer, err := b.ask(ctx, c, b.hello(newestLegacy), tryTimeout)
	b.discard(c)
	switch {
	case err != nil:
		return false, fmt.Errorf("the server does not answer an initialize: %w; see what it wrote above", err)
	case !answer.result.there():
		return false, errors.New("the server refuses an initialize; see what it wrote above")
	}
	return false, nil
}

// discard says that the end of a child is wanted.
func (b *Bridge) discard(c *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = true
}

// ask sends a request and waits for the answer.
func (b *Bridge) ask(ctx context.Context, c *child, m *message, bound time.Duration) (message, error) {
	k, err := c.call(m, nil)
	if err != nil {
		return message{}, err
	}
	timer := time.NewTimer(bound)
	defer timer.Stop()
	for {
		select {
		case <-k.news:
		case <-timer.C:
			return message{}, context.DeadlineExceeded
		case <-ctx.Done():
			return message{}, ctx.Err()
		}
		if _, final, _, ended := k.take(); ended {
			c.mu.Lock()
			gone := c.gone
			c.mu.Unlock()
			if gone {
				return message{}, errGone
			}
			return parse(final)
		}
	}
}

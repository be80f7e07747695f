package listing

import (
	"context"
	"errors"
	"slices"

	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// Server is where the server is and what may be spoken to it.
type Server struct {
	// Address is where it listens, Path its endpoint.
	Address, Path string
	// MinRevision is the lowest accepted revision.
	MinRevision gateconfig.Revision
}

// lists are the lists of the specification.
var lists = []struct {
	kind               inventory.Kind
	method             string
	field, declaration string
}{
	{inventory.Tool, "tools/list", "tools", "tools"},
	{inventory.Prompt, "prompts/list", "prompts", "prompts"},
	{inventory.Resource, "resources/list", "resources", "resources"},
	{inventory.Template, "resources/templates/list", "resourceTemplates", "resources"},
}

// errEra says that the server does not speak an era.
var errEra = errors.New("the server does not speak this era")

// List asks a server what it offers, all pages of it, in the stateless revision and in one with sessions, as far as the server
// speaks them: what clients of either are shown. It returns the callers that can hold a stream of notifications open; they
// are to be ended.
func List(ctx context.Context, client Client, server Server) (items []inventory.Item, callers []*caller, err error) {
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	left := int64(maxBytes)
	spoken := false
	for _, begin := range []func(context.Context, *caller) (hello, error){discover, initialize} {
		c := &caller{client: client, address: server.Address, path: server.Path, left: &left}
		var h hello
		h, err = begin(ctx, c)
		if err == nil && server.MinRevision > c.revision {
			c.end(ctx)
			err = errEra
		}
		if err == nil {
			callers = append(callers, c)
			items, err = c.lists(ctx, h, items)
			spoken = true
		}
		if err != nil && !errors.Is(err, errEra) || server.MinRevision >= gateconfig.Revision20260728 {
			break
		}
	}
	switch {
	case errors.Is(err, errEra) && spoken:
		err = nil
	case errors.Is(err, errEra):
		err = Refused
	}
	if err != nil {
		for _, c := range callers {
			c.end(ctx)
		}
		return nil, nil, err
	}
	return inventory.Sort(items), callers, nil
}

// discover begins in the stateless revision.
func discover(ctx context.Context, c *caller) (hello, error) {
	c.revision = gateconfig.Revision20260728
	r, err := c.call(ctx, "server/discover", nil)
	var failure upstream.Failure
	if errors.As(err, &failure) && failure != upstream.Unreachable && failure != upstream.Broken {
		// A server with sessions only answers however it likes to what it does not know.
		return hello{}, errEra
	}
	if err != nil {
		return hello{}, err
	}
	if r.failed {
		return hello{}, errEra
	}
	h, err := readHello(r.result)
	if err == nil && !slices.Contains(h.revisions, c.revision) {
		err = errEra
	}
	return h, err
}

// initialize begins a session.
func initialize(ctx context.Context, c *caller) (hello, error) {
	c.revision = gateconfig.Revision20251125
	r, err := c.call(ctx, "initialize", map[string]any{
		"protocolVersion": c.revision, "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": clientName, "version": "1"},
	})
	if err != nil {
		return hello{}, err
	}
	if r.failed {
		return hello{}, errEra
	}
	h, err := readHello(r.result)
	if err != nil {
		return hello{}, err
	}
	if len(h.revisions) != 1 || h.revisions[0] == "" {
		return hello{}, BadAnswer
	}
	c.revision = h.revisions[0]
	return h, c.notify(ctx, "notifications/initialized")
}

// lists adds all that the server offers to items. A list that the server does not say it has is asked for, too: it may have one.
func (c *caller) lists(ctx context.Context, h hello, items []inventory.Item) ([]inventory.Item, error) {
	if h.instructions != nil {
		items = append(items, *h.instructions)
	}
	for _, l := range lists {
		cursor := ""
		for n := 0; ; n++ {
			var params map[string]any
			if cursor != "" {
				params = map[string]any{"cursor": cursor}
			}
			r, err := c.call(ctx, l.method, params)
			if err != nil {
				return nil, err
			}
			if r.failed {
				if n == 0 && (!h.declared[l.declaration] || l.kind == inventory.Template) {
					break
				}
				return nil, Refused
			}
			found, next, err := readPage(l.kind, l.field, r.result)
			if err != nil {
				return nil, err
			}
			if items = append(items, found...); len(items) > maxItems || n == maxPages {
				return nil, TooLarge
			}
			if cursor = next; cursor == "" {
				break
			}
		}
	}
	return items, nil
}

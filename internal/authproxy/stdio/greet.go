package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// greetTimeout is how long a child has to start and to answer the handshake.
const greetTimeout = time.Minute

// hello is the handshake that the bridge makes itself, where a child has callers whom it cannot ask anything.
func (b *Bridge) hello(revision string) *message {
	client, _ := json.Marshal(map[string]string{"name": "bartizan", "version": b.options.Version})
	asked, _ := json.Marshal(revision)
	line := []byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":` + string(asked) +
		`,"capabilities":{},"clientInfo":` + string(client) + `}}`)
	m, err := parse(line)
	if err != nil {
		panic("our own handshake is not a message: " + err.Error())
	}
	return &m
}

// greet makes the handshake with the child, once, and returns its answer. own says that it is the bridge's handshake and not
// that of a caller who goes on with it: then it is completed here, and what the child offers to single callers is left out.
func (c *child) greet(ctx context.Context, hello *message, own bool) (*message, error) {
	c.greeting.Lock()
	defer c.greeting.Unlock()
	c.mu.Lock()
	known := c.hello
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	// Others may wait for the same handshake, so it does not end with who began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), greetTimeout)
	defer cancel()
	k, err := c.call(hello, nil)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case <-k.news:
		case <-ctx.Done():
			c.broken("it does not answer the handshake")
			return nil, errGone
		}
		_, final, _, ended := k.take()
		if !ended {
			continue
		}
		answer, err := parse(final)
		if err != nil {
			return nil, errGone
		}
		if answer.failure.there() {
			if answer.code == codeInternal {
				c.mu.Lock()
				gone := c.gone
				c.mu.Unlock()
				if gone {
					return nil, errGone
				}
			}
			return &answer, nil
		}
		if own {
			if answer, err = withoutPerCaller(answer); err != nil {
				c.broken("its handshake is not what MCP says")
				return nil, errGone
			}
			c.confirm()
		}
		c.mu.Lock()
		c.hello = &answer
		c.mu.Unlock()
		return &answer, nil
	}
}

// confirm tells the child that the handshake succeeded, once.
func (c *child) confirm() {
	c.mu.Lock()
	told := c.told
	c.told = true
	c.mu.Unlock()
	if !told && c.send([]byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)) != nil {
		c.broken("it does not read its input")
	}
}

// answered passes the answer of a session on, if the child asked this session.
func (c *child) answered(s *session, m *message) {
	id := string(m.id.of(m.line))
	c.mu.Lock()
	asked := c.asked[id] == s
	if asked {
		delete(c.asked, id)
	}
	c.mu.Unlock()
	if asked && c.send(m.line) != nil {
		c.broken("it does not read its input")
	}
}

// withoutPerCaller is the answer to a handshake without the capabilities that set something for one caller.
func withoutPerCaller(m message) (message, error) {
	result := map[string]json.RawMessage{}
	capabilities := map[string]json.RawMessage{}
	if err := json.Unmarshal(m.result.of(m.line), &result); err != nil {
		return m, err
	}
	if raw, ok := result["capabilities"]; ok {
		if err := json.Unmarshal(raw, &capabilities); err != nil {
			return m, err
		}
	}
	delete(capabilities, "logging")
	if raw, ok := capabilities["resources"]; ok {
		resources := map[string]json.RawMessage{}
		if err := json.Unmarshal(raw, &resources); err != nil {
			return m, err
		}
		delete(resources, "subscribe")
		capabilities["resources"], _ = json.Marshal(resources)
	}
	result["capabilities"], _ = json.Marshal(capabilities)
	changed, err := json.Marshal(result)
	if err != nil {
		return m, errors.New("the answer cannot be written again")
	}
	return parse(m.spliced(change{m.result, changed}))
}

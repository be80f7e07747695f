package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bartizan-dev/bartizan/hack/testbed/internal/process"
)

const anchorName = "anchor"

// Up brings the cluster up: a healthy one is left alone, parts that died are started again, and one that cannot be healed is taken down and made anew.
func (c *Cluster) Up(ctx context.Context, mode Mode) error {
	unlock, err := c.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { unlock() }()
	switch err := c.Open(); {
	case errors.Is(err, ErrNone):
	case err == nil && c.state.Ready && c.state.Mode != mode:
		return fmt.Errorf("in %s runs a testbed of the kind %q; take it down first (down --dir %s), or choose another --dir", c.Dir, c.state.Mode, c.Dir)
	case err == nil && c.state.Ready:
		healErr := c.heal(ctx)
		if healErr == nil || ctx.Err() != nil {
			return healErr
		}
		c.Say("it cannot be healed (%v); starting anew", healErr)
	default:
		c.Say("an earlier start was not finished; starting anew")
	}
	if err := c.down(); err != nil {
		return err
	}
	unlock() // of the folder that is gone
	if unlock, err = c.Lock(ctx); err != nil {
		unlock = func() {}
		return err
	}
	if mode == ControlPlane {
		err = c.upControlPlane(ctx)
	} else {
		err = c.upFull(ctx)
	}
	if err != nil {
		if ctx.Err() != nil { // interrupted: nobody will look at what is there
			err = errors.Join(err, c.down())
		}
		return err
	}
	c.state.Ready = true
	return c.save()
}

// heal starts dead parts again and waits until the cluster is healthy. A part may die while it does: one that was just killed, or that cannot live
// without another.
func (c *Cluster) heal(ctx context.Context) error {
	const attempts = 4
	for attempt := 1; ; attempt++ {
		dead := 0
		for _, p := range c.state.Parts {
			if p.Alive() {
				continue
			}
			dead++
			c.Say("%s has ended; starting it again", p.Name)
			if err := c.start(p.Spec); err != nil {
				return err
			}
		}
		if dead == 0 && attempt == 1 {
			c.Say("it runs already")
		}
		err := c.waitHealthy(ctx)
		if err == nil || ctx.Err() != nil || attempt == attempts || !c.anyDead() {
			return err
		}
	}
}

func (c *Cluster) anyDead() bool {
	return slices.ContainsFunc(c.state.Parts, func(p part) bool { return !p.Alive() })
}

func (c *Cluster) waitHealthy(ctx context.Context) error {
	if err := c.waitForAPI(ctx); err != nil {
		return err
	}
	if c.state.Mode == Full {
		return c.waitForNode(ctx)
	}
	return nil
}

// A PartStatus is what status shows of one part.
type PartStatus struct {
	Name  string
	ID    process.ID
	Alive bool
	Log   string
}

// Status returns the cluster's mode, its parts, and nil or what is wrong.
func (c *Cluster) Status(ctx context.Context) (Mode, []PartStatus, error) {
	if err := c.Open(); err != nil {
		return "", nil, err
	}
	var parts []PartStatus
	var wrong []error
	if !c.state.Ready {
		wrong = append(wrong, errors.New("its start is not finished, or was broken off"))
	}
	for _, p := range c.state.Parts {
		alive := p.Alive()
		if !alive {
			wrong = append(wrong, fmt.Errorf("%s has ended", p.Name))
		}
		parts = append(parts, PartStatus{Name: p.Name, ID: p.ID, Alive: alive, Log: p.Log})
	}
	if len(wrong) == 0 {
		wrong = append(wrong, c.probe(ctx))
	}
	return c.state.Mode, parts, errors.Join(wrong...)
}

// probe asks the cluster once whether it is healthy.
func (c *Cluster) probe(ctx context.Context) error {
	client, err := newAPI(c.Kubeconfig())
	if err != nil {
		return err
	}
	if err := client.ready(ctx); err != nil {
		return fmt.Errorf("kube-apiserver is not ready: %w", err)
	}
	if c.state.Mode == Full {
		return c.nodeReady(ctx, client)
	}
	return nil
}

// Inside returns a command and its first arguments that run what follows in the cluster's network namespace.
func (c *Cluster) Inside() ([]string, error) {
	if err := c.Open(); err != nil {
		return nil, err
	}
	if c.state.Mode != Full {
		return nil, errors.New("this testbed has no network namespace of its own: it was made with --only control-plane")
	}
	member := c.member()
	if member == 0 {
		return nil, errors.New("nothing is left in the testbed's network namespace; up makes it again")
	}
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", member), "--"}, nil
}

package stdio

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
)

const (
	// A child that crashes is started again at once, then after a second, then twice as long each time.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// healthy is how long a child must have lived for its end to count as the first.
	healthy = time.Minute
)

var (
	errFull  = errors.New("all children are in use")
	errPause = errors.New("the child ended again and again; it is started again soon")
	errEnd   = errors.New("the bridge is ending")
)

// pool has the children by whom they are for, starts them when they are needed and ends them when they are not.
type pool struct {
	command []string
	// most bounds the children of callers, each those of one of them.
	most, each int
	log        *logger
	sessions   *sessions

	mu       sync.Mutex // guards what follows, and that nobody reaps a child while it starts
	children map[key]*child
	pids     map[int]*child
	crashes  map[key]crashes
	number   int
	ending   bool
	running  sync.WaitGroup
}

// key says for whom a child is, and after which handshake. A shared one is for the principal "", which nobody is.
type key struct{ principal, kind string }

// crashes are the ends of one key's children that nobody wanted.
type crashes struct {
	inARow int
	last   time.Time
}

func (c crashes) pause() time.Duration {
	if c.inARow < 2 {
		return 0
	}
	return min(firstPause<<min(c.inARow-2, 10), lastPause)
}

func newPool(command []string, most int, sessions *sessions, log *logger) *pool {
	// Whoever begins with other capabilities again and again gets a child each time.
	return &pool{command: command, most: most, each: min(most, max(2, most/2)), sessions: sessions, log: log,
		children: map[key]*child{}, pids: map[int]*child{}, crashes: map[key]crashes{}}
}

// get returns the child for a key, in use; it is started when there is none.
func (p *pool) get(ctx context.Context, key key, m mode) (*child, func(), error) {
	for {
		p.mu.Lock()
		if c := p.children[key]; c != nil {
			p.mu.Unlock()
			if release, ok := c.use(); ok {
				return c, release, nil
			}
			// It has ended and is about to be forgotten.
			if err := wait(ctx, c); err != nil {
				return nil, nil, err
			}
			continue
		}
		if p.ending {
			p.mu.Unlock()
			return nil, nil, errEnd
		}
		if known := p.crashes[key]; time.Since(known.last) < known.pause() {
			p.mu.Unlock()
			return nil, nil, errPause
		}
		if all, theirs := p.counted(key.principal); !own(key) && (all >= p.most || theirs >= p.each && key.principal != "") {
			whose := ""
			if theirs >= p.each {
				whose = key.principal
			}
			idle := p.idlest(whose)
			p.mu.Unlock()
			if idle == nil {
				return nil, nil, errFull
			}
			go idle.process.end()
			if err := wait(ctx, idle); err != nil {
				return nil, nil, err
			}
			continue
		}
		c, err := p.start(key, m)
		if err != nil {
			p.crashed(key)
			p.mu.Unlock()
			p.log.rare("a child could not be started", "error", err.Error())
			return nil, nil, err
		}
		release, _ := c.use()
		p.mu.Unlock()
		return c, release, nil
	}
}

// own says whether a child is not a caller's: that of the gate, which asks what the server offers, and those of the trial. They
// are counted to nobody.
func own(key key) bool {
	return key.principal == upstream.Self || key.principal == trial
}

// counted is how many children of callers there are, and of one of them. p.mu is held.
func (p *pool) counted(principal string) (all, theirs int) {
	for key := range p.children {
		if own(key) {
			continue
		}
		all++
		if key.principal == principal {
			theirs++
		}
	}
	return all, theirs
}

// wait waits until a child has ended and was forgotten.
func wait(ctx context.Context, c *child) error {
	select {
	case <-c.forgotten:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// idlest takes a child that is ending already, or else the one that nobody has used for longest, of one principal's or, with "", of
// all; nil when all are in use. Nobody gets it any more. p.mu is held.
func (p *pool) idlest(whose string) *child {
	var idle *child
	var since time.Time
	for _, c := range p.children {
		c.mu.Lock()
		unused, gone, at := c.uses == 0, c.gone, c.idle
		c.mu.Unlock()
		if own(c.key) || whose != "" && c.key.principal != whose {
			continue
		}
		if gone {
			return c
		}
		if unused && (idle == nil || at.Before(since)) {
			idle, since = c, at
		}
	}
	if idle == nil || !idle.retire() {
		return nil
	}
	return idle
}

// start starts a child. p.mu is held.
func (p *pool) start(key key, m mode) (*child, error) {
	process, err := start(p.command)
	if err != nil {
		return nil, err
	}
	p.number++
	c := newChild(process, m, key, p.number, p.log)
	p.children[key], p.pids[c.pid] = c, c
	p.log.say("a child has started", "child", c.number, "children", len(p.children))
	p.running.Go(func() { p.log.copy(c.err, c.number) })
	p.running.Go(func() {
		c.read()
		<-c.ended
		p.forget(c)
	})
	return c, nil
}

// forget removes a child that has ended.
func (p *pool) forget(c *child) {
	p.mu.Lock()
	delete(p.children, c.key)
	delete(p.pids, c.pid)
	c.mu.Lock()
	wanted := c.wanted
	c.mu.Unlock()
	if wanted {
		delete(p.crashes, c.key)
	} else {
		if time.Since(c.begun) > healthy {
			delete(p.crashes, c.key)
		}
		p.crashed(c.key)
	}
	p.mu.Unlock()
	calls := c.ends()
	p.sessions.endAll(c)
	p.log.say("a child has ended", "child", c.number, "asked to", wanted, "calls", calls)
	close(c.forgotten)
}

func (p *pool) crashed(key key) {
	known := p.crashes[key]
	p.crashes[key] = crashes{inARow: known.inARow + 1, last: time.Now()}
}

// tidy ends the children that nobody has used since a time, and forgets crashes of long ago.
func (p *pool) tidy(since time.Time) {
	p.mu.Lock()
	var idle []*child
	for _, c := range p.children {
		c.mu.Lock()
		old := c.idle.Before(since)
		c.mu.Unlock()
		if old && c.retire() {
			idle = append(idle, c)
		}
	}
	for key, known := range p.crashes {
		if p.children[key] == nil && time.Since(known.last) > healthy+lastPause {
			delete(p.crashes, key)
		}
	}
	p.mu.Unlock()
	for _, c := range idle {
		go c.process.end()
	}
}

// silence ends the streams that would never end by themselves.
func (p *pool) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.children {
		c.silence()
	}
}

// end ends all children and waits for them.
func (p *pool) end() {
	p.mu.Lock()
	p.ending = true
	for _, c := range p.children {
		c.mu.Lock()
		c.wanted = true
		c.mu.Unlock()
		go c.process.end()
	}
	p.mu.Unlock()
	p.running.Wait()
}

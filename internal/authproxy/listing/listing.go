// Package listing has the gate itself ask its server what it offers, without any caller's identity: at the start, when the
// server says that a list has changed, when another process listens in its place, and now and then. What it finds is what
// pins are compared with, and what the gate tells of its server.
package listing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/message"
	"github.com/bartizan-dev/bartizan/internal/authproxy/schema"
	"github.com/bartizan-dev/bartizan/internal/authproxy/upstream"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// Listed is what one process of the server offered. It is immutable.
type Listed struct {
	// Process is the process that offered it, see surroundings.Process.
	Process string
	// At is when it was listed.
	At time.Time
	// Digest names the whole of it.
	Digest string
	// Items are the definitions, sorted. A name has more than one where the eras of the protocol differ.
	Items []inventory.Item
	// Client talks to this process and to no other.
	Client *upstream.Client

	by map[inventory.Key][]inventory.Item
	// schemas are the input schemas of tools by the hashes of their definitions; nil where one cannot be compiled.
	schemas map[string]*schema.Schema
	// mirrors are the arguments of tools that callers repeat in headers, by the tools' names; nil where there are none.
	mirrors map[string][]message.Mirror
}

// New is the listing of a process.
func New(process string, at time.Time, items []inventory.Item, client *upstream.Client) *Listed {
	l := &Listed{Process: process, At: at, Digest: inventory.Digest(items), Items: items, Client: client, by: map[inventory.Key][]inventory.Item{}, schemas: map[string]*schema.Schema{}}
	for _, item := range items {
		l.by[item.Key()] = append(l.by[item.Key()], item)
		if item.Kind != inventory.Tool {
			continue
		}
		if input := inventory.InputSchema(item.Definition); input != nil {
			// An error leaves nil there.
			l.schemas[item.SHA256], _ = schema.Compile(input)
			if found := mirrors(input); found != nil {
				if l.mirrors == nil {
					l.mirrors = map[string][]message.Mirror{}
				}
				l.mirrors[item.Name] = append(l.mirrors[item.Name], found...)
			}
		}
	}
	return l
}

// Judge says whether what the server offers under a name is approved, all of it, and why not.
func (l *Listed) Judge(pins inventory.Pins, key inventory.Key) inventory.Reason {
	offered := l.by[key]
	if len(offered) == 0 {
		return inventory.Unknown
	}
	for _, item := range offered {
		if reason := l.JudgeItem(pins, item); reason != inventory.Approved {
			return reason
		}
	}
	return inventory.Approved
}

// JudgeItem says whether one definition is approved, and why not.
func (l *Listed) JudgeItem(pins inventory.Pins, item inventory.Item) inventory.Reason {
	if reason := pins.Judge(item); reason != inventory.Approved {
		return reason
	}
	if compiled, has := l.schemas[item.SHA256]; has && compiled == nil {
		return inventory.Unusable
	}
	return inventory.Approved
}

// Accepts says whether the arguments of a call are what the tool's input schema says, as far as there is one that could be
// compiled.
func (l *Listed) Accepts(tool string, arguments []byte) bool {
	for _, item := range l.by[inventory.Key{Kind: inventory.Tool, Name: tool}] {
		if compiled := l.schemas[item.SHA256]; compiled != nil && compiled.Check(arguments) != nil {
			return false
		}
	}
	return true
}

// Mirrors are the arguments that callers of a tool repeat in headers, by all that is listed under its name.
func (l *Listed) Mirrors(tool string) []message.Mirror { return l.mirrors[tool] }

// Has says whether the server has shown the gate this definition.
func (l *Listed) Has(item inventory.Item) bool {
	return slices.ContainsFunc(l.by[item.Key()], func(shown inventory.Item) bool { return shown.SHA256 == item.SHA256 })
}

// Options say what to list, and how.
type Options struct {
	// Server returns where the server is, and false while that is not known.
	Server func() (Server, bool)
	// Process identifies what listens at an address; surroundings.ProcessAt.
	Process func(address string) (string, error)
	// Interval is how often the server is listed when nothing says that it changed.
	Interval time.Duration
	// Observe is told about each listing, or why there is none.
	Observe func(*Listed, error)
}

const (
	// look is how often it is looked whether another process listens.
	look = 250 * time.Millisecond
	// pause is the shortest time between two listings of one process, so that a server which says all the time that it has changed
	// is not listed all the time.
	pause = time.Second
	// firstWait and lastWait are how long it takes after a listing that failed until there is another.
	firstWait = 250 * time.Millisecond
	lastWait  = 30 * time.Second
)

// Lister keeps the listing of the server.
type Lister struct {
	options Options
	again   chan struct{}
	state   atomic.Pointer[state]
	// process is the one that was last tried; for Run alone. seen is it for everybody.
	process string
	seen    atomic.Pointer[string]
	// mu guards the callers, whose streams of notifications are open.
	mu      sync.Mutex
	callers []*caller
	hangUp  context.CancelFunc
}

// state pairs what is known with a channel that is closed when it changes.
type state struct {
	listed  *Listed
	err     error
	tried   bool
	changed chan struct{}
}

// NewLister returns a Lister that has listed nothing.
func NewLister(options Options) *Lister {
	l := &Lister{options: options, again: make(chan struct{}, 1), hangUp: func() {}}
	l.state.Store(&state{changed: make(chan struct{})})
	return l
}

// Current is the last listing, nil before the first, and why there is no newer one.
func (l *Lister) Current() (*Listed, error) {
	s := l.state.Load()
	return s.listed, s.err
}

// Tried says whether the server was listed, or that was tried.
func (l *Lister) Tried() bool { return l.state.Load().tried }

// Process is what listened when it was last looked, a moment ago; empty when nothing did.
func (l *Lister) Process() string {
	if seen := l.seen.Load(); seen != nil {
		return *seen
	}
	return ""
}

// Again asks for a listing soon.
func (l *Lister) Again() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// Await returns the listing of the process that listens at the address now, and waits for it.
func (l *Lister) Await(ctx context.Context, address string) (*Listed, error) {
	for {
		s := l.state.Load()
		if s.listed != nil && l.is(s.listed, address) {
			return s.listed, nil
		}
		l.Again()
		select {
		case <-s.changed:
		case <-ctx.Done():
			if s.err != nil {
				return nil, s.err
			}
			return nil, ctx.Err()
		}
	}
}

// is says whether the listing is of the process that listens at the address.
func (l *Lister) is(listed *Listed, address string) bool {
	process, err := l.options.Process(address)
	return err == nil && process == listed.Process
}

// Run lists until the context ends.
func (l *Lister) Run(ctx context.Context) {
	defer l.leave(ctx)
	wait, failures := time.Duration(0), 0
	for l.wait(ctx, wait) {
		err := l.list(ctx)
		if err == nil {
			wait, failures = l.options.Interval, 0
			continue
		}
		wait = min(firstWait<<min(failures, 10), lastWait)
		failures++
	}
}

// wait returns true when it is time to list, false when the context has ended.
func (l *Lister) wait(ctx context.Context, d time.Duration) bool {
	timer, ticker := time.NewTimer(d), time.NewTicker(look)
	defer timer.Stop()
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-l.again:
			if l.replaced() {
				return true
			}
			if listed, err := l.Current(); listed != nil && err == nil {
				timer.Reset(min(d, max(0, time.Until(listed.At.Add(pause)))))
			}
		case <-ticker.C:
			if l.replaced() {
				return true
			}
		}
	}
}

// replaced says whether another process listens than when it was last tried.
func (l *Lister) replaced() bool {
	server, ok := l.options.Server()
	if !ok {
		return false
	}
	process, err := l.options.Process(server.Address)
	return err == nil && process != l.process
}

func (l *Lister) list(ctx context.Context) error {
	server, ok := l.options.Server()
	if !ok {
		return NotListening // there is no configuration yet, nothing to tell of
	}
	process, err := l.options.Process(server.Address)
	l.process = process
	l.seen.Store(&process)
	if err != nil {
		return l.publish(nil, nil, NotListening)
	}
	client := upstream.NewGuarded(func() error {
		if now, err := l.options.Process(server.Address); err != nil || now != process {
			return upstream.Unlisted
		}
		return nil
	})
	items, callers, err := List(ctx, client, server)
	if err != nil {
		client.Close()
		var failure upstream.Failure
		if errors.As(err, &failure) && failure == upstream.Unlisted {
			err = Unsettled
		}
		return l.publish(nil, nil, err)
	}
	return l.publish(New(process, time.Now(), items, client), callers, nil)
}

// publish puts a listing into force. Without one the last stays, for the process that it is of.
func (l *Lister) publish(listed *Listed, callers []*caller, err error) error {
	before := l.state.Load()
	next := &state{listed: before.listed, err: err, tried: true, changed: make(chan struct{})}
	if listed != nil {
		next.listed = listed
		if old := before.listed; old != nil && old.Process == listed.Process {
			// The connections are to the same process.
			listed.Client.Close()
			listed.Client = old.Client
		} else if old != nil {
			old.Client.Close()
		}
	}
	l.state.Store(next)
	close(before.changed)
	if listed != nil {
		l.follow(callers)
	}
	l.options.Observe(listed, err)
	return err
}

// follow holds the callers' streams open in place of those of the last listing.
func (l *Lister) follow(callers []*caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hangUp()
	for _, c := range l.callers {
		go c.end(context.Background())
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.callers, l.hangUp = callers, cancel
	for _, c := range callers {
		go c.listen(ctx, l.Again)
	}
}

// leave ends what is open.
func (l *Lister) leave(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hangUp()
	var ending sync.WaitGroup
	for _, c := range l.callers {
		ending.Go(func() { c.end(ctx) })
	}
	ending.Wait()
	l.callers = nil
	if listed, _ := l.Current(); listed != nil {
		listed.Client.Close()
	}
}

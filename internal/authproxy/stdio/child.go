package stdio

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The codes of errors that are ours: an internal error of JSON-RPC, and one outside its range for a call that its caller
// cancelled.
const (
	codeInternal  = -32603
	codeNoMethod  = -32601
	codeCancelled = -32800
)

// maxRefusals bounds the answers that wait for a child to read them.
const maxRefusals = 32

// mode is what a child offers, and to whom it talks.
type mode struct {
	// shared says that the child has callers who may not hear of each other.
	shared bool
	// asks says that its callers have legacy sessions, over which it can ask them something.
	asks bool
	// modern says that it is spoken to in a stateless revision.
	modern bool
}

// call is one request of a caller that a child is working on.
type call struct {
	*mailbox
	session *session
	method  string
	// id and token are the caller's own, as it wrote them; number is ours, under which the child knows both.
	id, token []byte
	number    uint64
}

// child is one process of the server with those who wait for it.
type child struct {
	*process
	mode
	key    key
	number int
	log    *logger
	begun  time.Time

	mu       sync.Mutex // guards what follows
	calls    map[uint64]*call
	last     uint64
	sessions map[*session]struct{}
	// asked are the child's own requests by their ids, with the session that is to answer.
	asked map[string]*session
	// idle is since when nobody uses the child; uses are the calls and streams of now.
	idle time.Time
	uses int
	gone bool
	// wanted says that we ended it because nobody needs it, failed that we did because it cannot be used.
	wanted, failed bool
	// forgotten is closed when the child has ended and another can take its place.
	forgotten chan struct{}
	// hello is the answer to the handshake, told is that the child knows that it succeeded.
	hello *message
	told  bool
	// greeting is held while the handshake is made.
	greeting sync.Mutex
	// refusals are answers that the child has not read yet.
	refusals atomic.Int32
}

func newChild(p *process, m mode, key key, number int, log *logger) *child {
	return &child{process: p, mode: m, key: key, number: number, log: log, begun: time.Now(), idle: time.Now(),
		forgotten: make(chan struct{}), calls: map[uint64]*call{}, sessions: map[*session]struct{}{}, asked: map[string]*session{}}
}

// retire makes the child one that nobody gets any more, and whose end is wanted, unless somebody uses it.
func (c *child) retire() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uses > 0 || c.gone {
		return false
	}
	c.gone, c.wanted = true, true
	return true
}

// silence ends the streams that belong to no call that would end by itself.
func (c *child) silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, k := range c.calls {
		if k.method == "subscriptions/listen" {
			delete(c.calls, n)
			k.end(nil, 0)
		}
	}
	for s := range c.sessions {
		s.stream.end(nil, 0)
	}
}

var errGone = errors.New("the server's process has ended")

// use counts a user of the child; false when it is gone. The returned function ends the use.
func (c *child) use() (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, false
	}
	c.uses++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.uses--
		c.idle = time.Now()
	}, true
}

// call sends a request to the child, under a number of ours. s is nil without a session.
func (c *child) call(m *message, s *session) (*call, error) {
	k := &call{mailbox: newMailbox(), session: s, method: m.method, id: m.id.of(m.line), token: m.progress.of(m.line)}
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return nil, errGone
	}
	c.last++
	k.number = c.last
	c.calls[k.number] = k
	c.mu.Unlock()
	n := numeral(k.number)
	if err := c.send(m.spliced(change{m.id, n}, change{m.progress, n})); err != nil {
		c.broken("it does not read its input")
		return nil, errGone
	}
	return k, nil
}

// cancel tells the child that nobody waits for a call any more, and ends the call.
func (c *child) cancel(k *call) {
	c.mu.Lock()
	_, waiting := c.calls[k.number]
	delete(c.calls, k.number)
	gone := c.gone
	c.mu.Unlock()
	if !waiting || gone {
		return
	}
	k.end(failed(k.id, codeCancelled, "the caller cancelled the request"), codeCancelled)
	// An initialize must not be cancelled.
	if k.method == "initialize" {
		return
	}
	if c.send([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+string(numeral(k.number))+`}}`)) != nil {
		c.broken("it does not read its input")
	}
}

// find is the call of a session that its caller knows by an id; nil without one.
func (c *child) find(s *session, id []byte) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.calls {
		if k.session == s && string(k.id) == string(id) {
			return k
		}
	}
	return nil
}

// broken ends a child that cannot be talked to; why is for the log and has nothing of what it wrote.
func (c *child) broken(why string) {
	c.mu.Lock()
	first := !c.failed
	c.failed = true
	c.mu.Unlock()
	if first {
		c.log.say("a child is ended", "child", c.number, "because", why)
		go c.kill()
	}
}

// read passes on what the child writes, until its end.
func (c *child) read() {
	err := c.lines(func(line []byte) error {
		if len(line) == 0 {
			return nil
		}
		m, err := parse(line)
		switch {
		case err == nil:
			c.deliver(&m)
		case line[0] == '{' && !errors.Is(err, errMessage), line[0] == '[':
			// It meant to say something, and nobody knows to whom: whoever waits for it would wait for ever.
			return errMalformed
		default:
			c.log.rare("a child wrote something that is no message", "child", c.number, "bytes", len(line))
		}
		return nil
	})
	switch {
	case errors.Is(err, errMalformed), errors.Is(err, errLine):
		c.log.say("a child is ended", "child", c.number, "because", err.Error())
		c.kill()
	default:
		// It closed its output, which is a way to end.
		c.end()
	}
}

var errMalformed = errors.New("a line that is not valid JSON")

// deliver takes one message to whom it is for. What is for nobody is left out.
func (c *child) deliver(m *message) {
	switch {
	case m.response():
		c.answer(m)
	case m.request():
		c.ask(m)
	default:
		c.tell(m)
	}
}

// answer ends a call. An answer to what nobody asked, or a second one, is nobody's.
func (c *child) answer(m *message) {
	n, ok := number(m.id.of(m.line))
	c.mu.Lock()
	k := c.calls[n]
	delete(c.calls, n)
	c.mu.Unlock()
	if !ok || k == nil {
		c.log.rare("a child answered what nobody waits for", "child", c.number)
		return
	}
	subscription := k.id
	k.end(oneLine(m.spliced(change{m.id, k.id}, change{m.subscription, subscription})), m.code)
}

// ask takes a request of the child to a session that may answer it.
func (c *child) ask(m *message) {
	id := string(m.id.of(m.line))
	c.mu.Lock()
	box, s := c.listener()
	_, twice := c.asked[id]
	if box != nil && !twice {
		c.asked[id] = s
	}
	c.mu.Unlock()
	if twice {
		c.log.rare("a child asked twice under one id", "child", c.number)
		return
	}
	if box != nil && box.put(oneLine(m.spliced())) {
		return
	}
	c.mu.Lock()
	delete(c.asked, id)
	c.mu.Unlock()
	c.refuse([]byte(id))
}

// refuse answers a request of the child that nobody can.
func (c *child) refuse(id []byte) {
	// The reader must go on: a child that waits for this before it reads would otherwise never be read.
	if c.refusals.Add(1) > maxRefusals {
		c.broken("it asks and does not read the answers")
		return
	}
	go func() {
		defer c.refusals.Add(-1)
		if c.send(failed(id, codeNoMethod, "there is no client to ask")) != nil {
			c.broken("it does not read its input")
		}
	}()
}

// listener is the stream on which the child's caller hears what belongs to no call: that of its newest call, or else that of
// the session that was used last. Callers who may not hear of each other have none.
func (c *child) listener() (*mailbox, *session) {
	if c.shared || !c.asks {
		return nil, nil
	}
	var newest *call
	for _, k := range c.calls {
		if k.session != nil && (newest == nil || k.number > newest.number) {
			newest = k
		}
	}
	if newest != nil {
		return newest.mailbox, newest.session
	}
	var latest *session
	for s := range c.sessions {
		if latest == nil || s.used.After(latest.used) {
			latest = s
		}
	}
	if latest == nil {
		return nil, nil
	}
	return latest.stream, latest
}

// tell takes a notification to those whom it concerns.
func (c *child) tell(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.method == "notifications/progress":
		if n, ok := number(m.progress.of(m.line)); ok {
			if k := c.calls[n]; k != nil && len(k.token) > 0 {
				k.put(oneLine(m.spliced(change{m.progress, k.token})))
			}
		}
	case m.method == "notifications/cancelled":
		id := m.cancels.of(m.line)
		if n, ok := number(id); ok && c.modern {
			if k := c.calls[n]; k != nil && k.method == "subscriptions/listen" {
				delete(c.calls, n)
				k.end(nil, 0)
			}
			return
		}
		if s := c.asked[string(id)]; s != nil {
			delete(c.asked, string(id))
			s.stream.put(oneLine(m.spliced()))
		}
	case m.subscription.there():
		if n, ok := number(m.subscription.of(m.line)); ok {
			if k := c.calls[n]; k != nil {
				k.put(oneLine(m.spliced(change{m.subscription, k.id})))
			}
		}
	case strings.HasSuffix(m.method, "/list_changed"):
		c.broadcast(m)
	case c.shared:
		// It may be about a caller whom the others may not hear of.
	case m.method == "notifications/message" && len(c.calls) == 1:
		for _, k := range c.calls {
			k.put(oneLine(m.spliced()))
		}
	default:
		c.broadcast(m)
	}
}

func (c *child) broadcast(m *message) {
	for s := range c.sessions {
		s.stream.put(oneLine(m.spliced()))
	}
}

// ends is called when the child has ended: every call gets an error, every session is over.
func (c *child) ends() (calls int) {
	c.mu.Lock()
	c.gone = true
	waiting, sessions := c.calls, c.sessions
	c.calls, c.sessions, c.asked = map[uint64]*call{}, map[*session]struct{}{}, map[string]*session{}
	c.mu.Unlock()
	for _, k := range waiting {
		k.end(failed(k.id, codeInternal, "the server's process ended before it answered"), codeInternal)
	}
	for s := range sessions {
		s.stream.end(nil, 0)
	}
	return len(waiting)
}

// oneLine is a line without the white space that would be the end of one in a stream of events.
func oneLine(line []byte) []byte {
	for _, b := range line {
		if b == '\r' || b == '\n' {
			return compact(line)
		}
	}
	return line
}

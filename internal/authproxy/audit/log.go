package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is returned for a record that came after Close.
var ErrClosed = errors.New("the audit log is closed")

// batch bounds what is written at once, in bytes.
const batch = 64 << 10

// Log writes records. Callers wait until their record is written; the one that comes first writes for all that wait, and
// who came meanwhile goes on. A sink that stalls blocks every caller: nothing is answered that is not in the log, but for the
// requests that a KindRepeated line counts.
type Log struct {
	options Options
	closing chan struct{}
	closed  chan struct{}
	floods  floods
	lines   [5]atomic.Uint64
	failed  atomic.Uint64
	// writing is when the write began that is under way, in Unix nanoseconds; 0 when none is.
	writing atomic.Int64
	// chain and taken, the entries of a write, are the writer's.
	chain chain
	taken []*entry

	mu sync.Mutex // guards what follows
	// waiting are the entries that no write has taken; busy says that there is a writer, and idle that there no longer is.
	waiting []*entry
	busy    bool
	idle    sync.Cond
	ended   bool
	// begun, seq and hash are the last line that was written.
	begun bool
	seq   uint64
	hash  [32]byte
}

// Options are what a Log is told.
type Options struct {
	// Sink is where the lines go.
	Sink io.Writer
	// Server and Boot are those of every line.
	Server, Boot string
	// Remember is told the last line about every second and at the end, if there is another; nil goes without.
	Remember func(Head)
	// Now is the time, time.Now when nil.
	Now func() time.Time
}

// entry is a line that waits to be written. Its caller is told errWriter when it is to write, and then what became of the line.
type entry struct {
	kind Kind
	line []byte
	told chan error
}

var errWriter = errors.New("this caller writes")

var entries = sync.Pool{New: func() any { return &entry{told: make(chan error, 1)} }}

// NewLog returns a running Log. Begin is to be called before it is used.
func NewLog(options Options) *Log {
	if options.Now == nil {
		options.Now = time.Now
	}
	l := &Log{options: options, closing: make(chan struct{}), closed: make(chan struct{})}
	l.idle.L = &l.mu
	l.floods.by = map[flood]*tally{}
	go l.run()
	return l
}

// Begin writes the first line of the boot, which names the last lines of earlier boots that are known elsewhere.
func (l *Log) Begin(known []Head) error {
	return l.write(&Record{Kind: KindBoot, Known: known, Time: l.options.Now()})
}

// Write returns once the record is written, or counted as a repeated one, or with the error that kept it from being.
func (l *Log) Write(r *Record) error {
	if r.Kind != KindServerRequest {
		r.Kind = KindRequest
	}
	if l.floods.counts(r, l.options.Now()) {
		return nil
	}
	return l.write(r)
}

func (l *Log) write(r *Record) error {
	r.Server, r.Boot = l.options.Server, l.options.Boot
	e := entries.Get().(*entry)
	e.kind, e.line = r.Kind, r.append(e.line[:0])
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return ErrClosed
	}
	l.waiting = append(l.waiting, e)
	first := !l.busy
	l.busy = true
	l.mu.Unlock()
	if first {
		// Whoever is about to come shares this write. Nobody is waited for: when nothing else can run, this goes on at once.
		runtime.Gosched()
		l.lead()
	}
	err := <-e.told
	if err == errWriter {
		l.lead()
		err = <-e.told
	}
	entries.Put(e)
	return err
}

// lead writes what waits, as far as it is one write, and makes the first of those that are left the writer.
func (l *Log) lead() {
	l.mu.Lock()
	n := 0
	for size := 0; n < len(l.waiting) && size < batch; n++ {
		size += len(l.waiting[n].line)
	}
	l.taken = append(l.taken[:0], l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	l.mu.Unlock()
	l.flush(l.taken)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		l.waiting[0].told <- errWriter
		return
	}
	l.busy = false
	l.idle.Broadcast()
}

// Head is the last line that was written; false without one.
func (l *Log) Head() (Head, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		return Head{}, false
	}
	return Head{Boot: l.options.Boot, Seq: l.seq, Hash: hex.EncodeToString(l.hash[:])}, true
}

// Lines returns how many lines of a kind were written, and Lost how many could not be.
func (l *Log) Lines(kind Kind) uint64 { return l.lines[kind.index()].Load() }

// Lost returns how many lines could not be written.
func (l *Log) Lost() uint64 { return l.failed.Load() }

// Stalled returns for how long the sink has not taken what is being written to it; 0 when nothing is.
func (l *Log) Stalled() time.Duration {
	if since := l.writing.Load(); since > 0 {
		return max(0, time.Duration(time.Now().UnixNano()-since))
	}
	return 0
}

func (k Kind) index() int {
	switch k {
	case KindRequest:
		return 0
	case KindRepeated:
		return 1
	case KindBoot:
		return 2
	case KindServerRequest:
		return 3
	default:
		return 4
	}
}

// Close writes what waits and what was counted, and ends the Log. It is called once.
func (l *Log) Close() {
	close(l.closing)
	<-l.closed
}

// run writes what is due by time, and what is left at the end.
func (l *Log) run() {
	defer close(l.closed)
	remembered := Head{}
	remember := func() {
		if head, ok := l.Head(); ok && l.options.Remember != nil && head != remembered {
			l.options.Remember(head)
			remembered = head
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, r := range l.floods.over(l.options.Now(), false) {
				_ = l.write(&r)
			}
			remember()
		case <-l.closing:
			l.mu.Lock()
			l.ended = true
			for l.busy {
				l.idle.Wait()
			}
			l.mu.Unlock()
			// From here on nobody else writes.
			for _, r := range l.floods.over(l.options.Now(), true) {
				r.Server, r.Boot = l.options.Server, l.options.Boot
				l.flush([]*entry{{kind: r.Kind, line: r.append(nil), told: make(chan error, 1)}})
			}
			remember()
			return
		}
	}
}

// flush writes entries.
func (l *Log) flush(entries []*entry) {
	c := &l.chain
	c.begin(l)
	for _, e := range entries {
		c.add(e)
	}
	l.writing.Store(time.Now().UnixNano())
	n, err := l.options.Sink.Write(c.text)
	l.writing.Store(0)
	if err == nil && n < len(c.text) {
		err = io.ErrShortWrite
	}
	c.end(l, n, err)
}

// chain makes the lines of one write, and knows what the last line was.
type chain struct {
	// next is the place of the next line, last the hash of the last.
	next uint64
	last [32]byte
	// lost are the lines that could not be written since; torn says that a part of one was.
	lost uint64
	torn bool

	text  []byte
	lines []line
}

// line is a line of the write: where it ends, its hash, and who waits for it; nobody for a line of the Log's own.
type line struct {
	end   int
	hash  [32]byte
	kind  Kind
	entry *entry
}

// begin starts a write with the lines that are the Log's own.
func (c *chain) begin(l *Log) {
	c.text, c.lines = c.text[:0], c.lines[:0]
	if c.torn {
		c.text = append(c.text, '\n')
	}
	if c.lost == 0 {
		return
	}
	gap := Record{Kind: KindGap, Time: l.options.Now(), Server: l.options.Server, Boot: l.options.Boot, Lost: c.lost}
	c.text = gap.append(c.text)
	c.place(KindGap, nil)
}

func (c *chain) add(e *entry) {
	c.text = append(c.text, e.line...)
	c.place(e.kind, e)
}

// place ends the line that text ends with.
func (c *chain) place(kind Kind, e *entry) {
	start, prev := 0, c.last
	if n := len(c.lines); n > 0 {
		start, prev = c.lines[n-1].end, c.lines[n-1].hash
	} else if c.torn {
		start = 1
	}
	c.text = appendPlace(c.text, c.next+uint64(len(c.lines)), prev)
	c.lines = append(c.lines, line{end: len(c.text), hash: sha256.Sum256(c.text[start : len(c.text)-1]), kind: kind, entry: e})
}

// end takes in what became of the write: n bytes of it were written.
func (c *chain) end(l *Log, n int, err error) {
	whole := 0
	for whole < len(c.lines) && c.lines[whole].end <= n {
		whole++
	}
	if err == nil {
		whole = len(c.lines)
	}
	for i := range c.lines[:whole] {
		written := &c.lines[i]
		l.lines[written.kind.index()].Add(1)
		if written.kind == KindGap {
			// Whatever else is lost in this write is counted below.
			c.lost = 0
		}
	}
	if whole > 0 {
		c.next += uint64(whole)
		c.last = c.lines[whole-1].hash
		c.torn = false
		l.mu.Lock()
		l.begun, l.seq, l.hash = true, c.next-1, c.last
		l.mu.Unlock()
	}
	if err != nil {
		begun := 0
		if whole > 0 {
			begun = c.lines[whole-1].end
		}
		c.torn = c.torn || n > begun
	}
	for i := range c.lines {
		e := c.lines[i].entry
		if i >= whole && c.lines[i].kind != KindGap {
			c.lost++
			l.failed.Add(1)
		}
		if e == nil {
			continue
		}
		if i < whole {
			e.told <- nil
		} else {
			e.told <- err
		}
		c.lines[i].entry = nil
	}
}

package stdio

import "sync"

// What waits for a reader is bounded: a caller that does not read costs its own messages, not the child.
const (
	maxWaiting      = 256
	maxWaitingBytes = 4 << 20
)

// mailbox holds messages for one stream of events, and at last the final answer. The child's reader never waits for it.
type mailbox struct {
	mu      sync.Mutex
	waiting [][]byte
	size    int
	final   []byte
	code    int64
	ended   bool
	// news has a value when there is something that was not there before.
	news chan struct{}
}

func newMailbox() *mailbox { return &mailbox{news: make(chan struct{}, 1)} }

// put adds a message, and says whether there was room.
func (b *mailbox) put(line []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || len(b.waiting) >= maxWaiting || b.size+len(line) > maxWaitingBytes {
		return false
	}
	b.waiting = append(b.waiting, line)
	b.size += len(line)
	b.wake()
	return true
}

// end adds the final answer, which may be nil; code is that of the error it is. Only the first counts.
func (b *mailbox) end(final []byte, code int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.final, b.code, b.ended = final, code, true
	b.wake()
}

func (b *mailbox) wake() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// take returns what waits, and whether it is all that there will ever be.
func (b *mailbox) take() (waiting [][]byte, final []byte, code int64, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting, b.waiting, b.size = b.waiting, nil, 0
	return waiting, b.final, b.code, b.ended
}

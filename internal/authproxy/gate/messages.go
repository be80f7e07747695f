package gate

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// waitingMessages bounds the messages that wait to be written.
	waitingMessages = 256
	// messagesTimeout bounds the wait for the last of them.
	messagesTimeout = 2 * time.Second
)

// messages are the gate's own messages on their way to where they are written. Whoever says something never waits for that: a
// configuration comes into force whether or not somebody takes what is said of it. What is not taken is dropped and counted.
type messages struct {
	sink    io.Writer
	start   sync.Once
	queue   chan []byte
	closing chan struct{}
	done    chan struct{}
	lost    atomic.Uint64
}

func newMessages(sink io.Writer) *messages {
	return &messages{sink: sink, queue: make(chan []byte, waitingMessages), closing: make(chan struct{}), done: make(chan struct{})}
}

// Write takes one message.
func (m *messages) Write(p []byte) (int, error) {
	m.start.Do(func() { go m.run() })
	select {
	case m.queue <- bytes.Clone(p):
	default:
		m.lost.Add(1)
	}
	return len(p), nil
}

// close writes what waits, and gives up soon where nobody takes it. It is called once, and nothing is said after it.
func (m *messages) close() {
	m.start.Do(func() { close(m.done) })
	close(m.closing)
	select {
	case <-m.done:
	case <-time.After(messagesTimeout):
	}
}

func (m *messages) run() {
	defer close(m.done)
	write := func(p []byte) {
		if n, err := m.sink.Write(p); err != nil || n < len(p) {
			m.lost.Add(1)
		}
	}
	for {
		select {
		case p := <-m.queue:
			write(p)
		case <-m.closing:
			for {
				select {
				case p := <-m.queue:
					write(p)
					continue
				default:
				}
				return
			}
		}
	}
}

package audit

import (
	"errors"
	"io"
)

// ErrClosed is returned for a record that came after Close.
var ErrClosed = errors.New("the audit log is closed")

const (
	// ringSize is how many records may wait; more callers block until there is room.
	ringSize = 1024
	// batch bounds what is written at once, in bytes.
	batch = 64 << 10
)

// Log writes records. One goroutine writes; callers wait until their record is written, and share a write when several
// wait. A sink that stalls blocks every caller: nothing is answered that is not in the log.
type Log struct {
	sink    io.Writer
	ring    chan entry
	closing chan struct{}
	closed  chan struct{}
}

type entry struct {
	line    []byte
	written chan<- error
}

// NewLog returns a running Log.
func NewLog(sink io.Writer) *Log {
	l := &Log{sink: sink, ring: make(chan entry, ringSize), closing: make(chan struct{}), closed: make(chan struct{})}
	go l.run()
	return l
}

// Write returns once the record is written, or with the error that kept it from being.
func (l *Log) Write(r Record) error {
	line, err := r.line()
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	select {
	case l.ring <- entry{line: line, written: written}:
	case <-l.closing:
		return ErrClosed
	}
	select {
	case err := <-written:
		return err
	case <-l.closed:
		// The last records may have been written between the two.
		select {
		case err := <-written:
			return err
		default:
			return ErrClosed
		}
	}
}

// Close writes what waits and ends the Log. It is called once.
func (l *Log) Close() {
	close(l.closing)
	<-l.closed
}

func (l *Log) run() {
	defer close(l.closed)
	for {
		select {
		case first := <-l.ring:
			l.write(first)
		case <-l.closing:
			for {
				select {
				case first := <-l.ring:
					l.write(first)
				default:
					return
				}
			}
		}
	}
}

// write writes an entry and those that wait behind it.
func (l *Log) write(first entry) {
	lines, waiting := first.line, []chan<- error{first.written}
collect:
	for len(lines) < batch {
		select {
		case next := <-l.ring:
			lines = append(lines, next.line...)
			waiting = append(waiting, next.written)
		default:
			break collect
		}
	}
	_, err := l.sink.Write(lines)
	for _, written := range waiting {
		written <- err
	}
}

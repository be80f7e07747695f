package trace

import (
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

const (
	// MaxLine bounds a line, in bytes, with its line feed: container runtimes cut lines at 16 KiB.
	MaxLine = 16 << 10
	// waiting bounds the spans that wait to be written.
	waiting = 512
	// delay is how long a span waits for others for its line.
	delay = time.Second
	// closeTimeout bounds the wait for the last line.
	closeTimeout = 2 * time.Second
)

// Options describe whose spans an Exporter writes, and where.
type Options struct {
	Sink io.Writer
	// Namespace and Server name the MCPServer, Instance the gate's process, Version the gate's program.
	Namespace, Server, Instance, Version string
}

// Exporter writes spans as lines of OTLP's JSON, several in a line. Whoever sends one never waits: what the sink does not take
// is dropped and counted. It costs nothing until the first span.
type Exporter struct {
	options Options
	start   sync.Once
	queue   chan []byte
	closing chan struct{}
	done    chan struct{}

	written, dropped atomic.Uint64
}

// NewExporter returns an Exporter.
func NewExporter(options Options) *Exporter {
	return &Exporter{options: options, queue: make(chan []byte, waiting), closing: make(chan struct{}), done: make(chan struct{})}
}

// Written counts the spans that were written.
func (e *Exporter) Written() uint64 { return e.written.Load() }

// Dropped counts the spans that the sink did not take.
func (e *Exporter) Dropped() uint64 { return e.dropped.Load() }

// Send has a span written.
func (e *Exporter) Send(s *Span) {
	e.start.Do(func() { go e.run() })
	encoded, err := s.encode()
	if err != nil {
		e.dropped.Add(1)
		return
	}
	select {
	case e.queue <- encoded:
	default:
		e.dropped.Add(1)
	}
}

// Close writes what waits, and gives up soon on a sink that takes nothing. It is called once, and nothing is sent after it.
func (e *Exporter) Close() {
	e.start.Do(func() { close(e.done) })
	close(e.closing)
	select {
	case <-e.done:
	case <-time.After(closeTimeout):
	}
}

func (e *Exporter) run() {
	defer close(e.done)
	head, tail := e.frame()
	line, spans := []byte(nil), uint64(0)
	flush := func() {
		if spans == 0 {
			return
		}
		if n, err := e.options.Sink.Write(append(line, tail...)); err != nil || n < len(line)+len(tail) {
			e.dropped.Add(spans)
		} else {
			e.written.Add(spans)
		}
		line, spans = line[:0], 0
	}
	add := func(span []byte) {
		if len(line)+1+len(span)+len(tail) > MaxLine {
			flush()
		}
		if spans == 0 {
			line = append(line[:0], head...)
		} else {
			line = append(line, ',')
		}
		line = append(line, span...)
		spans++
	}
	timer := time.NewTimer(delay)
	timer.Stop()
	for {
		select {
		case span := <-e.queue:
			if spans == 0 {
				timer.Reset(delay)
			}
			add(span)
		case <-timer.C:
			flush()
		case <-e.closing:
			for {
				select {
				case span := <-e.queue:
					add(span)
					continue
				default:
				}
				flush()
				return
			}
		}
	}
}

// frame is what stands before and after the spans of a line.
func (e *Exporter) frame() (head, tail []byte) {
	o := e.options
	type attributes struct {
		Attributes []Attribute `json:"attributes"`
	}
	type scope struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	resource, _ := json.Marshal(attributes{[]Attribute{String("service.name", o.Server), String("service.namespace", o.Namespace),
		String("service.instance.id", o.Instance), String("k8s.namespace.name", o.Namespace)}})
	who, _ := json.Marshal(scope{"github.com/bartizan-dev/bartizan/gate", cut(o.Version)})
	head = append(append([]byte(`{"resourceSpans":[{"resource":`), resource...), `,"scopeSpans":[{"scope":`...)
	head = append(append(head, who...), `,"spans":[`...)
	return audit.AppendASCII(nil, string(head)), []byte("]}]}]}\n")
}

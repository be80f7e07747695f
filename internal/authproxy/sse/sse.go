// Package sse passes on a stream of server-sent events (HTML, section 9.2) and rewrites what must not pass as it is.
// What it writes has one reading: a line ends in LF, a field is one that the standard names.
package sse

import (
	"bytes"
	"errors"
	"io"
)

const (
	// maxField bounds a line that is not data, in bytes.
	maxField = 4 << 10
	// maxKept bounds what is kept for the next event's data, in bytes.
	maxKept = 8 << 10
)

// The ways in which a stream can be refused.
var (
	ErrLine  = errors.New("a line of the event stream is too long")
	ErrCR    = errors.New("the event stream has a carriage return that ends no line")
	ErrEvent = errors.New("an event is larger than allowed")
)

// Writer is where the events go.
type Writer interface {
	io.Writer
	Flush() error
}

// Rewrite says what becomes of the events of one stream.
type Rewrite struct {
	// ID returns what stands for an event's id; nil removes ids.
	ID func(id string) (string, error)
	// Data returns what stands for the data of a message, which is not empty, or nil for an event that is to have none; a nil
	// Data passes the data of all events on as it comes in.
	Data func(data []byte) ([]byte, error)
	// MaxEvent bounds the data of one event that Data sees, in bytes.
	MaxEvent int
	// Reserve, if not nil, is asked before n bytes in all are held for Data, and told 0 when they are not any more.
	Reserve func(n int64) error
}

// Copy passes events on from r to w until the stream ends, flushing whenever it would wait for more. It returns nil when
// the stream ended between two events.
func Copy(w Writer, r io.Reader, rewrite Rewrite) error {
	c := copier{w: w, r: lines{r: r}, rewrite: rewrite, data: []byte{}}
	for {
		err := c.line()
		switch {
		case err == io.EOF && c.open:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return c.flush()
		case err != nil:
			return err
		}
	}
}

type copier struct {
	w       Writer
	r       lines
	rewrite Rewrite
	// open says that an event has begun, dirty that something written is not flushed.
	open, dirty bool
	hasData     bool
	// hasID says that an id was written.
	hasID bool
	data  []byte
	// foreign says that the event has another name than that of a message.
	foreign bool
	// started says that a line was read, cr that what was read last ended in CR.
	started, cr bool
}

// read returns what there is of the current line, without its end, and whether the line ended.
func (c *copier) read() (chunk []byte, ended bool, err error) {
	if c.r.buffered() == 0 {
		if err := c.flush(); err != nil {
			return nil, false, err
		}
	}
	chunk, err = c.r.next()
	if c.cr && (err != nil || len(chunk) > 1) {
		return nil, false, ErrCR
	}
	c.cr = false
	switch {
	case err == nil:
		chunk, ended = bytes.TrimSuffix(chunk[:len(chunk)-1], []byte("\r")), true
	case errors.Is(err, errLong):
		// Its last byte may be the CR of the line's end, which then must follow.
		chunk, c.cr = bytes.CutSuffix(chunk, []byte("\r"))
		err = nil
	case err == io.EOF && len(chunk) > 0:
		return nil, false, io.ErrUnexpectedEOF
	default:
		return nil, false, err
	}
	if bytes.IndexByte(chunk, '\r') >= 0 {
		return nil, false, ErrCR
	}
	return chunk, ended, err
}

func (c *copier) line() error {
	chunk, ended, err := c.read()
	if err != nil {
		return err
	}
	if !c.started {
		c.started = true
		chunk = bytes.TrimPrefix(chunk, []byte("\ufeff"))
	}
	if ended && len(chunk) == 0 {
		return c.dispatch()
	}
	name, value, _ := bytes.Cut(chunk, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	c.open = c.open || len(name) > 0
	if string(name) == "data" {
		return c.dataLine(value, ended)
	}
	if !ended || len(chunk) > maxField {
		return ErrLine
	}
	switch string(name) {
	case "":
		// A comment, sent to keep the connection alive. Its text is the server's own.
		return c.write([]byte(":\n"))
	case "event":
		// MCP has messages only, and that is also what an event without a name is. What a client makes of another name is not
		// known, so it goes with the data.
		if c.foreign = len(value) > 0 && string(value) != "message"; c.foreign {
			return nil
		}
		return c.field("event", []byte("message"))
	case "retry":
		if len(value) == 0 || len(value) > 9 || len(bytes.Trim(value, "0123456789")) > 0 {
			return nil
		}
		return c.field("retry", value)
	case "id":
		if c.rewrite.ID == nil {
			return nil
		}
		if len(value) == 0 {
			return c.field("id", nil)
		}
		id, err := c.rewrite.ID(string(value))
		if err != nil {
			return err
		}
		c.hasID = true
		return c.field("id", []byte(id))
	default:
		return nil
	}
}

// dataLine handles a line of data whose beginning is value.
func (c *copier) dataLine(value []byte, ended bool) error {
	if c.rewrite.Data != nil {
		if c.hasData {
			c.data = append(c.data, '\n')
		}
		c.hasData = true
		for {
			if err := c.room(len(c.data) + len(value) + 1); err != nil {
				return err
			}
			c.data = append(c.data, value...)
			if ended {
				return nil
			}
			var err error
			if value, ended, err = c.rest(); err != nil {
				return err
			}
		}
	}
	c.hasData = true
	if err := c.write([]byte("data: ")); err != nil {
		return err
	}
	for {
		if err := c.write(value); err != nil {
			return err
		}
		if ended {
			return c.write([]byte("\n"))
		}
		var err error
		if value, ended, err = c.rest(); err != nil {
			return err
		}
	}
}

// rest is read for a line that has begun: it must end.
func (c *copier) rest() ([]byte, bool, error) {
	chunk, ended, err := c.read()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return chunk, ended, err
}

// dispatch ends an event.
func (c *copier) dispatch() error {
	if c.rewrite.Data != nil && c.hasData && (!c.foreign || c.hasID) {
		data := c.data
		if c.foreign {
			// Clients take notice of an id only in an event that has data, be it empty: as servers begin a stream that can be
			// resumed, and some have a name of their own for that.
			data = []byte{}
		}
		if len(data) > 0 {
			var err error
			if data, err = c.rewrite.Data(data); err != nil {
				return err
			}
		}
		if err := c.dataField(data); err != nil {
			return err
		}
	}
	c.open, c.hasData, c.hasID, c.foreign, c.data = false, false, false, false, c.data[:0]
	if cap(c.data) > maxKept {
		c.data = []byte{}
	}
	if c.rewrite.Reserve != nil {
		if err := c.rewrite.Reserve(0); err != nil {
			return err
		}
	}
	return c.write([]byte("\n"))
}

// room makes room for n bytes of data.
func (c *copier) room(n int) error {
	if n-1 > c.rewrite.MaxEvent {
		return ErrEvent
	}
	size := cap(c.data)
	if n > size {
		size = max(n, min(2*size, c.rewrite.MaxEvent+1))
	}
	if c.rewrite.Reserve != nil {
		if err := c.rewrite.Reserve(int64(size)); err != nil {
			return err
		}
	}
	if size > cap(c.data) {
		c.data = append(make([]byte, 0, size), c.data...)
	}
	return nil
}

func (c *copier) dataField(data []byte) error {
	if data == nil {
		return nil
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if err := c.field("data", line); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) field(name string, value []byte) error {
	line := make([]byte, 0, len(name)+len(value)+3)
	line = append(line, name...)
	line = append(line, ": "...)
	line = append(line, value...)
	return c.write(append(line, '\n'))
}

func (c *copier) write(p []byte) error {
	c.dirty = true
	_, err := c.w.Write(p)
	return err
}

func (c *copier) flush() error {
	if !c.dirty {
		return nil
	}
	c.dirty = false
	return c.w.Flush()
}

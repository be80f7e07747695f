package sse

import (
	"bytes"
	"errors"
	"io"
)

const (
	// least and most are how much is read at once: most is a line of maxField and its end. Each stream has a buffer for as long as it
	// lasts, which is as large as its lines have been.
	least = 512
	most  = maxField + 64
	// maxEmpty bounds the reads in a row that bring nothing.
	maxEmpty = 100
)

// errLong says that a line is longer than the buffer.
var errLong = errors.New("the line goes on")

// lines reads the lines of a stream.
type lines struct {
	r   io.Reader
	buf []byte
	// from and to are where in buf it is that was read and not returned.
	from, to int
	err      error
}

// buffered is how much can be returned without reading.
func (l *lines) buffered() int { return l.to - l.from }

// next returns the next line with its end, valid until the next call; of a line that is longer than the buffer it returns a part, and
// errLong, and at the end of the stream what there is of a line, and the error.
func (l *lines) next() (line []byte, err error) {
	for searched := 0; ; {
		if i := bytes.IndexByte(l.buf[l.from+searched:l.to], '\n'); i >= 0 {
			line = l.buf[l.from : l.from+searched+i+1]
			l.from += len(line)
			return line, nil
		}
		searched = l.buffered()
		if l.err == nil && searched < most {
			l.fill()
			continue
		}
		if err = l.err; err == nil {
			err = errLong
		}
		line = l.buf[l.from:l.to]
		l.from = l.to
		return line, err
	}
}

// fill reads more, and makes room for it.
func (l *lines) fill() {
	if l.from > 0 {
		l.to = copy(l.buf, l.buf[l.from:l.to])
		l.from = 0
	}
	if l.to == len(l.buf) {
		larger := make([]byte, min(max(2*len(l.buf), least), most))
		copy(larger, l.buf)
		l.buf = larger
	}
	for range maxEmpty {
		var n int
		if n, l.err = l.r.Read(l.buf[l.to:]); n > 0 || l.err != nil {
			l.to += n
			return
		}
	}
	l.err = io.ErrNoProgress
}

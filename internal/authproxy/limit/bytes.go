// Package limit bounds what the gate takes on at once, so that no load makes its container run out of memory. What does
// not fit is refused at once: nothing ever waits here, least of all a revocation.
package limit

import (
	"errors"
	"io"
	"sync"
)

// The reasons not to read something.
var (
	// ErrBusy says that too much is being read at once; it may fit later.
	ErrBusy = errors.New("too much is held at once")
	// ErrSize says that it is larger than allowed.
	ErrSize = errors.New("larger than allowed")
)

// firstRead is what a reader begins with, in bytes.
const firstRead = 4 << 10

// Bytes is an amount of memory that many share, and of which nobody has all.
type Bytes struct {
	each int64

	mu   sync.Mutex
	left int64
	by   map[string]int64
}

// NewBytes returns n bytes to share, of which one name has at most each.
func NewBytes(n, each int64) *Bytes { return &Bytes{each: each, left: n, by: map[string]int64{}} }

// Hold is one holder's part of the shared memory. It is for one goroutine.
type Hold struct {
	from  *Bytes
	name  string
	times int64
	n     int64
}

// Hold returns a name's holder of nothing. What it asks for counts times as often, for what is made of it.
func (b *Bytes) Hold(name string, times int64) *Hold { return &Hold{from: b, name: name, times: times} }

// Grow makes the part n bytes, more or less than before, or returns ErrBusy and leaves it.
func (h *Hold) Grow(n int64) error {
	n *= h.times
	if n == h.n {
		return nil
	}
	b, more := h.from, n-h.n
	b.mu.Lock()
	defer b.mu.Unlock()
	if more > 0 && (more > b.left || more > b.each-b.by[h.name]) {
		return ErrBusy
	}
	b.left -= more
	if b.by[h.name] += more; b.by[h.name] == 0 {
		delete(b.by, h.name)
	}
	h.n = n
	return nil
}

// Release gives the part back.
func (h *Hold) Release() { _ = h.Grow(0) }

// Read reads all there is, at most limit bytes, growing the part before the memory is used. length is how much is said to
// come, negative when nothing is said: so much is taken at once, but beyond maxTrusted only when that has come.
func (h *Hold) Read(r io.Reader, length, limit int64) ([]byte, error) {
	var all []byte
	length = min(length, limit)
	for {
		if len(all) == cap(all) {
			if int64(len(all)) > limit {
				return nil, ErrSize
			}
			size := min(next(int64(cap(all)), length), limit+1)
			if err := h.Grow(size); err != nil {
				return nil, err
			}
			all = append(make([]byte, 0, size), all...)
		}
		n, err := r.Read(all[len(all):cap(all)])
		all = all[:len(all)+n]
		switch {
		case int64(len(all)) > limit:
			return nil, ErrSize
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
	}
}

// maxTrusted bounds what is taken because of a length that was said, in bytes.
const maxTrusted = 64 << 10

// next is the size of the buffer after one of a size, when so much is said to come. The end is found with a byte of room.
func next(size, length int64) int64 {
	switch {
	case length < 0 || size > length:
		return max(2*size, firstRead)
	case size < maxTrusted:
		return min(length+1, maxTrusted)
	default:
		return length + 1
	}
}

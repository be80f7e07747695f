package sse

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// TestLines: however a stream comes in, its lines and their parts are those that bufio reads, out of a buffer that is no larger than
// they need.
func TestLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var text strings.Builder
		longest := 0
		for range random.IntN(20) {
			length := []int{0, 1, 100, least - 1, least, 3 * least, most - 1, most, 3 * most}[random.IntN(9)]
			text.WriteString(strings.Repeat("x", length) + "\n")
			longest = max(longest, length+1)
		}
		text.WriteString(strings.Repeat("y", random.IntN(2*most)*random.IntN(2)))
		for _, slow := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader, func(r io.Reader) io.Reader { return r }} {
			want := bufio.NewReaderSize(strings.NewReader(text.String()), most)
			got := lines{r: slow(strings.NewReader(text.String()))}
			for {
				a, errA := want.ReadSlice('\n')
				b, errB := got.next()
				if errors.Is(errA, bufio.ErrBufferFull) {
					errA = errLong
				}
				if !bytes.Equal(a, b) || !errors.Is(errB, errA) {
					t.Fatalf("%d bytes, %v; want %d, %v", len(b), errB, len(a), errA)
				}
				if errA == io.EOF {
					break
				}
			}
			if got.buffered() != 0 {
				t.Error("something is left")
			}
		}
	}
	short := lines{r: iotest.HalfReader(strings.NewReader(strings.Repeat("data: a short line\n", 1000)))}
	for range 1000 {
		if _, err := short.next(); err != nil {
			t.Fatal(err)
		}
	}
	if len(short.buf) != least {
		t.Errorf("short lines take %d bytes", len(short.buf))
	}
	for want, r := range map[error]io.Reader{iotest.ErrTimeout: iotest.ErrReader(iotest.ErrTimeout), io.ErrNoProgress: nothing{}} {
		l := lines{r: r}
		if _, err := l.next(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

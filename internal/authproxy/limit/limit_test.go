package limit_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/bartizan-dev/bartizan/internal/authproxy/limit"
)

func TestBytesAreShared(t *testing.T) {
	shared := limit.NewBytes(100, 100)
	one, two := shared.Hold("a", 1), shared.Hold("a", 2)
	for i, step := range []struct {
		hold *limit.Hold
		n    int64
		want error
	}{
		{one, 60, nil}, {two, 21, limit.ErrBusy}, {two, 20, nil}, {one, 61, limit.ErrBusy}, {one, 50, nil}, {two, 25, nil},
		{two, 26, limit.ErrBusy}, {one, 0, nil}, {two, 50, nil}, {two, 0, nil}, {one, 100, nil}, {one, 101, limit.ErrBusy},
	} {
		if err := step.hold.Grow(step.n); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v; want %v", i, err, step.want)
		}
	}
	one.Release()
	one.Release()
	if err := two.Grow(50); err != nil {
		t.Error("what was released is gone")
	}
}

func TestNobodyHoldsAll(t *testing.T) {
	shared := limit.NewBytes(100, 60)
	one, more, other := shared.Hold("a", 1), shared.Hold("a", 2), shared.Hold("b", 1)
	for i, step := range []struct {
		hold *limit.Hold
		n    int64
		want error
	}{
		{one, 61, limit.ErrBusy}, {one, 40, nil}, {more, 11, limit.ErrBusy}, {more, 10, nil}, {one, 41, limit.ErrBusy}, {other, 41, limit.ErrBusy},
		{other, 40, nil}, {one, 0, nil}, {more, 30, nil}, {other, 41, limit.ErrBusy}, {more, 0, nil}, {other, 60, nil}, {one, 40, nil},
	} {
		if err := step.hold.Grow(step.n); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v; want %v", i, err, step.want)
		}
	}
}

func TestReadHoldsWhatItReads(t *testing.T) {
	shared := limit.NewBytes(64<<10, 64<<10)
	text := strings.Repeat("x", 20_000)
	hold := shared.Hold("a", 1)
	got, err := hold.Read(iotest.OneByteReader(strings.NewReader(text)), -1, 20_000)
	if err != nil || string(got) != text {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := shared.Hold("a", 1).Grow(64<<10 - 20_000 + 1); !errors.Is(err, limit.ErrBusy) {
		t.Error("what was read is not held")
	}
	if _, err := shared.Hold("a", 1).Read(strings.NewReader(strings.Repeat("x", 60_000)), -1, 1<<20); !errors.Is(err, limit.ErrBusy) {
		t.Errorf("read in spite of the bound: %v", err)
	}
	hold.Release()
	for size, want := range map[int]error{0: nil, 1: nil, 4096: nil, 10_000: nil, 10_001: limit.ErrSize, 50_000: limit.ErrSize} {
		hold := shared.Hold("a", 1)
		if got, err := hold.Read(bytes.NewReader(make([]byte, size)), -1, 10_000); !errors.Is(err, want) || (err == nil && len(got) != size) {
			t.Errorf("%d bytes: %v", size, err)
		}
		hold.Release()
	}
	if _, err := shared.Hold("a", 1).Read(iotest.ErrReader(iotest.ErrTimeout), -1, 10); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
}

func TestNobodyTakesAllSlots(t *testing.T) {
	slots := limit.NewSlots(3, 2)
	for i, step := range []struct {
		name string
		want bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"b", false}, {"c", false}} {
		if got := slots.Take(step.name); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	slots.Give("a")
	if !slots.Take("c") {
		t.Error("what was given back cannot be taken")
	}
	var all sync.WaitGroup
	free := limit.NewSlots(1000, 1000)
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if free.Take("a") {
					free.Give("a")
				}
			}
		})
	}
	all.Wait()
	for range 1000 {
		if !free.Take("b") {
			t.Fatal("a slot is lost")
		}
	}
}

// TestSaidLengths: whatever length is said, all is read within the limit, and little is taken before it comes.
func TestSaidLengths(t *testing.T) {
	for _, size := range []int{0, 1, 300, 64 << 10, 64<<10 + 1, 200_000} {
		for _, said := range []int64{-1, 0, 1, int64(size) - 1, int64(size), int64(size) + 1, 1 << 20, math.MaxInt64} {
			shared := limit.NewBytes(2<<20, 2<<20)
			got, err := shared.Hold("a", 1).Read(iotest.HalfReader(bytes.NewReader(make([]byte, size))), said, 200_000)
			if err != nil || len(got) != size {
				t.Errorf("%d bytes, said to be %d: %d, %v", size, said, len(got), err)
			}
		}
	}
	if _, err := limit.NewBytes(70_000, 70_000).Hold("a", 1).Read(strings.NewReader("x"), 1<<20, 1<<21); err != nil {
		t.Errorf("a byte takes what was said: %v", err)
	}
	if _, err := limit.NewBytes(1<<20, 1<<20).Hold("a", 1).Read(strings.NewReader(strings.Repeat("x", 300)), 1<<20, 200); !errors.Is(err, limit.ErrSize) {
		t.Errorf("beyond the limit: %v", err)
	}
}

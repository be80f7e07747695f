package main

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/bartizan-dev/bartizan/internal/authproxy/gatetest"
)

func TestPace(t *testing.T) {
	for live, want := range map[uint64]int{0: 1000, 1 << 20: 1000, 4 << 20: 450, 11 << 20: 100, 20 << 20: 50, 22 << 20: 50, 1 << 40: 50} {
		if got := pace(live); got != want {
			t.Errorf("pace(%d) = %d, want %d", live, got, want)
		}
	}
}

// TestCollectSeldom: the pace follows what is alive, again and again.
func TestCollectSeldom(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	collectSeldom()
	now := func() int {
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	gatetest.Eventually(t, "a small heap is collected seldom", func() bool { runtime.GC(); return now() > 100 })
	large := make([]byte, 64<<20)
	gatetest.Eventually(t, "a large heap is collected often", func() bool { runtime.GC(); return now() == leastPercent })
	runtime.KeepAlive(large)
	gatetest.Eventually(t, "a small heap is collected seldom again", func() bool { runtime.GC(); return now() > 100 })
}

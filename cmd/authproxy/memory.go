package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// roomyHeap is how large the heap may always grow before it is collected, in bytes. A gate has a few MiB of live memory and
// makes garbage with every request: with Go's default it would collect all the time.
const roomyHeap = 22 << 20

// leastPercent is how much a heap beyond that may grow; GOMEMLIMIT bounds it in any case.
const leastPercent = 50

// collectSeldom sets the pace of the garbage collector after each collection by how much is alive. It respects GOGC.
func collectSeldom() {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := 0
	// Each collection finds the last sentinel dead, and its finalizer leaves another.
	type sentinel struct{ _ [64]byte }
	var collected func(*sentinel)
	collected = func(s *sentinel) {
		metrics.Read(sample)
		if next := pace(sample[0].Value.Uint64()); next < percent*9/10 || next > percent*11/10 {
			percent = next
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(s, collected)
	}
	collected(&sentinel{})
}

// pace is GOGC for a heap of which so many bytes are alive.
func pace(live uint64) int {
	const most = 1000
	if live == 0 {
		return most
	}
	if live >= roomyHeap {
		return leastPercent
	}
	return int(min(max((roomyHeap-live)*100/live, leastPercent), most))
}

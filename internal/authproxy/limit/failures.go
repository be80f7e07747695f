package limit

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// failureBurst is how many failures a source has at once, and failureEach after how long it has another.
	failureBurst = 20
	failureEach  = time.Second
	// failureCells is the size of each table: 64 KiB in all, however many sources there are.
	failureCells = 4096
)

// Failures counts failed logins by source in constant memory. A source has a cell in each of two tables; others may share
// one, seldom both. So it is only for answers to failures, and for how soon costly checks are made: what a valid credential
// may do never depends on it.
type Failures struct {
	seeds [2]maphash.Seed
	base  time.Time
	// full is when a cell's bucket will be full again, in nanoseconds since base.
	full [2][failureCells]atomic.Int64
}

// NewFailures returns a count of nothing.
func NewFailures(now time.Time) *Failures {
	return &Failures{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, base: now}
}

// Add counts a failure of a source, an "address:port", and returns after how long the source may fail again; 0 while it is
// within its budget.
func (f *Failures) Add(source string, now time.Time) (wait time.Duration) {
	return f.count(source, now, failureEach)
}

// Over returns after how long the source may fail again; 0 while it is within its budget.
func (f *Failures) Over(source string, now time.Time) (wait time.Duration) {
	return f.count(source, now, 0)
}

func (f *Failures) count(source string, now time.Time, add time.Duration) (wait time.Duration) {
	at := int64(now.Sub(f.base))
	network := Network(source)
	for i := range f.full {
		cell := &f.full[i][maphash.Comparable(f.seeds[i], network)%failureCells]
		over := take(cell, at, int64(add))
		// A source is over its budget when both of its cells are.
		if i == 0 || over < wait {
			wait = over
		}
	}
	return wait
}

// take adds to a cell unless it is at its bound, and returns how far it is beyond it.
func take(cell *atomic.Int64, now, add int64) time.Duration {
	const most = int64((failureBurst - 1) * failureEach)
	for {
		full := cell.Load()
		from := max(full, now)
		if over := from - now - most; over > 0 {
			return time.Duration(over)
		}
		if add == 0 || cell.CompareAndSwap(full, from+add) {
			return 0
		}
	}
}

// Network is what one source, an "address:port", has: an IPv4 address, or the 64 bits of an IPv6 network.
func Network(source string) netip.Prefix {
	address, err := netip.ParseAddrPort(source)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := address.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}
	network, _ := ip.Prefix(bits)
	return network
}

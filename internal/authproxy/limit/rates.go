package limit

import (
	"sync"
	"time"
)

// Rate is a token bucket: so many at once, and so many more in each Per.
type Rate struct {
	// Burst is how many go at once, Requests how many come back in each Per.
	Burst, Requests int
	Per             time.Duration
}

// maxRates bounds the buckets that are not full. It is far beyond the callers that a configuration can name.
const maxRates = 1 << 16

// Rates are token buckets, one for each key. A bucket that is full again is forgotten.
type Rates[K comparable] struct {
	mu sync.Mutex
	// full is when the bucket of a key will be full again.
	full map[K]time.Time
}

// NewRates returns buckets that are full.
func NewRates[K comparable]() *Rates[K] { return &Rates[K]{full: map[K]time.Time{}} }

// Take takes one from the key's bucket and returns 0, or returns after how long there will be one. A rate without requests
// is none: it never waits.
func (r *Rates[K]) Take(key K, rate Rate, now time.Time) (wait time.Duration) {
	if rate.Requests <= 0 || rate.Burst <= 0 || rate.Per <= 0 {
		return 0
	}
	each := rate.Per / time.Duration(rate.Requests)
	r.mu.Lock()
	defer r.mu.Unlock()
	full, known := r.full[key]
	if !known && len(r.full) >= maxRates {
		r.forget(now)
		if len(r.full) >= maxRates {
			return each
		}
	}
	if full.Before(now) {
		full = now
	}
	if wait = full.Sub(now) - time.Duration(rate.Burst-1)*each; wait > 0 {
		return wait
	}
	r.full[key] = full.Add(each)
	return 0
}

// Give gives back to the key's bucket what Take took of it.
func (r *Rates[K]) Give(key K, rate Rate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A bucket that was forgotten is full.
	if full, known := r.full[key]; known {
		r.full[key] = full.Add(-rate.Per / time.Duration(rate.Requests))
	}
}

// forget drops the buckets that are full.
func (r *Rates[K]) forget(now time.Time) {
	for key, full := range r.full {
		if !full.After(now) {
			delete(r.full, key)
		}
	}
}

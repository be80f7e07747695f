package audit

import (
	"hash/maphash"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// window is for how long equal refusals are counted before there is a line for them, and single is how many of them
	// have lines of their own first.
	window = 10 * time.Second
	single = 10
	// maxFloods bounds what is counted at once. What comes beyond is counted by its reason alone where nobody known is refused, who
	// may have any number of addresses; else it has lines of its own.
	maxFloods = 512
	// keptName bounds what is kept of a caller's own words while they are counted, in bytes.
	keptName = 128
)

// flood is what equal refusals have in common.
type flood struct {
	decision                       Decision
	reason, client, source, method string
	others                         uint64
}

// tally counts the refusals of one flood in one window.
type tally struct {
	since  time.Time
	single int
	// first stands for those that are counted.
	first Record
	count uint64
	until time.Time
}

// floods turns many equal refusals into counted ones, so that nobody can fill a disk or drown a line by being refused, nor by what is
// open to everybody.
type floods struct {
	mu   sync.Mutex
	by   map[flood]*tally
	seed maphash.Seed
	once sync.Once
}

// counts says whether the record is counted and needs no line of its own.
func (f *floods) counts(r *Record, now time.Time) bool {
	if r.Decision == Failed || r.Decision == Allowed && (r.Client != "" || r.Subject != "") {
		return false
	}
	f.once.Do(func() { f.seed = maphash.MakeSeed() })
	key := flood{decision: r.Decision, reason: r.Reason, client: r.Client, source: host(r.Source), method: r.Method, others: f.hash(r)}
	if len(key.method) > keptName {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.by[key]
	full := len(f.by) >= maxFloods
	if t == nil && full && r.Client == "" && r.Subject == "" {
		key, full = flood{decision: r.Decision, reason: r.Reason}, false
		t = f.by[key]
	}
	if t == nil {
		if !full {
			key.method = strings.Clone(key.method)
			f.by[key] = &tally{since: now, single: 1}
		}
		return false
	}
	if t.single < single {
		t.single++
		return false
	}
	if t.count == 0 {
		t.first = kept(r, key)
	}
	t.count++
	t.until = r.Time
	return true
}

// hash stands for the words of the caller that flood has not.
func (f *floods) hash(r *Record) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	_, _ = h.WriteString(r.Issuer)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(r.Subject)
	_ = h.WriteByte(0)
	for _, target := range r.Targets {
		_, _ = h.WriteString(target.Kind)
		_, _ = h.WriteString(target.Name)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// kept is what a line about several requests says that is the same in all of them.
func kept(r *Record, key flood) Record {
	out := Record{
		Kind: KindRepeated, Time: r.Time, Generation: r.Generation, Source: key.source, Client: r.Client, Issuer: r.Issuer, Subject: r.Subject, Method: key.method,
		Decision: r.Decision, Reason: r.Reason, Status: r.Status,
	}
	for _, target := range r.Targets[:min(len(r.Targets), 1)] {
		out.Targets = []Target{{Kind: target.Kind, Name: strings.Clone(target.Name[:min(len(target.Name), keptName)])}}
	}
	return out
}

// over returns the lines of the windows that are over, or of all. What goes on being refused at the same pace goes on
// being counted.
func (f *floods) over(now time.Time, all bool) (lines []Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, t := range f.by {
		if !all && now.Sub(t.since) < window {
			continue
		}
		if t.count == 0 {
			delete(f.by, key)
			continue
		}
		t.first.Count, t.first.Until = t.count, t.until
		lines = append(lines, t.first)
		t.since, t.count, t.first = now, 0, Record{}
	}
	slices.SortFunc(lines, func(a, b Record) int { return a.Time.Compare(b.Time) })
	return lines
}

// host is the address without the port: each connection has another.
func host(source string) string {
	if host, _, err := net.SplitHostPort(source); err == nil {
		return host
	}
	return source
}

package status

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// Denied counts the server's requests to its clients that nobody granted, by kind. Its zero value has none.
type Denied struct {
	mu sync.Mutex
	by map[string]*gatestatus.ServerRequest
}

// Add counts one. The kind is one of a closed list.
func (d *Denied) Add(kind string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[string]*gatestatus.ServerRequest{}
	}
	if d.by[kind] == nil {
		d.by[kind] = &gatestatus.ServerRequest{Kind: kind}
	}
	d.by[kind].Count++
	d.by[kind].Last = now.Truncate(time.Second).UTC()
}

func (d *Denied) list() (all []gatestatus.ServerRequest) {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all = []gatestatus.ServerRequest{}
	for _, one := range d.by {
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b gatestatus.ServerRequest) int { return strings.Compare(a.Kind, b.Kind) })
	return all
}

// Package discovery looks for MCP servers that run without a gate, once in a while, and tells the posture of servers and a metric.
// It reads lists page by page, keeps nothing of them but what it found, and writes nothing.
package discovery

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/bartizan-dev/bartizan/controllers/internal/collect"
	"github.com/bartizan-dev/bartizan/internal/discovery"
	reading "github.com/bartizan-dev/bartizan/internal/discovery/collect"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// The rights on other projects' objects are in config/rbac/discovery, since only who turns discovery on needs them.

// Finder looks for MCP servers without a gate while it runs.
type Finder struct {
	// Live reads the API server: no cache holds what is looked at.
	Live client.Reader
	// Interval is how often it looks.
	Interval time.Duration
	// Namespaces are where it looks; none means everywhere.
	Namespaces []string
	// Handshake has pods asked that look like an MCP server and are not certain to be one; nil: none is.
	Handshake func(ctx context.Context, at Address) bool
	// Now is the clock.
	Now func() time.Time

	mutex   sync.Mutex
	last    result
	changed chan event.GenericEvent
	asked   map[string][]string
}

// result is what one look came to.
type result struct {
	at    time.Time
	found []discovery.Finding
	// gaps are kinds that could not be read, and problem why nothing could.
	gaps    []string
	problem string
}

// SetupWithManager has the manager run it, and the metrics show what it finds.
func (f *Finder) SetupWithManager(mgr manager.Manager) error {
	f.init()
	if err := collect.From(&collector{f}); err != nil {
		return err
	}
	return mgr.Add(f)
}

func (f *Finder) init() {
	f.changed, f.asked = make(chan event.GenericEvent, 1), map[string][]string{}
}

// Changed tells when something else is found than before.
func (f *Finder) Changed() <-chan event.GenericEvent { return f.changed }

// NeedLeaderElection implements manager.LeaderElectionRunnable: one that looks is enough.
func (f *Finder) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable.
func (f *Finder) Start(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("discovery")
	ticker := time.NewTicker(f.Interval)
	defer ticker.Stop()
	for {
		if err := f.look(ctx); err != nil && ctx.Err() == nil {
			log.Error(err, "looking for MCP servers without a gate")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (f *Finder) look(ctx context.Context) error {
	addresses := map[string]*corev1.Pod{}
	o := reading.Options{Namespaces: f.Namespaces}
	if f.Handshake != nil {
		o.Pod = func(pod *corev1.Pod, w *discovery.Workload) {
			if key := w.Kind + " " + w.Namespace + "/" + w.Name; addresses[key] == nil && askable(pod) {
				addresses[key] = pod.DeepCopy()
			}
		}
	}
	in, gaps, err := reading.Collect(ctx, f.Live, o)
	next := result{at: f.Now(), gaps: gaps}
	if err != nil {
		next.problem = "the operator could not look for MCP servers without a gate"
	} else {
		next.found = discovery.Find(in)
		if f.Handshake != nil {
			f.ask(ctx, &in, next.found, addresses)
			next.found = discovery.Find(in)
		}
	}
	f.mutex.Lock()
	other := !reflect.DeepEqual(names(f.last.found), names(next.found)) || f.last.at.IsZero() || f.last.problem != next.problem
	f.last = next
	f.mutex.Unlock()
	if other {
		select {
		case f.changed <- event.GenericEvent{}:
		default: // it is still to be heard
		}
	}
	return err
}

// names are what was found, with how sure it is.
func names(found []discovery.Finding) (all []string) {
	for i := range found {
		if found[i].Confidence.AtLeast(discovery.Medium) {
			all = append(all, string(found[i].Confidence)+" "+found[i].String())
		}
	}
	return all
}

// Unmanaged is the fact for the servers of a namespace. What runs in another is not named: who reads a server's status need not
// know the others' workloads.
func (f *Finder) Unmanaged(namespace string) posture.Fact[posture.Unmanaged] {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.last.at.IsZero() {
		return posture.Unknown[posture.Unmanaged]("the operator has not looked for MCP servers without a gate yet")
	}
	if f.last.problem != "" {
		return posture.Unknown[posture.Unmanaged](f.last.problem)
	}
	var u posture.Unmanaged
	for i := range f.last.found {
		finding := &f.last.found[i]
		switch {
		case finding.Namespace != namespace:
			u.Elsewhere = u.Elsewhere || finding.Confidence == discovery.High
		case finding.Confidence == discovery.High:
			u.Certain = append(u.Certain, finding.String())
		case finding.Confidence == discovery.Medium:
			u.Likely = append(u.Likely, finding.String())
		}
	}
	if len(u.Certain) == 0 && !u.Elsewhere {
		switch {
		case len(f.Namespaces) > 0:
			return posture.Unknown[posture.Unmanaged]("the operator sees the namespaces that it watches, and not the cluster")
		case len(f.last.gaps) > 0:
			return posture.Unknown[posture.Unmanaged](fmt.Sprintf("the operator may not list %v", f.last.gaps))
		}
	}
	return posture.See(u, "pods, Services and other projects' objects", f.last.at)
}

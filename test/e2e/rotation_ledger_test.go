package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// ledger writes down what becomes of every key of the clients of a namespace, as the API server tells it.
type ledger struct {
	mu sync.Mutex
	// texts are the keys, by id, as the Secrets held them.
	texts map[string]string
	// states are the last that was heard of each key, by client and id. One that the status forgot has ended.
	states map[string]map[string]keys.State
	// current are the ids of the keys that each client has had, one after another.
	current map[string][]string
	// seen are the clients as they were last.
	seen map[string]*v1alpha1.MCPClient
	// versions count the changes of the Secrets of each client.
	versions map[string]int
	// broken is what must not have happened.
	broken []string
}

// follow begins a ledger. It goes on over restarts of the API server, and ends with the test.
func (c *cluster) follow(t *testing.T, namespace string) *ledger {
	t.Helper()
	l := &ledger{texts: map[string]string{}, states: map[string]map[string]keys.State{}, current: map[string][]string{},
		seen: map[string]*v1alpha1.MCPClient{}, versions: map[string]int{}}
	watching, err := client.NewWithWatch(c.config, client.Options{Scheme: c.Scheme()})
	must(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	for _, list := range []client.ObjectList{&v1alpha1.MCPClientList{}, &corev1.SecretList{}} {
		running.Go(func() {
			for ctx.Err() == nil {
				l.read(ctx, watching, list, namespace)
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	return l
}

// read reads objects of one kind and their changes until the connection breaks.
func (l *ledger) read(ctx context.Context, from client.WithWatch, list client.ObjectList, namespace string) {
	if err := from.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return
	}
	switch all := list.(type) {
	case *v1alpha1.MCPClientList:
		for i := range all.Items {
			l.note(&all.Items[i])
		}
	case *corev1.SecretList:
		for i := range all.Items {
			l.note(&all.Items[i])
		}
	}
	changes, err := from.Watch(ctx, list, &client.ListOptions{Namespace: namespace, Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
	if err != nil {
		return
	}
	defer changes.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case change, open := <-changes.ResultChan():
			object, ok := change.Object.(client.Object)
			if !open || !ok {
				return
			}
			l.note(object)
		}
	}
}

func (l *ledger) note(object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o := object.(type) {
	case *corev1.Secret:
		l.versions[o.Labels["app.kubernetes.io/instance"]]++
		if id, err := keys.Parse(string(o.Data["api-key"])); err == nil {
			l.texts[id] = string(o.Data["api-key"])
		}
	case *v1alpha1.MCPClient:
		if o.DeletionTimestamp == nil {
			l.noteClient(o)
		}
	}
}

func (l *ledger) noteClient(c *v1alpha1.MCPClient) {
	l.seen[c.Name] = c
	states := l.states[c.Name]
	if states == nil {
		states = map[string]keys.State{}
		l.states[c.Name] = states
	}
	wrong := func(format string, arguments ...any) {
		l.broken = append(l.broken, fmt.Sprintf("MCPClient %s, version %s: ", c.Name, c.ResourceVersion)+fmt.Sprintf(format, arguments...))
	}
	var holds []string
	told := map[string]bool{}
	for _, credential := range c.Status.Credentials {
		for _, key := range credential.Keys {
			now, before := keys.State(key.State), states[key.ID]
			told[key.ID] = true
			if before != "" && !before.Accepted() && now.Accepted() {
				wrong("key %s was %s and is %s", key.ID, before, now)
			}
			states[key.ID] = now
			if now == keys.Current {
				holds = append(holds, key.ID)
			}
		}
	}
	for id, state := range states {
		if told[id] {
			continue
		}
		if state.Accepted() {
			wrong("key %s was %s and is forgotten", id, state)
		}
		states[id] = keys.Retired
	}
	had := l.current[c.Name]
	switch {
	case len(holds) == 1 && (len(had) == 0 || had[len(had)-1] != holds[0]):
		l.current[c.Name] = append(had, holds[0])
	case len(holds) > 1, len(holds) == 0 && len(had) > 0:
		wrong("the current keys are %v", holds)
	}
}

// rotations is how often the key of the client with the fewest rotations was replaced.
func (l *ledger) rotations(clients []*v1alpha1.MCPClient) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	least := len(l.current[clients[0].Name])
	for _, c := range clients {
		least = min(least, len(l.current[c.Name]))
	}
	return least - 1
}

// accepted are the ids of the keys of a client that gates accept.
func (l *ledger) accepted(name string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for id, state := range l.states[name] {
		if state.Accepted() {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return found
}

// restful says whether the client's key may be replaced again: no new one is on its way, and there is room for a replaced one.
func (l *ledger) restful(name string) (activated time.Time, ok bool) {
	const most = 4 // as package keys has it
	l.mu.Lock()
	defer l.mu.Unlock()
	draining := 0
	for _, state := range l.states[name] {
		switch state {
		case keys.Pending, keys.Distributed:
			return time.Time{}, false
		case keys.Draining:
			draining++
		}
	}
	c := l.seen[name]
	if c == nil || draining >= most {
		return time.Time{}, false
	}
	for _, credential := range c.Status.Credentials {
		for _, key := range credential.Keys {
			if key.State == v1alpha1.KeyCurrent && key.ActivatedAt != nil {
				return key.ActivatedAt.Time, c.Spec.Rotation == nil || c.Spec.Rotation.RotateAfter == nil || !key.ActivatedAt.Before(c.Spec.Rotation.RotateAfter)
			}
		}
	}
	return time.Time{}, false
}

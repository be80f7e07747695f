package mcpclient

import (
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// askEvery is how often the gates are asked when keys were used last. The status says it to the same precision, so that a key
// in constant use costs one write in this time.
const askEvery = time.Hour

// uses remembers when the gates were last asked about the keys of each client. It is lost with the process: the first question
// comes at the client's next turn then.
type uses struct {
	mutex sync.Mutex
	since time.Time
	asked map[types.NamespacedName]time.Time
	// due are the clients that are asked about out of turn, because a gate ends, and what it knows with it.
	due map[types.NamespacedName]bool
}

// hasten makes it the client's turn.
func (u *uses) hasten(c types.NamespacedName) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.due == nil {
		u.due = map[types.NamespacedName]bool{}
	}
	u.due[c] = true
}

// begin says that the gates are about to be asked: what is hastened from now on needs another question.
func (u *uses) begin(c types.NamespacedName) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	delete(u.due, c)
}

// next is the client's next turn. Turns come once in askEvery, each client's at a time of its own.
func (u *uses) next(c *v1alpha1.MCPClient, now time.Time) time.Time {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.due[client.ObjectKeyFromObject(c)] {
		return now
	}
	if u.since.IsZero() {
		u.since = now
	}
	last, ok := u.asked[client.ObjectKeyFromObject(c)]
	if !ok {
		last = u.since
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.UID)) // it cannot fail
	return keys.Every(askEvery, h.Sum64()).Next(last)
}

func (u *uses) done(c types.NamespacedName, now time.Time) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.asked == nil {
		u.asked = map[types.NamespacedName]time.Time{}
	}
	u.asked[c] = now
}

func (u *uses) forget(c types.NamespacedName) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	delete(u.asked, c)
	delete(u.due, c)
}

// askUse asks the gates when the keys were used last, when it is the client's turn.
func (r *Reconciler) askUse(ctx context.Context, in *input, all []*credential) (asked bool, err error) {
	if !access.UsesKeys(in.client) || in.now.Before(r.uses.next(in.client, in.now)) {
		return false, nil
	}
	key := client.ObjectKeyFromObject(in.client)
	r.uses.begin(key)
	for _, cred := range all {
		heard, err := r.hear(ctx, in, cred.servers, "")
		if err != nil {
			r.uses.hasten(key)
			return false, err
		}
		cred.used = heard.used(in.now)
	}
	return true, nil
}

// used is when each key was used last, as far as the gates know. What a gate says of the future did not happen.
func (h *hearing) used(now time.Time) map[string]time.Time {
	used := map[string]time.Time{}
	for _, v := range h.voices {
		for _, k := range v.Status.Keys {
			if v.Err == nil && k.LastUsed.After(used[k.ID]) && !k.LastUsed.After(now) {
				used[k.ID] = k.LastUsed
			}
		}
	}
	return used
}

// lastUsed is the hour in which a key was used last; nil while no use is known.
func lastUsed(in *input, cred *credential, id string) *metav1.Time {
	var last time.Time
	for _, before := range in.client.Status.Credentials {
		if i := slices.IndexFunc(before.Keys, func(k v1alpha1.ClientKey) bool { return k.ID == id }); before.Namespace == cred.servers && i >= 0 {
			last = timeOf(before.Keys[i].LastUsed)
		}
	}
	if hour := cred.used[id].UTC().Truncate(askEvery); hour.After(last) {
		last = hour
	}
	return optionalTime(last)
}

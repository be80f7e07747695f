package mcpclient

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/internal/keys"
)

// How often a Secret that lost a key from a store gets it back: so often at once, then once in each pause. A key that is made
// here is paced by what the status records of it; this one is the same each time.
const (
	backAtOnce = 3
	backPause  = 2 * time.Minute
)

// paces remembers the Secrets that lost a key from a store.
type paces struct {
	mutex  sync.Mutex
	limits map[types.NamespacedName]*rate.Limiter
}

// of is the limit of a Secret. Those that nobody touched for long are forgotten.
func (p *paces) of(secret types.NamespacedName, now time.Time) *rate.Limiter {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.limits == nil {
		p.limits = map[types.NamespacedName]*rate.Limiter{}
	}
	for name, limit := range p.limits {
		if name != secret && limit.TokensAt(now) >= backAtOnce {
			delete(p.limits, name)
		}
	}
	if p.limits[secret] == nil {
		p.limits[secret] = rate.NewLimiter(rate.Every(backPause), backAtOnce)
	}
	return p.limits[secret]
}

// givesBack says whether the step puts a key from a store back into a Secret that lost it.
func (c *credential) givesBack() bool {
	return sources(c.store.spec) && c.step.Action == keys.Prepare && c.step.Reason == keys.ReasonSecretLost
}

// pace has the step wait when the Secret loses its key again and again.
func (p *paces) pace(in *input, cred *credential) {
	if !cred.givesBack() {
		return
	}
	name := types.NamespacedName{Namespace: in.client.Namespace, Name: SecretName(in.client.Name, cred.servers)}
	tokens := p.of(name, in.now).TokensAt(in.now)
	if tokens >= 1 {
		return
	}
	next := in.now.Add(time.Duration((1-tokens)*float64(backPause)) + time.Second)
	cred.step.Action, cred.step.Paced = keys.Nothing, next
	if cred.step.Wake.IsZero() || next.Before(cred.step.Wake) {
		cred.step.Wake = next
	}
}

// gaveBack counts.
func (p *paces) gaveBack(in *input, cred *credential) {
	name := types.NamespacedName{Namespace: in.client.Namespace, Name: SecretName(in.client.Name, cred.servers)}
	p.of(name, in.now).AllowN(in.now, 1)
}

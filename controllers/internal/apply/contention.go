package apply

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Repairs of one object: a few at once, as a person's edits come, then one in a while. What somebody opened is open for no
// longer than RepairInterval, and two programs that write the same object for ever cost little.
const (
	RepairInterval = 2 * time.Second
	repairBurst    = 10
)

// ContendedError says that somebody else changes an object again and again. It is repaired once in RepairInterval.
type ContendedError struct {
	// Object is the object, as "Kind namespace/name".
	Object string
	// Manager is the field manager that changes it.
	Manager string
}

func (e *ContendedError) Error() string {
	return fmt.Sprintf("%s is changed again and again by the field manager %q", e.Object, e.Manager)
}

// contention counts repairs by object.
type contention struct {
	mutex   sync.Mutex
	repairs map[types.UID]*rate.Limiter
}

// allow says whether the object may be repaired at a time.
func (c *contention) allow(object types.UID, now time.Time) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.repairs == nil {
		c.repairs = map[types.UID]*rate.Limiter{}
	}
	// An object that was left alone for long needs no memory.
	for uid, l := range c.repairs {
		if len(c.repairs) > 64 && l.TokensAt(now) >= repairBurst {
			delete(c.repairs, uid)
		}
	}
	l := c.repairs[object]
	if l == nil {
		l = rate.NewLimiter(rate.Every(RepairInterval), repairBurst)
		c.repairs[object] = l
	}
	return l.AllowN(now, 1)
}

// writer is the manager of a foreign field.
func writer(entries []metav1.ManagedFieldsEntry) string {
	for _, entry := range entries {
		if foreignEntry(entry) {
			return entry.Manager
		}
	}
	return ""
}

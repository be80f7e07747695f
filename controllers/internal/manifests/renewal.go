package manifests

import (
	"hash/fnv"
	"time"
)

// Renewal is how long before its end a certificate is renewed: as long as asked for, and up to a tenth of the time until then
// longer, each certificate at a time of its own. Those that were issued together, as after a change of their authority, would
// otherwise be renewed together for ever.
func Renewal(renewBefore, duration time.Duration, namespace, name string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(namespace + "/" + name)) // it cannot fail
	spread := (duration - renewBefore) / 10
	if spread < time.Second {
		return renewBefore
	}
	return renewBefore + time.Duration(h.Sum64()%uint64(spread)).Truncate(time.Second)
}

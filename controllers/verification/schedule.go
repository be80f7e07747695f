package verification

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// run is one verification of a server.
type run struct {
	posture.Run
	// at is when it ended, of what it is about.
	at time.Time
	of string
	// gates are what the gates said of themselves, by pod.
	gates map[string]gatestatus.Status
	// literals are places in ConfigMaps that hold what looks like a secret.
	literals []string
	// unread are ConfigMaps of the spec that could not be read.
	unread []string
	// stale are keys that gates accepted and that nobody has in use, by when that was first seen.
	stale map[string]time.Time
	// chains are what is wrong with the audit logs of gates, by pod; still are those since when a log has stood still although its gate answered.
	chains map[string]string
	still  map[string]time.Time
	// answered are the pods whose gates have answered the operator since their status was read.
	answered map[string]bool
	// glanced is when the gates were last looked at between two runs.
	glanced time.Time
	// critical is how many runs in a row found that an attack on a critical control succeeds.
	critical int
	// inconclusive is how many runs in a row came to no conclusion.
	inconclusive int
}

// looked is when the gates were last asked about themselves.
func (r *run) looked() time.Time {
	if r.glanced.After(r.at) {
		return r.glanced
	}
	return r.at
}

// mostInconclusive is how many runs in a row may come to no conclusion before that is what is told.
const mostInconclusive = 3

// due returns how long to wait until the next run: not at all when something changed, or was asked for.
func (r *Reconciler) due(o *observed, last *run) time.Duration {
	interval := declared.VerificationInterval(o.server)
	if len(o.gates) == 0 {
		return interval // a gate that becomes ready is told by its pod
	}
	if last == nil {
		if !inherited(o) || asked(o.server) {
			return 0
		}
		// After a start of the operator all servers are due: they take turns.
		turn := time.Duration(spread(o.server.UID, uint64(min(r.Settings.Spread, interval)+1)))
		return r.started.Add(turn).Sub(o.now)
	}
	if last.of != subject(o) {
		return 0
	}
	if last.critical > 0 && last.critical < isolateAfter(o.server) {
		return last.at.Add(min(r.Settings.Again, interval)).Sub(o.now)
	}
	if last.inconclusive > 0 {
		return last.at.Add(min(r.Settings.Again<<min(last.inconclusive-1, 6), interval)).Sub(o.now)
	}
	// Up to a tenth earlier, so that servers that were made together drift apart.
	early := time.Duration(spread(o.server.UID, uint64(interval/10)+1))
	return last.at.Add(interval - early).Sub(o.now)
}

// glances is how many times, from one run to the next, the gates are looked at.
const glances = 12

// glanceDue returns how long to wait until the gates are looked at; never where there is a whole run before.
func (r *Reconciler) glanceDue(o *observed, last *run, wait time.Duration) time.Duration {
	if last == nil || len(o.gates) == 0 {
		return wait
	}
	// Not more often than a run is repeated that came to no conclusion.
	every := max(declared.VerificationInterval(o.server)/glances, 2*r.Settings.Again)
	early := time.Duration(spread(o.server.UID, uint64(every/10)+1))
	return min(wait, last.looked().Add(every-early).Sub(o.now))
}

// inherited says whether the status has what an earlier operator found out by attacking the server.
func inherited(o *observed) bool {
	c := meta.FindStatusCondition(o.server.Status.Conditions, v1alpha1.ConditionVerified)
	return c != nil && c.Reason != reasonNoGate && o.server.Status.Posture != nil
}

// asked says whether somebody asks for a verification that no operator has done.
func asked(server *v1alpha1.MCPServer) bool {
	request := handled(server)
	return request != "" && (server.Status.Posture == nil || server.Status.Posture.HandledRequest != request)
}

// handled is what the status says of the request for a verification, once that was done.
func handled(server *v1alpha1.MCPServer) string {
	requested := server.Annotations[v1alpha1.AnnotationVerificationRequestedAt]
	return requested[:min(len(requested), 64)]
}

func spread(uid types.UID, n uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid)) // a hash never fails to write
	return h.Sum64() % n
}

// subject is what a run is about: when it changes, the last run says little.
func subject(o *observed) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s ", o.server.Generation, o.server.Annotations[v1alpha1.AnnotationVerificationRequestedAt])
	if o.server.Status.Gate != nil {
		b.WriteString(o.server.Status.Gate.Generation)
	}
	for _, g := range o.gates {
		fmt.Fprintf(&b, " %s", g.pod.UID)
	}
	if o.series != nil {
		if n, ok := o.series.Retired(o.now); ok {
			fmt.Fprintf(&b, " key %d", n)
		}
	}
	for _, fact := range [][]string{o.openings(), o.detours()} {
		fmt.Fprintf(&b, " %q", fact)
	}
	return b.String()
}

// conclusive says whether every probe of a run came to a conclusion.
func conclusive(r posture.Run) bool {
	return r.Incomplete == "" && !slices.ContainsFunc(r.Probes, func(p posture.Probe) bool { return p.Outcome == posture.Inconclusive })
}

// revision is what probes speak: the newest legacy revision, unless the server is newer.
func revision(lowest string) string {
	return max(lowest, string(gateconfig.Revision20251125))
}

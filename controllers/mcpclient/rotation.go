package mcpclient

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/conditions"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// What a client's rotation is where it does not say so; the API server fills these in, too.
const (
	defaultOverlap    = 24 * time.Hour
	defaultMaximumAge = 90 * 24 * time.Hour
)

const (
	// mostGrace bounds for how long a replaced key that was used counts as in use; where the overlap is shorter, that does.
	mostGrace = time.Hour
	// patience is how long a new key may be on its way before that is trouble.
	patience = 10 * time.Minute
)

// Reasons of RotationSucceeded.
const (
	reasonRotated         = "UpToDate"
	reasonDistributing    = "Distributing"
	reasonWaitingForGates = "WaitingForGates"
	reasonOldKeysInUse    = "OldKeysInUse"
	reasonScheduleInvalid = "ScheduleInvalid"
	reasonSecretRewritten = "SecretRewritten"
)

// lateReasons are why a rotation can be late: all reasons with which RotationSucceeded is False.
var lateReasons = []string{reasonWaitingForGates, reasonOldKeysInUse, reasonScheduleInvalid, reasonSecretRewritten,
	reasonStoreNotReady, reasonStoreAPIMissing, reasonClusterStore, reasonSourceNotReady, reasonSourceUnusable, reasonSourceOld, reasonChildConflict}

// schedule is when the keys of a client for the servers of a namespace are replaced. Those of clients that were made together
// are spread. With an error, which is for people, it is a schedule by age alone.
func schedule(c *v1alpha1.MCPClient, servers string) (keys.Schedule, error) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s", c.UID, servers)
	seed := h.Sum64()
	s := keys.Schedule{Overlap: defaultOverlap, MaximumAge: defaultMaximumAge}
	spec := c.Spec.Rotation
	var wrong error
	if spec != nil {
		s.Overlap, wrong = length("spec.rotation.overlap", spec.Overlap, s.Overlap, wrong)
		s.MaximumAge, wrong = length("spec.rotation.maximumAge", spec.MaximumAge, s.MaximumAge, wrong)
		if spec.RotateAfter != nil {
			s.RotateAfter = spec.RotateAfter.Time
		}
	}
	// A key is replaced so early that its overlap ends before it does, with some time for what goes wrong.
	slack := min(s.MaximumAge/10, 7*24*time.Hour)
	spread := min(slack, 24*time.Hour)
	s.RenewBefore = s.Overlap + slack + time.Duration(seed%uint64(spread)).Truncate(time.Second)
	if spec == nil || spec.Schedule == nil {
		return s, wrong
	}
	switch {
	case spec.Schedule.Type == v1alpha1.RotationInterval:
		var every time.Duration
		if every, wrong = length("spec.rotation.schedule.interval", spec.Schedule.Interval, s.MaximumAge, wrong); wrong == nil {
			s.Times = keys.Every(every, seed)
		}
	case spec.Schedule.Type == v1alpha1.RotationCron && spec.Schedule.Cron != nil:
		times, err := keys.Cron(spec.Schedule.Cron.Expression, spec.Schedule.Cron.TimeZone, seed)
		if err != nil {
			return s, fmt.Errorf("spec.rotation.schedule.cron: %w", err)
		}
		s.Times = times
	default:
		return s, fmt.Errorf("spec.rotation.schedule.type: %q is not known; write Interval or Cron, and the field of that name", spec.Schedule.Type)
	}
	return s, wrong
}

func length(field, text string, otherwise time.Duration, before error) (time.Duration, error) {
	if text == "" {
		return otherwise, before
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Minute {
		return otherwise, fmt.Errorf("%s: %q is not a time of at least a minute; write one such as 24h", field, text)
	}
	return d, before
}

// listen asks the gates, as far as the keys need it, and adds what they say to the facts.
func (r *Reconciler) listen(ctx context.Context, in *input, cred *credential, facts *keys.Facts) error {
	waiting := ""
	if facts.Waiting != nil && (facts.Client == nil || facts.Client.ID != facts.Waiting.ID) {
		waiting = facts.Waiting.ID
	}
	var ending []string
	for _, k := range cred.before {
		if k.State == keys.Draining && !k.ReplacedAt.IsZero() && !in.now.Before(k.ReplacedAt.Add(cred.schedule.Overlap)) {
			ending = append(ending, k.ID)
		}
	}
	if waiting == "" && len(ending) == 0 {
		return nil
	}
	heard, err := r.hear(ctx, in, cred.servers, waiting)
	if err != nil {
		return err
	}
	cred.used = heard.used(in.now)
	if waiting != "" {
		if cred.lacking = heard.lacking(waiting); len(cred.lacking) == 0 {
			facts.Acknowledged = []string{waiting}
		}
	}
	since := in.now.Add(-grace(cred.schedule))
	for _, id := range ending {
		if len(heard.missing) == 0 && heard.unused(id, since) {
			facts.Unused = append(facts.Unused, id)
		}
	}
	return nil
}

// grace is for how long a replaced key that was used counts as in use.
func grace(s keys.Schedule) time.Duration { return min(s.Overlap, mostGrace) }

// distributing is the key that is on its way to the gates; nil without one.
func (c *credential) distributing() *keys.Record {
	i := slices.IndexFunc(c.step.Records, func(k keys.Record) bool { return k.State == keys.Pending || k.State == keys.Distributed })
	if i < 0 {
		return nil
	}
	return &c.step.Records[i]
}

// listenAgain is how long to wait before the gates are asked again; zero when nothing is to be asked. It grows with the time
// that was waited already.
func (c *credential) listenAgain(now time.Time) time.Duration {
	if k := c.distributing(); k != nil {
		return min(max(now.Sub(k.IssuedAt)/16, soon), 30*time.Second)
	}
	for _, k := range c.step.Records {
		if k.State == keys.Draining && !now.Before(k.ReplacedAt.Add(c.schedule.Overlap)) {
			return min(max(grace(c.schedule)/4, soon), 10*time.Minute)
		}
	}
	return 0
}

// rotated makes the condition about rotations; false when there is no key that could be replaced.
func rotated(in *input, all []*credential) (metav1.Condition, bool) {
	const kind = v1alpha1.ConditionRotationSucceeded
	if len(all) == 0 || !access.UsesKeys(in.client) {
		return metav1.Condition{}, false
	}
	var late, held, under, rewritten []string
	for _, cred := range all {
		if cred.wrong != nil {
			return conditions.False(kind, reasonScheduleInvalid, cred.wrong.Error()+"; until then keys are replaced because of their age alone"), true
		}
		if p := cred.store.problem; p != nil {
			return conditions.False(kind, p.reason, p.message), true
		}
		switch k := cred.distributing(); {
		case !cred.step.Paced.IsZero():
			rewritten = append(rewritten, fmt.Sprintf("Secret %s/%s lost its key again and again%s; old keys are accepted until their overlap is over, and the next one is made at %s: find who writes there",
				in.client.Namespace, SecretName(in.client.Name, cred.servers), lastWriter(cred.secret), cred.step.Paced.UTC().Format(time.RFC3339)))
		case cred.step.Starved && cred.step.Records != nil && len(cred.step.Records) > 0:
			return conditions.False(kind, reasonSourceOld, fmt.Sprintf("spec.apiKey.stores[%s]: the key is so old that it is to be replaced, and the store has no new one; put one there", cred.servers)), true
		case cred.step.Storing && (k == nil || in.now.Sub(k.IssuedAt) >= patience):
			waiting := "the client's key"
			if k != nil {
				waiting = "the new key " + k.ID
			}
			return conditions.False(kind, reasonStoreNotReady, fmt.Sprintf("spec.apiKey.stores[%s]: the store does not have %s yet; see PushSecret %s/%s",
				cred.servers, waiting, in.client.Namespace, SecretName(in.client.Name, cred.servers))), true
		case k != nil && in.now.Sub(k.IssuedAt) >= patience && len(cred.lacking) > 0:
			late = append(late, fmt.Sprintf("the new key %s for the servers of namespace %s waits for %s; the old one works until its notAfter",
				k.ID, cred.servers, some(cred.lacking)))
		case k != nil:
			under = append(under, cred.servers)
		case cred.step.Held:
			held = append(held, fmt.Sprintf("a new key for the servers of namespace %s waits, because too many replaced ones are still in use: have every user of Secret %s/%s read it again",
				cred.servers, in.client.Namespace, SecretName(in.client.Name, cred.servers)))
		}
	}
	switch {
	case len(rewritten) > 0:
		return conditions.False(kind, reasonSecretRewritten, some(rewritten)), true
	case len(late) > 0:
		return conditions.False(kind, reasonWaitingForGates, some(late)), true
	case len(held) > 0:
		return conditions.False(kind, reasonOldKeysInUse, some(held)), true
	case len(under) > 0:
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionUnknown, Reason: reasonDistributing,
			Message: "new keys are on their way to the gates of the servers of " + strings.Join(under, ", "),
		}, true
	}
	return conditions.True(kind, reasonRotated, "no key is overdue for its replacement"), true
}

// lastWriter names who wrote a Secret last, as far as that is known, as a part of a sentence.
func lastWriter(secret *corev1.Secret) string {
	var last metav1.ManagedFieldsEntry
	if secret != nil {
		for _, entry := range secret.ManagedFields {
			if entry.Manager != apply.FieldOwner && entry.Time != nil && (last.Time == nil || last.Time.Before(entry.Time)) {
				last = entry
			}
		}
	}
	if last.Manager == "" {
		return ""
	}
	return fmt.Sprintf(", last by %q", last.Manager)
}

// some joins texts for people, and says how many more there are.
func some(texts []string) string {
	if more := len(texts) - shown; more > 0 {
		return strings.Join(texts[:shown], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(texts, "; ")
}

package authority

import (
	"fmt"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/internal/rollover"
)

// shown bounds how many of those that are waited for a text names.
const shown = 4

// follow brings the line to what the step says.
func (x *found) follow() {
	g := x.generation(x.step.Generation)
	switch x.step.Action {
	case rollover.Create:
		x.generations = append(x.generations, generation{number: x.step.Generation, duration: x.schedule.Lifetime, annotations: map[string]string{}})
		if len(x.generations) == 1 {
			x.generations[0].issues = true // it follows nobody
		}
	case rollover.Distributed:
		g.annotations[annotationDistributed] = x.now()
	case rollover.Issue:
		g.issues = true
	case rollover.Replaced:
		g.annotations[annotationReplaced] = x.now()
	case rollover.Reused:
		delete(g.annotations, annotationReplaced)
	case rollover.Remove:
		x.generations = slices.DeleteFunc(x.generations, func(g generation) bool { return g.number == x.step.Generation })
	}
	for i := range x.generations {
		delete(x.generations[i].annotations, AnnotationRollover)
	}
	if text := x.text(); text != "" && x.generation(x.step.Generation) != nil {
		x.generation(x.step.Generation).annotations[AnnotationRollover] = text
	}
}

func (x *found) generation(number int) *generation {
	if i := slices.IndexFunc(x.generations, func(g generation) bool { return g.number == number }); i >= 0 {
		return &x.generations[i]
	}
	return nil
}

// gone says whether the step leaves nothing of a generation. What is newer than all that was seen stays.
func (x *found) gone(number int) bool {
	if x.generation(number) != nil || len(x.generations) == 0 {
		return false
	}
	newest := x.generations[len(x.generations)-1].number
	return number < newest || x.step.Action == rollover.Remove && number == x.step.Generation
}

// now is the time as a record holds it.
func (x *found) now() string { return x.facts.Now.UTC().Format(time.RFC3339) }

// text says what the generation of the step is in the middle of; empty while nothing follows anything. It has no time that
// changes by itself.
func (x *found) text() string {
	if len(x.generations) < 2 {
		return ""
	}
	at := func(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
	switch x.step.Phase {
	case rollover.Making:
		return "waits for cert-manager to issue it: its conditions say how far that is"
	case rollover.Distributing:
		if len(x.waits) > 0 {
			return "waits until it is trusted in: " + some(x.waits)
		}
		return "everybody can trust it: it issues certificates from " + at(x.facts.Now.Add(x.schedule.Overlap))
	case rollover.Settling:
		if x.step.Action == rollover.Issue {
			return ""
		}
		return "everybody can trust it: it issues certificates from " + at(x.facts.Authorities[len(x.facts.Authorities)-1].DistributedAt.Add(x.schedule.Overlap))
	case rollover.Reissuing:
		return "another authority has followed it; it goes when it is not used any more in: " + some(x.waits)
	case rollover.Draining:
		replaced := x.facts.Authorities[0].ReplacedAt
		if replaced.IsZero() {
			replaced = x.facts.Now
		}
		return "another authority has followed it, and nothing uses it: it goes at " + at(replaced.Add(x.schedule.Overlap))
	}
	return ""
}

func some(all []string) string {
	if len(all) <= shown {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(all[:shown], ", "), len(all)-shown)
}

// began is when what is waited for began, as far as that is known.
func (x *found) began() time.Time {
	newest := x.facts.Authorities[len(x.facts.Authorities)-1]
	if newest.Issues && !newest.DistributedAt.IsZero() {
		return newest.DistributedAt.Add(x.schedule.Overlap)
	}
	return newest.Since
}

// tell makes events of what was done.
func (r *Reconciler) tell(namespace string, all []*found) {
	for _, x := range all {
		if len(x.facts.Authorities) == 0 {
			continue
		}
		name := x.family.name(x.step.Generation)
		about := &certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		event := func(kind, reason, format string, args ...any) {
			r.Recorder.Eventf(about, nil, kind, reason, "RollOver", format, args...)
		}
		for _, lost := range x.lost {
			r.Recorder.Eventf(&certmanager.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: x.family.name(lost)}}, nil, corev1.EventTypeWarning, "AuthorityLost", "RollOver",
				"Secret %s was deleted or replaced, and has another authority now: the certificate of the one before stays trusted until all that it issued is issued again by an authority that follows; find who wrote there", x.family.name(lost))
		}
		switch x.step.Action {
		case rollover.Create:
			event(corev1.EventTypeNormal, "AuthorityFollows", "authority %s is made, to follow %s", name, x.family.name(x.facts.Authorities[0].Generation))
		case rollover.Issue:
			if x.step.Forced {
				event(corev1.EventTypeWarning, "AuthorityForced", "authority %s issues certificates from now on, before everybody had time to trust it: certificates of its predecessor would outlive that one; it is not known to be trusted in: %s", name, some(x.waits))
				continue
			}
			event(corev1.EventTypeNormal, "AuthorityInForce", "authority %s issues certificates from now on", name)
		case rollover.Remove:
			event(corev1.EventTypeNormal, "AuthorityRemoved", "authority %s is not trusted any more", name)
		}
	}
}

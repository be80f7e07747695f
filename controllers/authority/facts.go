package authority

import (
	"context"
	"maps"
	"slices"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/rollover"
)

// found is a family in a namespace, as it was found.
type found struct {
	line
	facts rollover.Facts
	// certificates are the authorities' own, by generation.
	certificates []issued
	// waits are those that the next step waits for, as what people read.
	waits []string
	// lost are the generations whose Secrets turn out to have been lost just now.
	lost []int
	// step is what is needed next.
	step     rollover.Step
	schedule rollover.Schedule
}

// look reads the objects of a family in a namespace.
func (r *Reconciler) look(ctx context.Context, reader client.Reader, f family, namespace string) (*found, error) {
	certificates, issuers := &certmanager.CertificateList{}, &certmanager.IssuerList{}
	for _, list := range []client.ObjectList{certificates, issuers} {
		if err := reader.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels(objectLabels())); err != nil {
			return nil, err
		}
	}
	x := &found{line: line{family: f}, facts: rollover.Facts{Now: r.now()}}
	var err error
	if x.certificates, err = f.certificates(ctx, reader, namespace, true); err != nil {
		return nil, err
	}
	all := map[int]*generation{}
	at := func(n int) *generation {
		if all[n] == nil {
			all[n] = &generation{number: n, duration: r.Lifetime, annotations: map[string]string{}}
		}
		return all[n]
	}
	since := map[int]time.Time{}
	for i := range certificates.Items {
		c := &certificates.Items[i]
		n := f.generation(c.Name)
		if n == 0 {
			continue
		}
		since[n] = c.CreationTimestamp.Time
		// What was asked for stays: another lifetime is for the next generation.
		if c.Spec.Duration != nil {
			at(n).duration = c.Spec.Duration.Duration
		}
		for _, key := range []string{AnnotationRollover, annotationDistributed, annotationReplaced} {
			if value, set := c.Annotations[key]; set {
				at(n).annotations[key] = value
			}
		}
	}
	for i := range issuers.Items {
		if n := f.generation(issuers.Items[i].Name); n > 0 {
			at(n).issues = issuers.Items[i].DeletionTimestamp == nil
		}
	}
	if len(all) == 0 {
		// cert-manager has lost its objects, and all certificates are still there.
		for _, c := range x.certificates {
			at(c.generation)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(all)) {
		g := all[n]
		a := rollover.Authority{
			Generation: n, Since: since[n], Issues: g.issues,
			DistributedAt: timeOf(g.annotations[annotationDistributed]), ReplacedAt: timeOf(g.annotations[annotationReplaced]),
		}
		if c := x.certificate(n); c != nil && c.certificate != nil {
			a.NotBefore, a.NotAfter = c.certificate.NotBefore, c.certificate.NotAfter
		}
		if a.Since.IsZero() {
			a.Since = a.NotBefore
		}
		x.generations = append(x.generations, *g)
		x.facts.Authorities = append(x.facts.Authorities, a)
	}
	force := rollover.InForce(x.facts.Authorities)
	for i := range x.generations {
		x.remember(i, force >= 0 && i > force)
	}
	return x, nil
}

func (x *found) certificate(generation int) *issued {
	if i := slices.IndexFunc(x.certificates, func(c issued) bool { return c.generation == generation }); i >= 0 {
		return &x.certificates[i]
	}
	return nil
}

// timeOf reads a recorded time. One that cannot be read was never recorded.
func timeOf(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// rotateAfter is the latest time until now, and the next after it, of those for which anybody with a say asks for another
// authority.
func (r *Reconciler) rotateAfter(ctx context.Context, f family, namespace string, now time.Time) (latest, next time.Time, _ error) {
	asked := []time.Time{r.RotateAfter}
	if f == private {
		servers, clients := &v1alpha1.MCPServerList{}, &v1alpha1.MCPClientList{}
		for _, list := range []client.ObjectList{servers, clients} {
			if err := r.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return time.Time{}, time.Time{}, err
			}
		}
		for i := range servers.Items {
			if tls := servers.Items[i].Spec.TLS; tls != nil && tls.RotateAuthorityAfter != nil {
				asked = append(asked, tls.RotateAuthorityAfter.Time)
			}
		}
		for i := range clients.Items {
			if after := clients.Items[i].Spec.Certificate.RotateAuthorityAfter; after != nil {
				asked = append(asked, after.Time)
			}
		}
	}
	for _, t := range asked {
		switch {
		case t.IsZero():
		case t.After(now):
			if next.IsZero() || t.Before(next) {
				next = t
			}
		case t.After(latest):
			latest = t
		}
	}
	return latest, next, nil
}

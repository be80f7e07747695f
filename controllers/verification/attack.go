package verification

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

const (
	// mostGates bounds how many gates of one server are attacked in one run; which ones is by chance.
	mostGates = 16
	// atOnce is how many of them are attacked at the same time.
	atOnce = 4
	// confirm is for how long a gate must have accepted a key that nobody has in use before that is told: a revocation is on
	// its way for some seconds.
	confirm = 15 * time.Second
)

// verify attacks the server's gates, and reads what only a question shows.
func (r *Reconciler) verify(ctx context.Context, o *observed, last *run) *run {
	now := &run{at: o.now, of: subject(o), gates: map[string]gatestatus.Status{}}
	now.Interval = declared.VerificationInterval(o.server)
	r.askGates(ctx, o, now, last)
	now.literals, now.unread = r.configMaps(ctx, o.server)
	mark := newMark()
	targets, why := r.targets(ctx, o, mark, false)
	token := r.ofCluster(ctx, o)
	for i := range targets {
		targets[i].Token = token
	}
	now.Incomplete = why
	logf.FromContext(ctx).V(1).Info("attacking the gates", "gates", len(targets), "traceID", mark)
	now.Probes = r.attackAll(ctx, targets)
	now.answered = answered(now.Probes, nil)
	now.at = r.Now()
	now.critical = critical(now.Run, last)
	if conclusive(now.Run) && len(now.gates) == len(o.gates) {
		return now
	}
	now.inconclusive = 1
	if last != nil {
		now.inconclusive = last.inconclusive + 1
	}
	broken := slices.ContainsFunc(now.Probes, func(p posture.Probe) bool { return p.Outcome == posture.Broken })
	if last != nil && !broken && now.inconclusive <= mostInconclusive && conclusive(last.Run) {
		// A gate that is just ending or beginning says nothing about the others: what was proven stands a little longer.
		kept := *last
		kept.of, kept.inconclusive, kept.stale = now.of, now.inconclusive, now.stale
		kept.chains, kept.still, kept.answered = now.chains, now.still, answered(now.Probes, last.answered)
		return &kept
	}
	return now
}

// attackAll attacks some gates at once: where the network drops what is sent to the server's port, each takes as long as an
// attempt may.
func (r *Reconciler) attackAll(ctx context.Context, targets []probe.Target) []posture.Probe {
	found := make([][]posture.Probe, len(targets))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, target := range targets {
		group.Go(func() error {
			found[i] = r.Attack(ctx, target)
			return nil
		})
	}
	_ = group.Wait() // nobody returns an error
	return slices.Concat(found...)
}

// glance looks at the gates between two runs: it asks for their status, and tries the few attacks that are cheap. It says whether
// all is as the last run found it.
func (r *Reconciler) glance(ctx context.Context, o *observed, last *run) (*run, bool) {
	now := *last
	now.gates = map[string]gatestatus.Status{}
	r.askGates(ctx, o, &now, last)
	targets, why := r.targets(ctx, o, newMark(), true)
	if why != "" || len(now.gates) < len(o.gates) {
		return nil, false
	}
	probes := r.attackAll(ctx, targets)
	if slices.ContainsFunc(probes, func(p posture.Probe) bool { return p.Outcome != posture.Held }) {
		return nil, false
	}
	now.answered = answered(probes, nil)
	now.glanced = r.Now()
	return &now, true
}

// askGates asks the gates for their status.
func (r *Reconciler) askGates(ctx context.Context, o *observed, now, last *run) {
	var asked []gates.Gate
	for _, g := range o.gates {
		asked = append(asked, gates.Gate{Address: g.pod.Status.PodIP, ServerName: manifests.ServerName(o.server), Roots: o.caBundle})
	}
	wanted := map[string]bool{}
	for _, c := range o.clientFacts() {
		for _, k := range c.Keys {
			wanted[k.ID] = wanted[k.ID] || k.Accepted && o.now.Before(k.NotAfter)
		}
	}
	now.stale = map[string]time.Time{}
	defer func() { now.compareChains(last) }()
	for i, answer := range r.Gates.Read(ctx, asked) {
		if answer.Err != nil {
			continue
		}
		now.gates[o.gates[i].pod.Name] = answer.Status
		for _, key := range answer.Status.Keys {
			if wanted[key.ID] {
				continue
			}
			now.stale[key.ID] = o.now
			if last != nil && !last.stale[key.ID].IsZero() {
				now.stale[key.ID] = last.stale[key.ID]
			}
		}
	}
}

// targets are the gates with what they are attacked with, and why not everything can be tried.
func (r *Reconciler) targets(ctx context.Context, o *observed, mark string, quick bool) ([]probe.Target, string) {
	endpoint, err := url.Parse(o.server.Status.URL)
	if err != nil || endpoint.Path == "" {
		return nil, "the server has no URL yet"
	}
	base := probe.Target{
		GatePort: gateconfig.GatePort, ServerPort: int(o.server.Spec.Transport.Port),
		ServerName: manifests.ServerName(o.server), Host: manifests.ServerName(o.server), Path: endpoint.Path,
		Revision: revision(string(o.server.Spec.Transport.MinRevision)), Mark: mark, Timeout: r.Settings.Timeout, Quick: quick,
	}
	base.Resource, base.Issuers = resource(o.server), o.issuers
	mode := manifests.Authentication(o.server).ClientCertificates
	base.Demanded = mode == gateconfig.Required
	if o.caBundle != "" {
		if base.Roots, err = gateconfig.Pool(o.caBundle); err != nil {
			return nil, "the authority of the serving certificate cannot be read"
		}
	}
	if err = o.own(&base); err != nil {
		return nil, "the operator has no key to show yet"
	}
	why := ""
	if mode != gateconfig.Disabled {
		if base.Identity, err = authority.Credentials(r.Client, r.Settings.Namespace)(ctx); err != nil {
			return nil, "the operator has no certificate yet"
		}
		if !quick {
			if base.Forged, err = r.forge(ctx, o.server); err != nil {
				why = "certificates to try could not be forged"
			}
		}
	}
	var all []probe.Target
	for _, g := range chosen(o.gates) {
		for _, ip := range g.ips {
			target := base
			target.Pod, target.Address = g.pod.Name, ip
			all = append(all, target)
		}
	}
	return all, why
}

// own gives the target the operator's keys at the server, and those that it signs tokens with, as far as the server takes them.
func (o *observed) own(t *probe.Target) error {
	takesKeys, takesTokens := access.TakesKeys(o.server), len(access.Tokens(o.server)) > 0
	if !takesKeys && !takesTokens {
		return nil
	}
	if o.series == nil {
		return errors.New("the authority that they follow from is not issued")
	}
	present, _ := o.series.Present(o.now)
	retired, ok := o.series.Retired(o.now)
	var err error
	if takesKeys {
		t.Keys = &probe.Keys{}
		if t.Keys.Present, err = o.series.Key(present); err == nil && ok {
			t.Keys.Retired, err = o.series.Key(retired)
		}
	}
	if takesTokens && err == nil {
		t.Signers = &probe.Signers{Audience: o.series.Audience()}
		if t.Signers.Present, err = o.series.Signer(present); err == nil && ok {
			t.Signers.Retired, err = o.series.Signer(retired)
		}
	}
	return err
}

// resource is what the gates must say of the server to who asks how to get a token.
func resource(server *v1alpha1.MCPServer) *probe.Resource {
	if server.Spec.Authentication == nil {
		return nil
	}
	r := &probe.Resource{URL: server.Status.URL}
	for _, issuer := range server.Spec.Authentication.Tokens {
		if issuer.Type == v1alpha1.TokenIssuerOIDC && issuer.OIDC != nil {
			r.Issuers = append(r.Issuers, issuer.OIDC.Issuer)
		}
	}
	if len(r.Issuers) == 0 {
		return nil
	}
	return r
}

// chosen are the gates to attack: all, or as many as are allowed.
func chosen(all []gate) []gate {
	if len(all) <= mostGates {
		return all
	}
	some := slices.Clone(all)
	bytes := make([]byte, len(some))
	_, _ = rand.Read(bytes) // crypto/rand does not fail
	for i := range some {
		j := int(bytes[i]) % (i + 1)
		some[i], some[j] = some[j], some[i]
	}
	return some[:mostGates]
}

// forge makes certificates that no gate may accept.
func (r *Reconciler) forge(ctx context.Context, server *v1alpha1.MCPServer) ([]probe.Forged, error) {
	parent, signer, err := authority.SystemSigner(ctx, r.Client, r.Settings.Namespace)
	if err != nil {
		return nil, err
	}
	return probe.Forge(parent, signer, server.Namespace)
}

// newMark is a trace id by which the requests of one run are found in the audit log.
func newMark() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // crypto/rand does not fail
	return hex.EncodeToString(id)
}

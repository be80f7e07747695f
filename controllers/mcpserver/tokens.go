package mcpserver

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// unknownKeyLook is how often the gates of a server with tokens are asked whether they saw a key that they do not know.
const unknownKeyLook = time.Minute

// issuer is a token issuer of the spec with what is known of its keys.
type issuer struct {
	spec   v1alpha1.TokenIssuer
	source manifests.KeySource
	state  issuers.State
	// keys are the last good ones: those of this process, or those that the gates have from an earlier one.
	keys *manifests.IssuerKeys
}

// gatherTokens asks for the keys of the server's token issuers, and for new ones when it is time.
func (r *Reconciler) gatherTokens(_ context.Context, o *observed) error {
	user := client.ObjectKeyFromObject(o.server)
	var sources []manifests.KeySource
	for _, spec := range access.Tokens(o.server) {
		i := issuer{spec: spec, source: manifests.KeySourceOf(spec)}
		i.state = r.issuers.Get(i.source, user)
		if i.keys = i.state.Keys; i.keys == nil {
			i.keys = inherited(o, i)
		}
		sources = append(sources, i.source)
		o.issuers = append(o.issuers, i)
	}
	r.issuers.Keep(user, sources)
	return nil
}

// inherited are the keys that the gates have of the same source: they outlive the operator that fetched them.
func inherited(o *observed, i issuer) *manifests.IssuerKeys {
	if o.gateSecret == nil {
		return nil
	}
	config, err := gateconfig.Parse(o.gateSecret.Data[gateconfig.ConfigFile])
	if err != nil {
		return nil
	}
	for _, had := range config.Authentication.Tokens {
		if had.Name == i.spec.Name && had.Source == i.source.ID() && len(had.Keys) > 0 {
			return &manifests.IssuerKeys{Issuer: had.Issuer, Keys: had.Keys}
		}
	}
	return nil
}

// issuerKeys are the keys of the token issuers by their names.
func (o *observed) issuerKeys() map[string]manifests.IssuerKeys {
	keys := map[string]manifests.IssuerKeys{}
	for _, i := range o.issuers {
		if i.keys != nil {
			keys[i.spec.Name] = *i.keys
		}
	}
	return keys
}

// keyless says whether an issuer's tokens are refused because its keys are not known.
func (o *observed) keyless() bool {
	for _, i := range o.issuers {
		if i.keys == nil {
			return true
		}
	}
	return false
}

// tokens judges the keys of the token issuers. The first problem is told.
func tokens(o *observed) finding {
	named := map[string]string{}
	var stale *finding
	for _, i := range o.issuers {
		field := fmt.Sprintf("spec.authentication.tokens[%s]", i.spec.Name)
		if i.keys != nil {
			if other, twice := named[i.keys.Issuer]; twice {
				return no(reasonIssuerRepeated, fmt.Sprintf("%s: its issuer, %s, is that of tokens[%s] too, so its tokens are judged by one of both; remove one and name all audiences in the other", field, i.keys.Issuer, other))
			}
			named[i.keys.Issuer] = i.spec.Name
		}
		switch problem := i.state.Problem; {
		case problem != nil && i.keys == nil:
			return no(problem.Reason, fmt.Sprintf("%s.%s; until its keys are known its tokens are refused, and the operator goes on trying", field, problem))
		case problem != nil && stale == nil:
			f := no(problem.Reason, fmt.Sprintf("%s.%s; the last good keys stay in force, and the operator goes on trying", field, problem))
			stale = &f
		case i.keys == nil:
			return no(reasonFetchingKeys, fmt.Sprintf("%s: its keys are being fetched", field))
		}
	}
	if stale != nil {
		return *stale
	}
	return yes(reasonKeysKnown, "the keys of every token issuer are known")
}

// unknownKeys passes on what a gate saw of keys that it does not know.
func (r *Reconciler) unknownKeys(o *observed, seen []gatestatus.UnknownKey) {
	for _, unknown := range seen {
		for _, i := range o.issuers {
			if i.spec.Name == unknown.Issuer {
				r.issuers.Unknown(i.source, unknown.Last)
			}
		}
	}
}

// tokensNext is how long the token issuers can be left alone; zero without any.
func (o *observed) tokensNext() time.Duration {
	if len(o.issuers) == 0 {
		return 0
	}
	next := unknownKeyLook
	for _, i := range o.issuers {
		next = min(next, max(i.state.Next.Sub(o.now), time.Second))
	}
	return next
}

// wakeServer has one server reconciled.
func (r *Reconciler) wakeServer(ctx context.Context) func(types.NamespacedName) {
	return func(server types.NamespacedName) {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: server.Name}}
		select {
		case r.keyed <- event.GenericEvent{Object: object}:
		case <-ctx.Done():
		}
	}
}

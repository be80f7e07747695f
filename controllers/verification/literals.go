package verification

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/literal"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// configMaps are the places in ConfigMaps that the spec names which hold what looks like a secret, and the ConfigMaps that could
// not be read. No cache has them, so they are read here, once a run.
func (r *Reconciler) configMaps(ctx context.Context, server *v1alpha1.MCPServer) (found, unread []string) {
	for name, keys := range declared.ConfigMaps(server) {
		object := &corev1.ConfigMap{}
		if err := r.Live.Get(ctx, types.NamespacedName{Namespace: server.Namespace, Name: name}, object); client.IgnoreNotFound(err) != nil {
			unread = append(unread, name)
			continue
		}
		found = append(found, declared.Secrets(name, keys, object)...)
	}
	slices.Sort(found)
	slices.Sort(unread)
	return found, unread
}

// podLiterals are the places in the pods' containers, beyond what the spec says, that hold what looks like a secret: others may have
// put it there.
func (o *observed) podLiterals() (found []string) {
	spec := &o.server.Spec
	for i := range o.pods {
		for _, c := range containers(&o.pods[i].Spec) {
			for _, variable := range c.Env {
				said := slices.ContainsFunc(spec.Env, func(e v1alpha1.EnvVar) bool {
					return e.Name == variable.Name && e.Value != nil && *e.Value == variable.Value
				})
				if kind := literal.Find(variable.Name, variable.Value); kind != "" && !said {
					found = append(found, fmt.Sprintf("env[%s] of container %s of the pods holds %s", variable.Name, c.Name, kind))
				}
			}
			for _, words := range [][]string{c.Command, c.Args} {
				if !slices.Equal(words, spec.Command) && !slices.Equal(words, spec.Args) {
					found = append(found, declared.Arguments("the command line of container "+c.Name+" of the pods", words)...)
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// literalFacts add what ConfigMaps hold to what the spec does.
func (o *observed) literalFacts(s *posture.Snapshot, last *run) {
	names := declared.ConfigMaps(o.server)
	if len(names) == 0 {
		return
	}
	if last != nil {
		s.Literals.Value = append(slices.Clone(s.Literals.Value), last.literals...)
	}
	if len(s.Literals.Value) > 0 {
		return // one is enough
	}
	switch {
	case last == nil:
		s.Literals = posture.Unknown[[]string]("the ConfigMaps of the spec have not been read yet")
	case len(last.unread) > 0:
		s.Literals = posture.Unknown[[]string]("the operator cannot read ConfigMap " + strings.Join(last.unread, ", "))
	default:
		s.Literals = posture.See(s.Literals.Value, "MCPServer spec, pods, ConfigMaps", last.at)
	}
}

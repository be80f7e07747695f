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
	"github.com/bartizan-dev/bartizan/internal/literal"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// wholeFile stands for all keys of a ConfigMap that is mounted.
const wholeFile = ""

// named are the ConfigMaps that the spec names, by their names: the keys of each, with the variable that has the value.
func named(server *v1alpha1.MCPServer) map[string]map[string]string {
	all := map[string]map[string]string{}
	add := func(name, key, variable string) {
		if all[name] == nil {
			all[name] = map[string]string{}
		}
		all[name][key] = variable
	}
	for i := range server.Spec.Env {
		if ref := server.Spec.Env[i].ConfigMapKeyRef; ref != nil {
			add(ref.Name, ref.Key, server.Spec.Env[i].Name)
		}
	}
	if server.Spec.Pod != nil {
		for i := range server.Spec.Pod.Volumes {
			if volume := server.Spec.Pod.Volumes[i].ConfigMap; volume != nil {
				add(volume.Name, wholeFile, "")
			}
		}
	}
	return all
}

// configMaps are the places in ConfigMaps that the spec names which hold what looks like a secret, and the ConfigMaps that could
// not be read. No cache has them, so they are read here, once a run.
func (r *Reconciler) configMaps(ctx context.Context, server *v1alpha1.MCPServer) (found, unread []string) {
	for name, keys := range named(server) {
		object := &corev1.ConfigMap{}
		if err := r.Live.Get(ctx, types.NamespacedName{Namespace: server.Namespace, Name: name}, object); client.IgnoreNotFound(err) != nil {
			unread = append(unread, name)
			continue
		}
		found = append(found, secrets(name, keys, object)...)
	}
	slices.Sort(found)
	slices.Sort(unread)
	return found, unread
}

// secrets are the places in a ConfigMap.
func secrets(name string, keys map[string]string, object *corev1.ConfigMap) (found []string) {
	_, whole := keys[wholeFile]
	look := func(key, text string) {
		variable, used := keys[key]
		if !used && !whole {
			return
		}
		kinds := literal.Document(text)
		if kind := literal.Find(variable, text); used && kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		// What is mounted under a name that says so, such as api-key, is one value.
		if kind := literal.Find(key, text); whole && len(kinds) == 0 && kind != "" {
			kinds = append(kinds, kind)
		}
		if len(kinds) > 0 {
			found = append(found, fmt.Sprintf("ConfigMap %s[%s] holds %s", name, key, strings.Join(kinds, ", ")))
		}
	}
	for key, text := range object.Data {
		look(key, text)
	}
	for key, content := range object.BinaryData {
		look(key, string(content))
	}
	return found
}

// literalFacts add what ConfigMaps hold to what the spec does.
func (o *observed) literalFacts(s *posture.Snapshot, last *run) {
	names := named(o.server)
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
		s.Literals = posture.See(s.Literals.Value, "MCPServer spec, ConfigMaps", last.at)
	}
}

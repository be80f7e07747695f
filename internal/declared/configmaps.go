package declared

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/literal"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// Keys are those of a ConfigMap that a spec names, with the variable that has the value of each. WholeFile stands for all of them.
type Keys map[string]string

// WholeFile stands for all keys of a ConfigMap that is mounted.
const WholeFile = ""

// ConfigMaps are the ConfigMaps that the spec names, by their names.
func ConfigMaps(server *v1alpha1.MCPServer) map[string]Keys {
	all := map[string]Keys{}
	add := func(name, key, variable string) {
		if all[name] == nil {
			all[name] = Keys{}
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
				add(volume.Name, WholeFile, "")
			}
		}
	}
	return all
}

// Secrets are the places in a ConfigMap, of those that a spec names, that hold what looks like a secret; never the secret.
func Secrets(name string, keys Keys, object *corev1.ConfigMap) (found []string) {
	_, whole := keys[WholeFile]
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
	slices.Sort(found)
	return found
}

// Beside adds what the ConfigMaps hold that the spec names and that are among the manifests, by their names. Of those that are not
// nothing is known.
func Beside(s *posture.Snapshot, server *v1alpha1.MCPServer, manifests map[string]*corev1.ConfigMap) {
	found := slices.Clone(s.Literals.Value)
	var absent []string
	for name, keys := range ConfigMaps(server) {
		if object := manifests[name]; object != nil {
			found = append(found, Secrets(name, keys, object)...)
		} else {
			absent = append(absent, name)
		}
	}
	slices.Sort(found)
	slices.Sort(absent)
	if len(found) == 0 && len(absent) > 0 {
		s.Literals = posture.Unknown[[]string]("ConfigMap " + strings.Join(absent, ", ") + " is not among the manifests")
		return
	}
	s.Literals = posture.Say(found, "MCPServer spec, ConfigMaps")
}

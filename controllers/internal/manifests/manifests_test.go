package manifests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
)

// meantZero are the zero values that say something: without them the API server fills in something else.
var meantZero = []string{
	".automountServiceAccountToken",
	".spec.template.spec.automountServiceAccountToken",
	".spec.template.spec.enableServiceLinks",
	".spec.template.spec.containers[].securityContext.allowPrivilegeEscalation",
	".spec.template.spec.initContainers[].securityContext.allowPrivilegeEscalation",
	".spec.strategy.rollingUpdate.maxUnavailable",
	".spec.replicas",                           // of a suspended server
	".rules[].apiGroups[]",                     // the core group
	".spec.ingress[].from[].podSelector",       // every pod
	".spec.ingress[].from[].namespaceSelector", // every namespace
	".spec.egress[].to[].podSelector",
	".spec.egress[].to[].namespaceSelector",
}

// TestNothingEmptyIsEmitted: an empty list or an explicit zero that the API server leaves out makes an apply of an unchanged
// object a change.
func TestNothingEmptyIsEmitted(t *testing.T) {
	check := func(where string, children Children) {
		for _, child := range all(children) {
			content, err := json.Marshal(child)
			if err != nil {
				t.Fatal(err)
			}
			var value any
			if err := json.Unmarshal(content, &value); err != nil {
				t.Fatal(err)
			}
			for _, path := range zeros("", value) {
				if !slices.Contains(meantZero, path) {
					t.Errorf("%s: %T emits an empty %s", where, child, path)
				}
			}
		}
	}
	for _, name := range servers(t) {
		check(name, build(t, name))
	}
	for seed := range uint64(500) {
		if children, err := Build(params(newDice(seed).server())); err == nil {
			check(fmt.Sprintf("seed %d", seed), children)
		}
	}
}

// zeros are the paths of the empty values in a JSON value.
func zeros(path string, value any) []string {
	var found []string
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 {
			return []string{path}
		}
		for key, inner := range v {
			found = append(found, zeros(path+"."+key, inner)...)
		}
	case []any:
		if len(v) == 0 {
			return []string{path}
		}
		for _, inner := range v {
			found = append(found, zeros(path+"[]", inner)...)
		}
	case nil:
		return []string{path}
	default:
		if v == "" || v == false || v == float64(0) {
			return []string{path}
		}
	}
	return found
}

// TestChildrenAreOfTheirKinds reads every child strictly as its kind: no field is misspelled.
func TestChildrenAreOfTheirKinds(t *testing.T) {
	c := build(t, "everything")
	into[networking.NetworkPolicy](t, c.NetworkPolicy)
	into[core.ServiceAccount](t, c.ServiceAccount)
	into[rbac.Role](t, c.Role)
	into[rbac.RoleBinding](t, c.RoleBinding)
	for _, es := range c.ExternalSecrets {
		into[esv1.ExternalSecret](t, es)
	}
	into[certmanagerv1.Certificate](t, c.Certificate)
	into[core.ConfigMap](t, c.CABundle)
	into[core.Secret](t, c.GateSecret)
	into[apps.Deployment](t, c.Deployment)
	into[core.Service](t, c.Service)
	into[policy.PodDisruptionBudget](t, c.DisruptionBudget)
}

// TestUnknownContentIsLeftAlone: what is not known yet is not emitted empty.
func TestUnknownContentIsLeftAlone(t *testing.T) {
	p := params(server(t, "minimal"))
	p.CABundle, p.Gate = "", Sealed{}
	c, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	if c.CABundle != nil || c.GateSecret != nil {
		t.Errorf("got %v and %v", c.CABundle, c.GateSecret)
	}
}

func TestSecretVolume(t *testing.T) {
	long := strings.Repeat("g", 59)
	seen := map[string]bool{}
	for _, group := range []string{"a", "b", strings.Repeat("g", 46), strings.Repeat("g", 47), strings.Repeat("g", 48), long + "aaaa", long + "bbbb", strings.Repeat("g", 30) + strings.Repeat("-", 32) + "g"} {
		name := secretVolume(group)
		if len(name) > 63 || strings.Contains(name, "--") || seen[name] {
			t.Errorf("the volume of %s is %s", group, name)
		}
		seen[name] = true
	}
}

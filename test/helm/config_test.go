package helm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/bartizan-dev/bartizan/hack/toolchain"
)

// TestChartEqualsConfig: an installation by the chart and one from config/ are the same, but for labels, and the names of roles.
func TestChartEqualsConfig(t *testing.T) {
	for _, overlay := range []string{"default", "namespaced", "ha", "monitoring"} {
		t.Run(overlay, func(t *testing.T) {
			config, chart := kustomize(t, overlay), render(t, variants[overlay]...)
			same(t, "config/"+overlay, bare(t, config), "chart", bare(t, chart))
			rights := rightsOf(t, chart)
			if diff := cmp.Diff(rightsOf(t, config), rights); diff != "" {
				t.Errorf("the rights (-config/%s +chart):\n%s", overlay, diff)
			}
			if account := rights["ServiceAccount bartizan-system/bartizan-controller-manager"]; len(account) < 30 {
				t.Errorf("the operator has only the rights %v", account)
			}
		})
	}
}

// same compares objects by their identities.
func same(t testing.TB, one string, want map[string]any, other string, got map[string]any) {
	t.Helper()
	if len(want) < 4 {
		t.Errorf("only %d objects", len(want))
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s has %s, %s has not", one, name, other)
		}
	}
	for name, object := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s has %s, %s has not", other, name, one)
		} else if diff := cmp.Diff(want[name], object); diff != "" {
			t.Errorf("%s (-%s +%s):\n%s", name, one, other, diff)
		}
	}
}

// bare returns what objects do, by their identities: without what only says where they come from, and without roles, which
// rightsOf compares.
func bare(t testing.TB, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, object := range objects {
		object = object.DeepCopy()
		switch object.GetKind() {
		case "Namespace", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
			continue
		case "ConfigMap":
			if strings.HasSuffix(object.GetName(), "-dashboard") {
				break
			}
			// kustomize puts a hash behind the name.
			object.SetName("bartizan-grantable-rules")
			var rules []rbacv1.PolicyRule
			text, _, _ := unstructured.NestedString(object.Object, "data", "grantable-rules.yaml")
			if err := yaml.UnmarshalStrict([]byte(text), &rules); err != nil || len(rules) == 0 {
				t.Fatalf("%v in %q", err, text)
			}
			object.Object["data"] = fmt.Sprint(rules)
		case "Deployment":
			bareDeployment(object)
		}
		object.SetLabels(nil)
		object.SetAnnotations(nil)
		// Numbers are compared as JSON has them.
		raw, err := json.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(raw, &plain); err != nil {
			t.Fatal(err)
		}
		found[identity(object)] = plain
	}
	return found
}

func bareDeployment(object *unstructured.Unstructured) {
	template := object.Object["spec"].(map[string]any)["template"].(map[string]any)
	delete(template["metadata"].(map[string]any)["annotations"].(map[string]any), "bartizan.dev/grantable-rules")
	pod := template["spec"].(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	container["image"] = repository(container["image"].(string))
	arguments := container["args"].([]any)
	for i := range arguments {
		arguments[i] = repository(arguments[i].(string))
	}
	slices.SortFunc(arguments, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	for _, volume := range pod["volumes"].([]any) {
		if configMap, ok := volume.(map[string]any)["configMap"].(map[string]any); ok {
			configMap["name"] = "bartizan-grantable-rules"
		}
	}
}

// repository is an image without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@sha256:")
	return strings.TrimSuffix(image, ":unset")
}

// rightsOf returns what is allowed, by who is allowed it; roles that nobody is bound to are by their names.
func rightsOf(t testing.TB, objects []*unstructured.Unstructured) map[string][]string {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for _, object := range objects {
		if kind := object.GetKind(); kind != "Role" && kind != "ClusterRole" {
			continue
		}
		role := convert[rbacv1.ClusterRole](t, object)
		rules[identity(object)] = role.Rules
	}
	found, bound := map[string][]string{}, map[string]bool{}
	for _, object := range objects {
		if kind := object.GetKind(); kind != "RoleBinding" && kind != "ClusterRoleBinding" {
			continue
		}
		binding := convert[rbacv1.RoleBinding](t, object)
		role := fmt.Sprintf("%s %s/%s", binding.RoleRef.Kind, object.GetNamespace(), binding.RoleRef.Name)
		if rules[role] == nil {
			t.Errorf("%s names %s, which is not there", identity(object), role)
		}
		bound[role] = true
		for _, subject := range binding.Subjects {
			who := fmt.Sprintf("%s %s/%s", subject.Kind, subject.Namespace, subject.Name)
			found[who] = append(found[who], spelled(object.GetNamespace(), rules[role])...)
		}
	}
	for role := range rules {
		if !bound[role] {
			found[role] = spelled("", rules[role])
		}
	}
	for who := range found {
		slices.Sort(found[who])
		found[who] = slices.Compact(found[who])
	}
	return found
}

// ofCluster are the resources of the operator's role that are in no namespace.
var ofCluster = []string{
	"apiextensions.k8s.io/customresourcedefinitions", "/namespaces", "bartizan.dev/mcpsecurityprofiles", "bartizan.dev/mcpsecurityprofiles/status",
	"rbac.authorization.k8s.io/clusterroles", "rbac.authorization.k8s.io/clusterrolebindings",
}

// spelled spells rules out, one right a line.
func spelled(namespace string, rules []rbacv1.PolicyRule) []string {
	var all []string
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				all = append(all, verb+" "+url)
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					if namespace != "" && slices.Contains(ofCluster, group+"/"+resource) {
						continue // A Role with it gives nothing. kustomize cannot leave it out.
					}
					for _, name := range append(slices.Clone(rule.ResourceNames), "")[:max(1, len(rule.ResourceNames))] {
						all = append(all, strings.TrimSpace(fmt.Sprintf("%s: %s %s/%s %s", namespace, verb, group, resource, name)))
					}
				}
			}
		}
	}
	return all
}

func convert[T any](t testing.TB, object *unstructured.Unstructured) T {
	t.Helper()
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &typed); err != nil {
		t.Fatalf("%s: %v", identity(object), err)
	}
	return typed
}

// TestRightsHaveNoWildcard: whatever is turned on, nothing is given that is not named.
func TestRightsHaveNoWildcard(t *testing.T) {
	for name, values := range variants {
		t.Run(name, func(t *testing.T) {
			for who, rights := range rightsOf(t, render(t, values...)) {
				for _, right := range rights {
					if strings.Contains(right, "*") || strings.Contains(right, "escalate") || strings.Contains(right, "bind ") || strings.Contains(right, "impersonate") {
						t.Errorf("%s may %s", who, right)
					}
				}
			}
		})
	}
}

// TestRightsAreThoseOfWhatIsOn: what is off has no rights.
func TestRightsAreThoseOfWhatIsOn(t *testing.T) {
	const operator = "ServiceAccount bartizan-system/bartizan-controller-manager"
	for _, test := range []struct {
		name, value string
		gone        []string
	}{
		{"external-secrets", "externalSecrets.enabled=false", []string{"external-secrets.io/"}},
		{"metrics", "metrics.enabled=false", []string{"authentication.k8s.io/tokenreviews", "authorization.k8s.io/subjectaccessreviews"}},
		{"alert rules", `alerts.mode="Disabled"`, []string{"monitoring.coreos.com/prometheusrules"}},
		{"discovery", "discovery.enabled=false", []string{"toolhive.stacklok.dev/", "kagent.dev/", "mcp.x-k8s.io/"}},
		{"grants", "grantableRules=[]", []string{
			"create rbac.authorization.k8s.io/roles", "patch rbac.authorization.k8s.io/rolebindings",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			all, fewer := rightsOf(t, render(t, "discovery.enabled=true"))[operator], rightsOf(t, render(t, test.value))[operator]
			for _, gone := range test.gone {
				has := func(rights []string) bool {
					return slices.ContainsFunc(rights, func(right string) bool { return strings.Contains(right, gone) })
				}
				if !has(all) {
					t.Errorf("the operator has no right on %s to begin with", gone)
				}
				if has(fewer) {
					t.Errorf("with %s the operator still has rights on %s", test.value, gone)
				}
			}
		})
	}
}

// TestNamespacedRights: with namespaces named, all that can be a Role is one, there and in the operator's own namespace.
func TestNamespacedRights(t *testing.T) {
	where := map[string]int{}
	for _, right := range rightsOf(t, render(t, `watchNamespaces=["team-a"]`))["ServiceAccount bartizan-system/bartizan-controller-manager"] {
		namespace, what, resource := strings.Cut(right, ":")
		if !resource && (right == "get /.well-known/openid-configuration" || right == "get /openid/v1/jwks") {
			continue // no Role can give what is no resource
		}
		where[namespace]++
		read := strings.HasPrefix(what, " get ") || strings.HasPrefix(what, " list ") || strings.HasPrefix(what, " watch ")
		if namespace == "" && !strings.Contains(what, "reviews") && (!read || !slices.ContainsFunc(ofCluster, func(r string) bool { return strings.HasSuffix(what, " "+r) })) {
			t.Errorf("the operator may%s in every namespace", what)
		}
	}
	for _, namespace := range []string{"team-a", namespace, "default", "kube-system"} {
		if where[namespace] == 0 {
			t.Errorf("no rights in %s", namespace)
		}
	}
	if len(where) != 5 {
		t.Errorf("rights in %v", where)
	}
}

// TestOverlaysStandAlone: kustomize, which fetches a repository for an overlay that is named by URL, needs nothing but config/.
func TestOverlaysStandAlone(t *testing.T) {
	copied := filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	for _, overlay := range []string{"default", "namespaced", "ha", "monitoring"} {
		printed, err := execute(t, nil, program(t, toolchain.Kustomize), "build", filepath.Join(copied, overlay))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "config/"+overlay, bare(t, kustomize(t, overlay)), "its copy", bare(t, decode(t, printed)))
	}
}

// TestInstallYAML: the one file is what config/default is.
func TestInstallYAML(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "dist", "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "config/default", bare(t, kustomize(t, "default")), "dist/install.yaml", bare(t, decode(t, file)))
}

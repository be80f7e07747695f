// Package config_test tests the manifests of config/ as users apply them: rendered by kubectl, on a real API server.
package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/test/controlplane"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

const (
	root      = "../../config"
	namespace = "bartizan-system"
	account   = "bartizan-controller-manager"
)

// render returns the objects of an overlay.
func render(t testing.TB, overlay string) []*unstructured.Unstructured {
	t.Helper()
	output := controlplane.Kubectl(t, "kustomize", filepath.Join(root, overlay))
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(output), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// pick returns the objects of a kind, typed.
func pick[T any](t testing.TB, objects []*unstructured.Unstructured, kind string) []T {
	t.Helper()
	var picked []T
	for _, object := range objects {
		if object.GetKind() != kind {
			continue
		}
		var typed T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true); err != nil {
			t.Fatalf("%s %s: %v", kind, object.GetName(), err)
		}
		picked = append(picked, typed)
	}
	return picked
}

func TestIntegrationRightsAreTheLeast(t *testing.T) {
	forbidden := []string{"*", "escalate", "bind", "impersonate"}
	for _, overlay := range []string{"default", "namespaced", "ha", "monitoring"} {
		t.Run(overlay, func(t *testing.T) {
			objects := render(t, overlay)
			roles := map[string][]rbacv1.PolicyRule{}
			for _, role := range pick[rbacv1.ClusterRole](t, objects, "ClusterRole") {
				roles["ClusterRole "+role.Name] = role.Rules
			}
			for _, role := range pick[rbacv1.Role](t, objects, "Role") {
				roles["Role "+role.Namespace+"/"+role.Name] = role.Rules
			}
			if len(roles) < 6 {
				t.Fatalf("only %d roles", len(roles))
			}
			for name, rules := range roles {
				for i, rule := range rules {
					for _, verb := range rule.Verbs {
						if slices.Contains(forbidden, verb) {
							t.Errorf("%s: rules[%d] has the verb %s", name, i, verb)
						}
					}
					if slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.NonResourceURLs, "*") {
						t.Errorf("%s: rules[%d] has a wildcard: %v", name, i, rule)
					}
				}
			}
			for _, binding := range pick[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding") {
				checkBinding(t, roles, "ClusterRole "+binding.RoleRef.Name, binding.RoleRef.Kind, binding.Subjects)
			}
			for _, binding := range pick[rbacv1.RoleBinding](t, objects, "RoleBinding") {
				checkBinding(t, roles, "Role "+binding.Namespace+"/"+binding.RoleRef.Name, binding.RoleRef.Kind, binding.Subjects)
			}
		})
	}
}

func checkBinding(t *testing.T, roles map[string][]rbacv1.PolicyRule, role, kind string, subjects []rbacv1.Subject) {
	t.Helper()
	if _, ok := roles[role]; !ok || !strings.HasPrefix(role, kind+" ") {
		t.Errorf("a binding names %s (%s), which is not there", role, kind)
	}
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: account}}
	if role == "ClusterRole bartizan-metrics-reader" {
		want = []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "monitoring", Name: "prometheus-k8s"}}
	}
	if diff := cmp.Diff(want, subjects); diff != "" {
		t.Errorf("the subjects of the binding to %s (-want +got):\n%s", role, diff)
	}
}

// TestIntegrationGrantableRulesAreHeld shows that the operator holds what it may grant, and nothing else for that purpose.
func TestIntegrationGrantableRulesAreHeld(t *testing.T) {
	objects := render(t, "default")
	var rules []rbacv1.PolicyRule
	for _, configMap := range pick[corev1.ConfigMap](t, objects, "ConfigMap") {
		if err := yaml.UnmarshalStrict([]byte(configMap.Data["grantable-rules.yaml"]), &rules); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range pick[rbacv1.ClusterRole](t, objects, "ClusterRole") {
		if role.Name != "bartizan-grantable-role" {
			continue
		}
		if diff := cmp.Diff(role.Rules, rules); diff != "" {
			t.Errorf("the ClusterRole and the file that the operator reads differ (-ClusterRole +file):\n%s", diff)
		}
		return
	}
	t.Error("there is no ClusterRole bartizan-grantable-role")
}

// apply applies an overlay to an API server that knows the other kinds already.
func apply(t *testing.T, config *rest.Config, objects []*unstructured.Unstructured) {
	t.Helper()
	c, err := client.New(config, client.Options{FieldOwner: "test", FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		controlplane.Eventually(t, time.Minute, func(ctx context.Context) error {
			err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()))
			if err != nil && strings.Contains(err.Error(), "not yet synced to use for admission") {
				return err // right after its policies and the definition of their parameter, the API server refuses what they are about
			}
			if err != nil {
				t.Errorf("apply %s %s: %v", object.GetKind(), client.ObjectKeyFromObject(object), err)
			}
			return nil
		})
	}
}

func TestIntegrationOverlaysApply(t *testing.T) {
	for _, test := range []struct {
		overlay string
		// may says in which namespaces the operator may write Secrets.
		may map[string]bool
	}{
		{"default", map[string]bool{"bartizan-system": true, "team-a": true, "team-b": true}},
		{"namespaced", map[string]bool{"bartizan-system": true, "team-a": true, "team-b": false}},
		{"ha", map[string]bool{"bartizan-system": true, "team-a": true, "team-b": true}},
		{"monitoring", map[string]bool{"bartizan-system": true, "team-a": true, "team-b": true}},
	} {
		t.Run(test.overlay, func(t *testing.T) {
			config := controlplane.Start(t, controlplane.Without(controlplane.Bartizan))
			clients := kubernetes.NewForConfigOrDie(config)
			for _, name := range []string{"team-a", "team-b"} {
				if _, err := clients.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			objects := render(t, test.overlay)
			if test.overlay == "monitoring" {
				controlplane.Install(t, config, controlplane.Monitoring)
			}
			apply(t, config, objects)
			apply(t, config, objects)

			for name, want := range test.may {
				if got := allowed(t, clients, name, "create", "", "secrets"); got != want {
					t.Errorf("the operator may create Secrets in %s: %t, want %t", name, got, want)
				}
			}
			for _, verb := range []string{"escalate", "bind"} {
				if allowed(t, clients, "team-a", verb, rbacv1.GroupName, "roles") {
					t.Errorf("the operator may %s roles", verb)
				}
			}
			for _, resource := range []string{"services", "endpointslices"} {
				group := map[string]string{"endpointslices": "discovery.k8s.io"}[resource]
				for _, name := range []string{"default", "kube-system"} {
					if !allowed(t, clients, name, "list", group, resource) {
						t.Errorf("the operator may not list %s in %s", resource, name)
					}
				}
			}
			if !allowed(t, clients, "", "list", "apiextensions.k8s.io", "customresourcedefinitions") {
				t.Error("the operator may not list CustomResourceDefinitions")
			}
			if !allowed(t, clients, "", "list", "", "namespaces") || !allowed(t, clients, "", "watch", "bartizan.dev", "mcpsecurityprofiles") {
				t.Error("the operator may not read namespaces and MCPSecurityProfiles")
			}
			if name := "team-a"; allowed(t, clients, name, "create", "", "namespaces") || allowed(t, clients, name, "update", "bartizan.dev", "mcpsecurityprofiles") {
				t.Error("the operator may write namespaces or MCPSecurityProfiles")
			}
			people(t, clients)
			admitted(t, clients, objects)
		})
	}
}

func TestIntegrationSamplesApply(t *testing.T) {
	config := controlplane.Start(t)
	clients := kubernetes.NewForConfigOrDie(config)
	for _, overlay := range []string{"samples", "samples/kubernetes-mcp-server", "samples/filesystem", "samples/mcp-grafana", "samples/everything",
		"samples/oauth", "samples/gitops/servers", "profiles"} {
		objects := render(t, overlay)
		for _, object := range objects {
			if object.GetNamespace() == "" && object.GetKind() != "Namespace" && object.GetKind() != "MCPSecurityProfile" {
				object.SetNamespace(metav1.NamespaceDefault)
			}
		}
		apply(t, config, objects)
	}
	if _, err := clients.CoreV1().Namespaces().Get(t.Context(), "tools", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// people shows what the roles for people give: who views sees profiles, whose forbidden tools "kubectl mcp access can-i" judges by, and nobody
// writes them.
func people(t *testing.T, clients kubernetes.Interface) {
	t.Helper()
	for _, role := range []string{"viewer", "editor"} {
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: role}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "bartizan-mcp-" + role + "-role"}}
		if _, err := clients.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"list", "create", "patch", "delete"} {
			if got, want := may(t, clients, role, "", verb, "bartizan.dev", "mcpsecurityprofiles"), role == "viewer" && verb == "list"; got != want {
				t.Errorf("%s may %s MCPSecurityProfiles: %t, want %t", role, verb, got, want)
			}
			if got, want := may(t, clients, role, "team-a", verb, "bartizan.dev", "mcpservers"), role == "editor" || verb == "list"; got != want {
				t.Errorf("%s may %s MCPServers: %t, want %t", role, verb, got, want)
			}
		}
	}
}

// allowed says what the operator may.
func allowed(t *testing.T, clients kubernetes.Interface, namespace, verb, group, resource string) bool {
	t.Helper()
	return may(t, clients, "system:serviceaccount:bartizan-system:"+account, namespace, verb, group, resource)
}

func may(t *testing.T, clients kubernetes.Interface, user, namespace, verb, group, resource string) bool {
	t.Helper()
	review, err := clients.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: group, Resource: resource,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// admitted shows that the operator's pods are admitted in its namespace, which enforces the restricted Pod Security Standard.
func admitted(t *testing.T, clients kubernetes.Interface, objects []*unstructured.Unstructured) {
	t.Helper()
	deployments := pick[appsv1.Deployment](t, objects, "Deployment")
	if len(deployments) != 1 {
		t.Fatalf("%d Deployments", len(deployments))
	}
	template := deployments[0].Spec.Template
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name = "admitted"
	if _, err := clients.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("the operator's pod is not admitted: %v", err)
	}
	pod.Spec.Containers[0].SecurityContext = nil
	if _, err := clients.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
		t.Error("the namespace does not enforce the restricted Pod Security Standard: a pod without a security context is admitted")
	}
}

// TestIntegrationClusterWideRightsAreNamed shows that the namespaced overlay leaves out no right that only a ClusterRole can give, but
// that to write the status of profiles: an operator that sees some namespaces only writes none.
func TestIntegrationClusterWideRightsAreNamed(t *testing.T) {
	clients := kubernetes.NewForConfigOrDie(controlplane.Start(t))
	_, lists, err := clients.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	clusterWide := map[string]bool{}
	for _, list := range lists {
		group, _, grouped := strings.Cut(list.GroupVersion, "/")
		if !grouped {
			group = ""
		}
		for _, resource := range list.APIResources {
			if !resource.Namespaced {
				clusterWide[group+"/"+resource.Name] = true
			}
		}
	}
	needed := clusterRules(t, "default", "bartizan-manager-role", func(resource string) bool {
		return clusterWide[resource] && resource != "bartizan.dev/mcpsecurityprofiles/status"
	})
	given := clusterRules(t, "namespaced", "bartizan-manager-cluster-role", func(string) bool { return true })
	if len(needed) == 0 {
		t.Error("the operator needs no cluster-wide right: this test sees nothing")
	}
	if diff := cmp.Diff(needed, given); diff != "" {
		t.Errorf("the cluster-wide rights in config/default and config/namespaced (-default +namespaced):\n%s", diff)
	}
}

func clusterRules(t *testing.T, overlay, name string, include func(resource string) bool) []string {
	t.Helper()
	var rights []string
	for _, role := range pick[rbacv1.ClusterRole](t, render(t, overlay), "ClusterRole") {
		if role.Name != name {
			continue
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					if !include(group + "/" + resource) {
						continue
					}
					for _, verb := range rule.Verbs {
						rights = append(rights, fmt.Sprintf("%s %s/%s", verb, group, resource))
					}
				}
			}
		}
	}
	slices.Sort(rights)
	return rights
}

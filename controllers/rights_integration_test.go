package controllers_test

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/test/controlplane"
)

// TestIntegrationRights: what a server's ServiceAccount may do is seen in every binding that is about it, the users' own and those of
// other namespaces too; what the operator may not read is unknown, and no proof.
func TestIntegrationRights(t *testing.T) {
	w := newWorld(t)
	w.everybody()
	user := w.bindRole("../config/rbac/manager/role.yaml")
	w.run(func(_ *Options, kubernetes *Config) {
		kubernetes.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	})
	reads := w.server("reads")
	reads.Spec.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}}
	w.create(reads)
	w.ready("reads")
	becomes := func(want, words string) {
		t.Helper()
		w.becomes("reads", "LEAST-4", want, words)
	}
	// What the operator itself binds, and what every cluster gives everybody, is within the floor.
	becomes("Pass", "")
	const secrets = "reads-secrets-of-rights"
	w.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: secrets}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get"}}, {APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}},
	}})
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: secrets}
	account := rbacv1.Subject{Kind: "ServiceAccount", Namespace: w.namespace, Name: "reads"}
	elsewhere := controlplane.Namespace(t, w.config, "elsewhere")
	for _, binding := range []client.Object{
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "of-all"}, Subjects: []rbacv1.Subject{account}, RoleRef: role},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "mine"}, Subjects: []rbacv1.Subject{account}, RoleRef: role},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "theirs"}, RoleRef: role,
			Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + w.namespace}}},
	} {
		w.create(binding)
		becomes("Fail", binding.GetName()+" gives ServiceAccount reads secrets")
		if err := w.Delete(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
		becomes("Pass", "")
	}
	// A profile may forbid more, whoever gives it.
	w.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "jobs"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "jobs"}, Subjects: []rbacv1.Subject{account}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "jobs"}})
	becomes("Pass", "")
	w.create(&v1alpha1.MCPSecurityProfile{ObjectMeta: metav1.ObjectMeta{Name: "writes"}, Spec: v1alpha1.MCPSecurityProfileSpec{
		NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
		KubernetesAccess:  &v1alpha1.ProfileKubernetesAccess{Forbidden: []v1alpha1.ForbiddenRights{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"create"}}}},
	}})
	becomes("Fail", "jobs gives ServiceAccount reads what MCPSecurityProfile writes forbids")
	if err := w.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "jobs"}}); err != nil {
		t.Fatal(err)
	}
	becomes("Pass", "")
	// The administrator takes the right away to look.
	update(w, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "manager-" + w.operator}}, func(r *rbacv1.ClusterRole) {
		for i := range r.Rules {
			if strings.Contains(strings.Join(r.Rules[i].Resources, " "), "clusterrolebindings") {
				r.Rules[i].Resources = []string{"clusterroles"}
			}
		}
	})
	becomes("Unknown", "")
}

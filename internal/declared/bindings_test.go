package declared_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bartizan-dev/bartizan/internal/declared"
)

// TestBindingsNames: a binding is about a ServiceAccount by its name, as a user, and by the groups that every ServiceAccount is in; and about
// no other of the same name.
func TestBindingsNames(t *testing.T) {
	for _, test := range []struct {
		name      string
		namespace string
		subject   rbacv1.Subject
		want      bool
	}{
		{"itself", "", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "tools", Name: "weather"}, true},
		{"itself, in its namespace", "tools", rbacv1.Subject{Kind: "ServiceAccount", Name: "weather"}, true},
		{"itself, in another namespace", "kube-system", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "tools", Name: "weather"}, true},
		{"itself, as a user", "", rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:tools:weather"}, true},
		{"all of its namespace", "", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:tools"}, true},
		{"all ServiceAccounts", "", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts"}, true},
		{"everybody", "", rbacv1.Subject{Kind: "Group", Name: "system:authenticated"}, true},
		{"who is nobody", "", rbacv1.Subject{Kind: "Group", Name: "system:unauthenticated"}, false},
		{"another", "tools", rbacv1.Subject{Kind: "ServiceAccount", Name: "other"}, false},
		{"of another namespace", "", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "other", Name: "weather"}, false},
		{"of the binding's namespace", "other", rbacv1.Subject{Kind: "ServiceAccount", Name: "weather"}, false},
		{"a user of the name", "", rbacv1.Subject{Kind: "User", Name: "weather"}, false},
		{"all of another namespace", "", rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:other"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := declared.Binding{Namespace: test.namespace, Subjects: []rbacv1.Subject{{Kind: "User", Name: "somebody"}, test.subject}}
			if got := b.Names("tools", "weather"); got != test.want {
				t.Errorf("it is about it: %v", got)
			}
		})
	}
}

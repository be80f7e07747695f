package declared

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// everybodys has the label of the bindings that each cluster begins with, such as that by which everybody may ask what they may do. What a
// profile forbids is not compared with them: nobody could be without them.
const (
	everybodys      = "kubernetes.io/bootstrapping"
	everybodysValue = "rbac-defaults"
)

// Binding is a RoleBinding or a ClusterRoleBinding, as far as it matters.
type Binding struct {
	Kind string
	// Namespace is empty for a ClusterRoleBinding.
	Namespace, Name string
	Subjects        []rbacv1.Subject
	Role            rbacv1.RoleRef
	// Everybodys: each cluster begins with it.
	Everybodys bool
}

// ClusterBinding is what a ClusterRoleBinding binds.
func ClusterBinding(b *rbacv1.ClusterRoleBinding) Binding {
	return Binding{Kind: "ClusterRoleBinding", Name: b.Name, Subjects: b.Subjects, Role: b.RoleRef, Everybodys: b.Labels[everybodys] == everybodysValue}
}

// NamespaceBinding is what a RoleBinding binds.
func NamespaceBinding(b *rbacv1.RoleBinding) Binding {
	return Binding{Kind: "RoleBinding", Namespace: b.Namespace, Name: b.Name, Subjects: b.Subjects, Role: b.RoleRef, Everybodys: b.Labels[everybodys] == everybodysValue}
}

// String names it.
func (b *Binding) String() string {
	if b.Namespace == "" {
		return b.Kind + " " + b.Name
	}
	return b.Kind + " " + b.Namespace + "/" + b.Name
}

// Names says whether it is about a ServiceAccount: by its name, or by a group that it is in.
func (b *Binding) Names(namespace, account string) bool {
	return slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			return s.Name == account && cmp.Or(s.Namespace, b.Namespace) == namespace
		case rbacv1.UserKind:
			return s.Name == "system:serviceaccount:"+namespace+":"+account
		case rbacv1.GroupKind:
			return slices.Contains([]string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + namespace}, s.Name)
		}
		return false
	})
}

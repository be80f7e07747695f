package manifests

import "testing"

var roleCases = []string{"minimal", "everything", "kubernetes-access", "own-serviceaccount"}

func TestRole(t *testing.T) {
	golden(t, "role", roleCases, func(c Children) any { return c.Role })
}

func TestRoleBinding(t *testing.T) {
	golden(t, "rolebinding", roleCases, func(c Children) any { return c.RoleBinding })
}

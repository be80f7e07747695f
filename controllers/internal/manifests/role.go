package manifests

import (
	rbac "k8s.io/api/rbac/v1"
	rbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
)

// role holds the rules of the spec, in the server's namespace.
func role(p Params) (*rbacv1.RoleApplyConfiguration, error) {
	if !hasRules(p) {
		return nil, nil
	}
	rules, err := convertAll[rbacv1.PolicyRuleApplyConfiguration](p.Server.Spec.KubernetesAccess.Rules)
	if err != nil {
		return nil, err
	}
	return rbacv1.Role(p.Server.Name, p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithRules(rules...), nil
}

// roleBinding binds the role to the ServiceAccount that the operator makes, never to one of a user.
func roleBinding(p Params) *rbacv1.RoleBindingApplyConfiguration {
	if !hasRules(p) {
		return nil
	}
	return rbacv1.RoleBinding(p.Server.Name, p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithRoleRef(rbacv1.RoleRef().
			WithAPIGroup(rbac.GroupName).
			WithKind("Role").
			WithName(p.Server.Name)).
		WithSubjects(rbacv1.Subject().
			WithKind(rbac.ServiceAccountKind).
			WithName(p.Server.Name).
			WithNamespace(p.Server.Namespace))
}

func hasRules(p Params) bool {
	access := p.Server.Spec.KubernetesAccess
	return access != nil && access.ServiceAccountName == "" && len(access.Rules) > 0
}

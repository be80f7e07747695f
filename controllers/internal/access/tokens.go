package access

import (
	"slices"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Tokens are the issuers whose tokens the server accepts.
func Tokens(s *v1alpha1.MCPServer) []v1alpha1.TokenIssuer {
	if s.Spec.Authentication == nil {
		return nil
	}
	return s.Spec.Authentication.Tokens
}

// issuerOf is the name of the issuer at the server whose tokens the subject shows; empty when the server has none.
func issuerOf(s v1alpha1.Subject, server *v1alpha1.MCPServer) string {
	for _, issuer := range Tokens(server) {
		switch {
		case s.Type == v1alpha1.SubjectServiceAccount && issuer.Type == v1alpha1.TokenIssuerKubernetes,
			s.Type == v1alpha1.SubjectClaims && s.Claims != nil && issuer.Name == s.Claims.Issuer:
			return issuer.Name
		}
	}
	return ""
}

// tokenSubject is a subject that shows a token of an issuer; false for any other subject, and without an issuer.
func tokenSubject(s v1alpha1.Subject, issuer string) (policy.TokenSubject, bool) {
	switch {
	case issuer == "":
	case s.Type == v1alpha1.SubjectServiceAccount && s.ServiceAccount != nil:
		name := "system:serviceaccount:" + s.ServiceAccount.Namespace + ":" + s.ServiceAccount.Name
		return policy.TokenSubject{Issuer: issuer, Claims: []policy.Claim{{Path: []string{"sub"}, Values: []string{name}}}}, true
	case s.Type == v1alpha1.SubjectClaims && s.Claims != nil:
		return policy.TokenSubject{Issuer: issuer, Claims: Conditions(s.Claims.Match)}, true
	}
	return policy.TokenSubject{}, false
}

// Conditions are conditions on claims as a gate reads them.
func Conditions(all []v1alpha1.ClaimCondition) []policy.Claim {
	var conditions []policy.Claim
	for _, c := range all {
		conditions = append(conditions, policy.Claim{Path: slices.Clone(c.Path), Values: sortedSet(c.Values)})
	}
	return conditions
}

// Strangers names the token issuers that the policy asks for and none of the servers has, each once, in the order of the
// policy: "Kubernetes" for ServiceAccounts.
func Strangers(p *v1alpha1.MCPAccessPolicy, servers []v1alpha1.MCPServer) []string {
	var missing []string
	for i := range p.Spec.Rules {
		for _, s := range p.Spec.Rules[i].Subjects {
			name := ""
			switch {
			case s.Type == v1alpha1.SubjectServiceAccount:
				name = "Kubernetes"
			case s.Type == v1alpha1.SubjectClaims && s.Claims != nil:
				name = s.Claims.Issuer
			default:
				continue
			}
			known := slices.ContainsFunc(servers, func(server v1alpha1.MCPServer) bool { return issuerOf(s, &server) != "" })
			if !known && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

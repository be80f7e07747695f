// Package profiletest has the cases by which both judges of a security profile are tested: package profile, and the
// ValidatingAdmissionPolicies of config/admission on a real API server.
package profiletest

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// Case is a floor and a server.
type Case struct {
	Name string
	// Floor and Server change a profile that asks for nothing and a server that is above every floor.
	Floor  func(*v1alpha1.MCPSecurityProfileSpec)
	Server func(*v1alpha1.MCPServerSpec)
	// Field is what is below; "": nothing.
	Field string
	// Unstorable says that the API server refuses the server for other reasons.
	Unstorable bool
}

// Image is an image that is above the floor of registry.example.
var Image = "registry.example/mcp/weather@sha256:" + strings.Repeat("0", 64)

func issuers(all ...v1alpha1.AllowedTokenIssuer) func(*v1alpha1.MCPSecurityProfileSpec) {
	return func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Authentication = &v1alpha1.ProfileAuthentication{TokenIssuers: all}
	}
}

func oidc(issuer, keys string) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{{Name: "corp", Type: v1alpha1.TokenIssuerOIDC, OIDC: &v1alpha1.OIDCTokens{Issuer: issuer, JWKSURI: keys}}}}
	}
}

func may(rule rbacv1.PolicyRule) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.KubernetesAccess = &v1alpha1.KubernetesAccess{Rules: []rbacv1.PolicyRule{rule}}
	}
}

func egress(cidr string) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.Network = &v1alpha1.Network{Egress: []v1alpha1.NetworkEgress{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}}}}}
	}
}

func issuedBy(group, kind, name string) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerRef{Group: group, Kind: kind, Name: name}}
	}
}

func mode(m v1alpha1.ClientCertificateMode) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.Authentication = &v1alpha1.Authentication{ClientCertificates: v1alpha1.ClientCertificates{Mode: m}}
	}
}

func stored(kind v1alpha1.SecretStoreKind, name string) func(*v1alpha1.MCPServerSpec) {
	return func(s *v1alpha1.MCPServerSpec) {
		s.Secrets = []v1alpha1.SecretGroup{{Name: "a", StoreRef: v1alpha1.SecretStoreRef{Kind: kind, Name: name}}}
	}
}

// Servers are the cases about servers.
func Servers() []Case {
	const storable, unstorable = false, true
	nothing := func(*v1alpha1.MCPSecurityProfileSpec) {}
	plain := func(*v1alpha1.MCPServerSpec) {}
	certificates := func(m v1alpha1.ClientCertificateMode) func(*v1alpha1.MCPSecurityProfileSpec) {
		return func(s *v1alpha1.MCPSecurityProfileSpec) {
			s.Authentication = &v1alpha1.ProfileAuthentication{ClientCertificates: m}
		}
	}
	registries := func(all ...string) func(*v1alpha1.MCPSecurityProfileSpec) {
		return func(s *v1alpha1.MCPSecurityProfileSpec) { s.Images = &v1alpha1.ProfileImages{Registries: all} }
	}
	image := func(name string) func(*v1alpha1.MCPServerSpec) {
		return func(s *v1alpha1.MCPServerSpec) { s.Image = name + "@sha256:" + strings.Repeat("0", 64) }
	}
	pinned := func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Tools = &v1alpha1.ProfileTools{Pinning: v1alpha1.PinningAudit}
	}
	pinning := func(m v1alpha1.PinningMode) func(*v1alpha1.MCPServerSpec) {
		return func(s *v1alpha1.MCPServerSpec) { s.Tools = &v1alpha1.Tools{Pinning: m} }
	}
	rights := func(f v1alpha1.ForbiddenRights) func(*v1alpha1.MCPSecurityProfileSpec) {
		return func(s *v1alpha1.MCPSecurityProfileSpec) {
			s.KubernetesAccess = &v1alpha1.ProfileKubernetesAccess{Forbidden: []v1alpha1.ForbiddenRights{f}, OwnServiceAccounts: v1alpha1.PermissionDenied}
		}
	}
	exec := rights(v1alpha1.ForbiddenRights{APIGroups: []string{""}, Resources: []string{"pods/exec", "secrets"}, Verbs: []string{"create", "get"}})
	offline := func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.Network = &v1alpha1.ProfileNetwork{Internet: v1alpha1.InternetDenied}
	}
	listed := func(s *v1alpha1.MCPSecurityProfileSpec) {
		s.ClusterScoped = &v1alpha1.ProfileClusterScoped{Stores: []string{"vault"}, Issuers: []v1alpha1.ClusterIssuerRef{{Name: "corp"}, {Group: "step.sm", Kind: "StepClusterIssuer", Name: "step"}}}
	}
	rule := func(group, resource, verb string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}}
	}
	return []Case{
		{"nothing asked", nothing, plain, "", storable},
		{"a tag", nothing, func(s *v1alpha1.MCPServerSpec) { s.Image = "registry.example/a:1" }, "spec.image", storable},
		{"half a digest", nothing, func(s *v1alpha1.MCPServerSpec) { s.Image = "a@sha256:00" }, "spec.image", storable},
		{"registry", registries("other.example", "registry.example"), plain, "", storable},
		{"folder of a registry", registries("registry.example/mcp"), plain, "", storable},
		{"other folder", registries("registry.example/tools"), plain, "spec.image", storable},
		{"folder whose name goes on", registries("registry.example/mc"), plain, "spec.image", storable},
		{"registry whose name goes on", registries("registry.example"), image("registry.example.evil.test/a"), "spec.image", storable},
		{"port of a registry", registries("registry.example"), image("registry.example:5000/a"), "spec.image", storable},
		{"an age of images, which no spec tells", func(s *v1alpha1.MCPSecurityProfileSpec) { s.Images = &v1alpha1.ProfileImages{MaximumAge: "24h"} }, plain, "", storable},
		{"no registry written", registries("docker.io"), image("library/a"), "spec.image", storable},
		{"certificates by default", certificates("Required"), plain, "", storable},
		{"certificates required", certificates("Required"), mode("Required"), "", storable},
		{"certificates optional", certificates("Required"), mode("Optional"), "spec.authentication.clientCertificates.mode", storable},
		{"certificates optional, as is enough", certificates("Optional"), mode("Optional"), "", storable},
		{"certificates ignored", certificates("Optional"), mode("Disabled"), "spec.authentication.clientCertificates.mode", storable},
		{"certificates in a mode that nobody knows", certificates("Optional"), mode("Perhaps"), "spec.authentication.clientCertificates.mode", unstorable},
		{"issuer", issuers(v1alpha1.AllowedTokenIssuer{Issuer: "https://a.example"}), oidc("https://a.example", ""), "", storable},
		{"other issuer", issuers(v1alpha1.AllowedTokenIssuer{Issuer: "https://a.example"}), oidc("https://a.example.evil.test", ""), "spec.authentication.tokens", storable},
		{"issuer with somebody else's keys", issuers(v1alpha1.AllowedTokenIssuer{Issuer: "https://a.example"}), oidc("https://a.example", "https://evil.test/keys"), "spec.authentication.tokens", storable},
		{"issuer with its keys", issuers(v1alpha1.AllowedTokenIssuer{Issuer: "https://a.example", JWKSURI: "https://a.example/k"}), oidc("https://a.example", "https://a.example/k"), "", storable},
		{"issuer without its keys", issuers(v1alpha1.AllowedTokenIssuer{Issuer: "https://a.example", JWKSURI: "https://a.example/k"}), oidc("https://a.example", ""), "spec.authentication.tokens", storable},
		{"any issuer", nothing, oidc("https://a.example", ""), "", storable},
		{"tokens of ServiceAccounts", func(s *v1alpha1.MCPSecurityProfileSpec) {
			s.Authentication = &v1alpha1.ProfileAuthentication{ServiceAccountTokens: v1alpha1.PermissionDenied}
		}, func(s *v1alpha1.MCPServerSpec) {
			s.Authentication = &v1alpha1.Authentication{Tokens: []v1alpha1.TokenIssuer{{Name: "cluster", Type: v1alpha1.TokenIssuerKubernetes}}}
		}, "spec.authentication.tokens", storable},
		{"no pins", pinned, plain, "spec.tools.pinning", storable},
		{"pins off", pinned, pinning("Off"), "spec.tools.pinning", storable},
		{"pins audited", pinned, pinning("Audit"), "", storable},
		{"pins enforced", pinned, pinning("Enforce"), "", storable},
		{"pins in a mode that nobody knows", pinned, pinning("Perhaps"), "spec.tools.pinning", unstorable},
		{"other rights", exec, may(rule("", "pods", "get")), "", storable},
		{"other group", exec, may(rule("apps", "secrets", "get")), "", storable},
		{"other verb", exec, may(rule("", "secrets", "list")), "", storable},
		{"forbidden right", exec, may(rule("", "secrets", "get")), "spec.kubernetesAccess.rules", storable},
		{"forbidden verb among others", exec, may(rbacv1.PolicyRule{APIGroups: []string{"apps", ""}, Resources: []string{"pods", "pods/exec"}, Verbs: []string{"list", "create"}}), "spec.kubernetesAccess.rules", storable},
		{"every resource", exec, may(rule("", "*", "get")), "spec.kubernetesAccess.rules", storable},
		{"every verb and group", exec, may(rule("*", "secrets", "*")), "spec.kubernetesAccess.rules", storable},
		{"a subresource of everything", exec, may(rule("", "*/exec", "create")), "spec.kubernetesAccess.rules", storable},
		{"another subresource of everything", exec, may(rule("", "*/scale", "create")), "", storable},
		{"everything is forbidden", rights(v1alpha1.ForbiddenRights{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"escalate"}}), may(rule("a", "b", "escalate")), "spec.kubernetesAccess.rules", storable},
		{"an account of one's own", exec, func(s *v1alpha1.MCPServerSpec) {
			s.KubernetesAccess = &v1alpha1.KubernetesAccess{ServiceAccountName: "mine"}
		}, "spec.kubernetesAccess.serviceAccountName", storable},
		{"the internet", offline, func(s *v1alpha1.MCPServerSpec) { s.Network = &v1alpha1.Network{Internet: v1alpha1.InternetAllowed} }, "spec.network", storable},
		{"half of the internet", offline, egress("128.0.0.0/1"), "spec.network", storable},
		{"no range", offline, egress("everywhere"), "spec.network", storable},
		{"a large network", offline, egress("10.0.0.0/8"), "", storable},
		{"a store of the namespace", nothing, stored("SecretStore", "vault"), "", storable},
		{"a store of the cluster", nothing, stored("ClusterSecretStore", "vault"), "spec.secrets", storable},
		{"a store of the cluster that is listed", listed, stored("ClusterSecretStore", "vault"), "", storable},
		{"a store of the cluster that is not listed", listed, stored("ClusterSecretStore", "other"), "spec.secrets", storable},
		{"an issuer of the namespace", nothing, issuedBy("", "Issuer", "corp"), "", storable},
		{"an issuer of the cluster", nothing, issuedBy("", "ClusterIssuer", "corp"), "spec.tls.issuerRef", storable},
		{"an issuer of the cluster that is listed", listed, issuedBy("cert-manager.io", "ClusterIssuer", "corp"), "", storable},
		{"another's issuer of the cluster that is listed", listed, issuedBy("step.sm", "StepClusterIssuer", "step"), "", storable},
		{"an issuer of another kind with a listed name", listed, issuedBy("evil.test", "ClusterIssuer", "corp"), "spec.tls.issuerRef", storable},
	}
}

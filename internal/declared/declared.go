// Package declared is what manifests say about the posture of a server, before anything of it runs.
package declared

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/literal"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// Interval is how often a server is verified whose spec does not say.
const Interval = time.Hour

// Snapshot is what the spec of a server declares. What only a cluster or an attack can show is not known in it.
func Snapshot(server *v1alpha1.MCPServer, now time.Time) *posture.Snapshot {
	s := &posture.Snapshot{
		Server: server.Namespace + "/" + server.Name, Now: now, Exemptions: exemptions(server),
		Classification: posture.Say(classification(server), "MCPServer spec.classification"),
		APIKeys:        posture.Say(server.Spec.Authentication == nil || server.Spec.Authentication.APIKeys.Mode != v1alpha1.APIKeysDisabled, "MCPServer spec.authentication.apiKeys"),
		Bearer:         posture.Say(server.Spec.Authentication != nil && len(server.Spec.Authentication.Tokens) > 0, "MCPServer spec.authentication.tokens"),
		Tokens:         posture.Say(issuers(server), "MCPServer spec.authentication.tokens"),
		Literals:       posture.Say(literals(server), "MCPServer spec"),
		Image:          posture.Say(posture.Image{Spec: server.Spec.Image}, "MCPServer spec.image"),
		Egress:         posture.Say(egress(server), "MCPServer spec.network"),
		Rights:         rights(server),
	}
	missing(s)
	return s
}

// issuers says whether callers can be told where to get a token: a cluster's own issuer gives none to who asks.
func issuers(server *v1alpha1.MCPServer) bool {
	return server.Spec.Authentication != nil && slices.ContainsFunc(server.Spec.Authentication.Tokens, func(t v1alpha1.TokenIssuer) bool {
		return t.Type == v1alpha1.TokenIssuerOIDC
	})
}

// VerificationInterval is how often the server is to be attacked.
func VerificationInterval(server *v1alpha1.MCPServer) time.Duration {
	if v := server.Spec.Verification; v != nil {
		if d, err := time.ParseDuration(v.Interval); err == nil && d >= 10*time.Second {
			return d
		}
	}
	return Interval
}

// missing says for every fact what would show it.
func missing(s *posture.Snapshot) {
	const cluster = "only the cluster shows it"
	for _, fact := range []*posture.Fact[[]string]{
		&s.StaleKeys, &s.PodSecurity, &s.Containers, &s.NetworkOpenings, &s.Listeners, &s.Detours,
	} {
		fact.Missing = cluster
	}
	s.Clients.Missing, s.Certificate.Missing, s.Authority.Missing, s.Gate.Missing, s.Token.Missing, s.Grants.Missing = cluster, cluster, cluster, cluster, cluster, cluster
	s.Run.Missing = "the server has not been attacked yet"
	s.Offers.Missing = "the gates have not listed the server yet"
	s.Tools.Missing = s.Offers.Missing
	s.Unmanaged.Missing = "nobody looks for MCP servers without a gate: discovery.enabled of the chart"
	s.LoginAlerts.Missing = "no alert rule is observed"
	s.Unpinned.Missing = "the gates have not listed the server yet"
	s.Unconstrained.Missing = "the gates have not listed the server yet"
	s.AtRest.Missing = "no API shows it, and nobody attests it"
	s.Volumes.Missing = "no API shows it, and nobody attests it"
	s.Audit.Missing = "only the gates tell the heads of their audit logs"
	s.Alerts.Missing = "alert rules are not observed"
	s.Scraped.Missing = "who reads the metrics is not observed"
	s.OldImage.Missing = "no report tells how old the image is"
	s.Vulnerabilities.Missing = "no VulnerabilityReport is read"
	s.Unsigned.Missing = "only the cluster shows who verified the signature"
	s.ServerRequests.Missing = "the gates do not report what the server asks its clients for"
}

func exemptions(server *v1alpha1.MCPServer) []posture.Exemption {
	var all []posture.Exemption
	if server.Spec.Verification == nil {
		return nil
	}
	for _, e := range server.Spec.Verification.Exemptions {
		all = append(all, posture.Exemption{Control: e.Control, Owner: e.Owner, Reason: e.Reason, Expires: e.NotAfter.Time})
	}
	return all
}

func classification(server *v1alpha1.MCPServer) posture.Classification {
	c := server.Spec.Classification
	if c == nil {
		return posture.Classification{}
	}
	return posture.Classification{Level: string(c.Level), Owner: c.Owner, Categories: c.Categories}
}

// literals are the places in the spec that hold what looks like a secret.
func literals(server *v1alpha1.MCPServer) []string {
	var found []string
	for i := range server.Spec.Env {
		e := &server.Spec.Env[i]
		if e.Value == nil {
			continue
		}
		if kind := literal.Find(e.Name, *e.Value); kind != "" {
			found = append(found, fmt.Sprintf("spec.env[%s] holds %s", e.Name, kind))
		}
	}
	found = append(found, Arguments("spec.command", server.Spec.Command)...)
	found = append(found, Arguments("spec.args", server.Spec.Args)...)
	if server.Spec.Pod != nil {
		for name, value := range server.Spec.Pod.Annotations {
			if kind := literal.Find(name, value); kind != "" {
				found = append(found, fmt.Sprintf("spec.pod.annotations[%s] holds %s", name, kind))
			}
		}
	}
	slices.Sort(found)
	return found
}

// Arguments are the places in a command line that hold what looks like a secret.
func Arguments(field string, all []string) []string {
	var found []string
	for i, a := range all {
		kind := literal.Argument(a)
		if kind == "" && i > 0 && strings.HasPrefix(all[i-1], "-") && !strings.Contains(all[i-1], "=") && !strings.HasPrefix(a, "-") {
			kind = literal.Find(strings.TrimLeft(all[i-1], "-"), a) // --name value
		}
		if kind != "" {
			found = append(found, fmt.Sprintf("%s[%d] holds %s", field, i, kind))
		}
	}
	return found
}

// egress are the rules that let the server out to everywhere.
func egress(server *v1alpha1.MCPServer) []string {
	network := server.Spec.Network
	if network == nil {
		return nil
	}
	var found []string
	if network.Internet == v1alpha1.InternetAllowed {
		found = append(found, "spec.network.internet is Allowed")
	}
	for i, rule := range network.Egress {
		if len(rule.To) == 0 || slices.ContainsFunc(rule.To, Everywhere) {
			found = append(found, fmt.Sprintf("spec.network.egress[%d] leads everywhere", i))
		}
	}
	return found
}

// Everywhere says whether a peer is all addresses, or all pods.
func Everywhere(peer networkingv1.NetworkPolicyPeer) bool {
	if peer.IPBlock != nil {
		prefix, err := netip.ParsePrefix(peer.IPBlock.CIDR)
		// Two halves of the internet are no list either.
		return err != nil || prefix.Bits() < 8
	}
	return peer.NamespaceSelector != nil && all(peer.NamespaceSelector, corev1.LabelMetadataName) && (peer.PodSelector == nil || all(peer.PodSelector, ""))
}

// all says whether a selector names nothing: it is empty, leaves only some out, or asks for a label that each has.
func all(selector *metav1.LabelSelector, each string) bool {
	return len(selector.MatchLabels) == 0 && !slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpExists && (each == "" || r.Key != each)
	})
}

// Account is the ServiceAccount that the server's pods run as.
func Account(server *v1alpha1.MCPServer) string {
	if access := server.Spec.KubernetesAccess; access != nil && access.ServiceAccountName != "" {
		return access.ServiceAccountName
	}
	return server.Name
}

// rights judges what the spec asks for. What others bind to the ServiceAccount only the cluster shows, so rights that are within the
// floor are no proof.
func rights(server *v1alpha1.MCPServer) posture.Fact[[]string] {
	access := server.Spec.KubernetesAccess
	const field = "MCPServer spec.kubernetesAccess"
	if access == nil {
		return posture.Say[[]string](nil, field)
	}
	var found []string
	for i, rule := range access.Rules {
		if what := Beyond(rule); what != "" {
			found = append(found, fmt.Sprintf("spec.kubernetesAccess.rules[%d] allows %s", i, what))
		}
	}
	if len(found) == 0 {
		return posture.Unknown[[]string]("what is bound to ServiceAccount " + Account(server) + " is not known: kubectl auth can-i --list --as=system:serviceaccount:" +
			server.Namespace + ":" + Account(server) + " shows it")
	}
	return posture.Say(found, field)
}

// Beyond says what a rule allows that no server should have; "": nothing.
func Beyond(rule rbacv1.PolicyRule) string {
	has := func(all []string, some ...string) string {
		for _, s := range some {
			if slices.Contains(all, s) {
				return s
			}
		}
		return ""
	}
	// In RBAC "*/exec" is that subresource of everything. Paths that end with one are what everybody may read.
	wildcard := func(s string) bool { return s == "*" || strings.HasPrefix(s, "*/") }
	if slices.ContainsFunc(slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups, rule.NonResourceURLs), wildcard) {
		return "a wildcard"
	}
	if verb := has(rule.Verbs, "escalate", "bind", "impersonate"); verb != "" {
		return verb
	}
	if resource := has(rule.Resources, "secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "serviceaccounts/token", "nodes/proxy"); resource != "" {
		return resource
	}
	if has(rule.Resources, "roles", "rolebindings", "clusterroles", "clusterrolebindings", "validatingwebhookconfigurations", "mutatingwebhookconfigurations") != "" &&
		has(rule.Verbs, "create", "update", "patch", "delete", "deletecollection") != "" {
		return "writing " + strings.Join(rule.Resources, ", ")
	}
	return ""
}

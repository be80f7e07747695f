package profile

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// defaultKeyAge is that of a client that says nothing.
const defaultKeyAge = 2160 * time.Hour

// judge judges one object by one profile. Its order and its words are those of config/admission, which a test compares.
type judge struct {
	profile *v1alpha1.MCPSecurityProfile
	object  string
	found   []Violation
}

// below notes a field. The message continues after the name of the profile.
func (j *judge) below(field, format string, args ...any) {
	j.found = append(j.found, Violation{
		Profile: j.profile.Name, Field: field,
		Message: fmt.Sprintf("%s: %s: MCPSecurityProfile %s %s", j.object, field, j.profile.Name, fmt.Sprintf(format, args...)),
	})
}

func (j *judge) server(s *v1alpha1.MCPServer) {
	j.image(s)
	j.certificates(s)
	j.tokens(s)
	j.tools(s)
	j.kubernetesAccess(s)
	j.network(s)
	j.issuer(s)
	var stores []string
	for _, group := range s.Spec.Secrets {
		if group.StoreRef.Kind == v1alpha1.SecretStoreCluster && !listsStore(j.profile, group.StoreRef.Name) {
			stores = append(stores, group.StoreRef.Name)
		}
	}
	j.stores("spec.secrets", stores)
}

func (j *judge) client(c *v1alpha1.MCPClient) {
	age := defaultKeyAge
	if c.Spec.Rotation != nil {
		if written, err := time.ParseDuration(c.Spec.Rotation.MaximumAge); err == nil {
			age = written
		}
	}
	if limit, ok := maximumKeyAge(j.profile); ok && age > limit {
		j.below("spec.rotation.maximumAge", "allows keys of %s at most, by its spec.authentication.maximumKeyAge; shorten it to that", j.profile.Spec.Authentication.MaximumKeyAge)
	}
	var stores []string
	for _, store := range c.Spec.APIKey.Stores {
		if store.StoreRef.Kind == v1alpha1.SecretStoreCluster && !listsStore(j.profile, store.StoreRef.Name) {
			stores = append(stores, store.StoreRef.Name)
		}
	}
	j.stores("spec.apiKey.stores", stores)
}

var digest = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)

func (j *judge) image(s *v1alpha1.MCPServer) {
	if !digest.MatchString(s.Spec.Image) {
		j.below("spec.image", "asks for an image by digest; write registry/name@sha256: and the 64 digits of the digest")
	}
	if j.profile.Spec.Images == nil || len(j.profile.Spec.Images.Registries) == 0 {
		return
	}
	registries := j.profile.Spec.Images.Registries
	if !slices.ContainsFunc(registries, func(r string) bool { return strings.HasPrefix(s.Spec.Image, r+"/") }) {
		j.below("spec.image", "allows images of %s only, by its spec.images.registries; use one of those", strings.Join(registries, ", "))
	}
}

// strictness orders the modes of client certificates; none is the default.
func strictness(mode v1alpha1.ClientCertificateMode) int {
	return slices.Index([]v1alpha1.ClientCertificateMode{
		v1alpha1.ClientCertificatesDisabled, v1alpha1.ClientCertificatesOptional, v1alpha1.ClientCertificatesRequired,
	}, cmp.Or(mode, v1alpha1.ClientCertificatesRequired))
}

func (j *judge) certificates(s *v1alpha1.MCPServer) {
	floor := j.profile.Spec.Authentication
	if floor == nil || floor.ClientCertificates == "" {
		return
	}
	mode := v1alpha1.ClientCertificatesRequired
	if s.Spec.Authentication != nil {
		mode = s.Spec.Authentication.ClientCertificates.Mode
	}
	if strictness(mode) < strictness(floor.ClientCertificates) {
		j.below("spec.authentication.clientCertificates.mode", "asks for %[1]s at least, by its spec.authentication.clientCertificates; set it to %[1]s", floor.ClientCertificates)
	}
}

func (j *judge) tokens(s *v1alpha1.MCPServer) {
	floor := j.profile.Spec.Authentication
	if floor == nil || s.Spec.Authentication == nil {
		return
	}
	var strangers, accounts []string
	for _, t := range s.Spec.Authentication.Tokens {
		switch {
		case t.OIDC != nil && len(floor.TokenIssuers) > 0 && !slices.Contains(floor.TokenIssuers, v1alpha1.AllowedTokenIssuer{Issuer: t.OIDC.Issuer, JWKSURI: t.OIDC.JWKSURI}):
			strangers = append(strangers, t.Name)
		case t.Type == v1alpha1.TokenIssuerKubernetes && floor.ServiceAccountTokens == v1alpha1.PermissionDenied:
			accounts = append(accounts, t.Name)
		}
	}
	if len(strangers) > 0 {
		j.below("spec.authentication.tokens", "allows only the issuers that its spec.authentication.tokenIssuers lists, each with the jwksURI there; remove %s", strings.Join(strangers, ", "))
	}
	if len(accounts) > 0 {
		j.below("spec.authentication.tokens", "denies tokens of ServiceAccounts, by its spec.authentication.serviceAccountTokens; remove %s", strings.Join(accounts, ", "))
	}
}

func (j *judge) tools(s *v1alpha1.MCPServer) {
	if j.profile.Spec.Tools == nil || j.profile.Spec.Tools.Pinning == "" {
		return
	}
	mode := v1alpha1.PinningOff
	if s.Spec.Tools != nil {
		mode = cmp.Or(s.Spec.Tools.Pinning, mode)
	}
	order := []v1alpha1.PinningMode{v1alpha1.PinningOff, v1alpha1.PinningAudit, v1alpha1.PinningEnforce}
	if floor := j.profile.Spec.Tools.Pinning; slices.Index(order, mode) < slices.Index(order, floor) {
		j.below("spec.tools.pinning", "asks for %[1]s at least, by its spec.tools.pinning; set it to %[1]s", floor)
	}
}

func (j *judge) kubernetesAccess(s *v1alpha1.MCPServer) {
	floor, access := j.profile.Spec.KubernetesAccess, s.Spec.KubernetesAccess
	if floor == nil || access == nil {
		return
	}
	if floor.OwnServiceAccounts == v1alpha1.PermissionDenied && access.ServiceAccountName != "" {
		j.below("spec.kubernetesAccess.serviceAccountName", "denies ServiceAccounts of one's own, by its spec.kubernetesAccess.ownServiceAccounts; write spec.kubernetesAccess.rules in its place")
	}
	var beyond []string
	for _, rule := range access.Rules {
		if slices.ContainsFunc(floor.Forbidden, func(f v1alpha1.ForbiddenRights) bool { return overlap(f, rule) }) {
			beyond = append(beyond, strings.Join(rule.Verbs, ",")+" "+strings.Join(rule.Resources, ","))
		}
	}
	if len(beyond) > 0 {
		j.below("spec.kubernetesAccess.rules", "forbids some of these rights, by its spec.kubernetesAccess.forbidden; remove %s", strings.Join(beyond, "; "))
	}
}

// Beyond says whether a rule has any part of what a profile forbids, and which profile.
func (f Floor) Beyond(rule rbacv1.PolicyRule) (profile string, beyond bool) {
	for _, p := range f.profiles {
		if p.Spec.KubernetesAccess != nil && slices.ContainsFunc(p.Spec.KubernetesAccess.Forbidden, func(f v1alpha1.ForbiddenRights) bool { return overlap(f, rule) }) {
			return p.Name, true
		}
	}
	return "", false
}

// overlap says whether a rule has any part of what is forbidden.
func overlap(f v1alpha1.ForbiddenRights, rule rbacv1.PolicyRule) bool {
	return meet(f.Verbs, rule.Verbs) && meet(f.APIGroups, rule.APIGroups) && meet(f.Resources, rule.Resources)
}

// meet says whether the lists have anything in common. In RBAC "*" is everything, and "*/scale" a subresource of everything.
func meet(forbidden, asked []string) bool {
	return slices.ContainsFunc(asked, func(a string) bool {
		return slices.ContainsFunc(forbidden, func(f string) bool {
			return a == f || a == "*" || f == "*" || (strings.HasPrefix(a, "*/") && strings.HasSuffix(f, a[1:]))
		})
	})
}

// smallest is the shortest prefix of a range that is not everywhere.
const smallest = 8

func (j *judge) network(s *v1alpha1.MCPServer) {
	if j.profile.Spec.Network == nil || j.profile.Spec.Network.Internet != v1alpha1.InternetDenied || s.Spec.Network == nil {
		return
	}
	wide := s.Spec.Network.Internet == v1alpha1.InternetAllowed
	for _, rule := range s.Spec.Network.Egress {
		for _, peer := range rule.To {
			if peer.IPBlock != nil {
				prefix, err := netip.ParsePrefix(peer.IPBlock.CIDR)
				wide = wide || err != nil || prefix.Bits() < smallest
			}
		}
	}
	if wide {
		j.below("spec.network", "denies the internet, by its spec.network.internet; list what the server reaches in spec.network.egress, in ranges of /8 or smaller")
	}
}

func (j *judge) issuer(s *v1alpha1.MCPServer) {
	if s.Spec.TLS == nil || s.Spec.TLS.IssuerRef == nil {
		return
	}
	ref := s.Spec.TLS.IssuerRef
	if !strings.Contains(strings.ToLower(ref.Kind), "cluster") {
		return
	}
	wanted := v1alpha1.ClusterIssuerRef{Group: cmp.Or(ref.Group, "cert-manager.io"), Kind: ref.Kind, Name: ref.Name}
	if c := j.profile.Spec.ClusterScoped; c == nil || !slices.ContainsFunc(c.Issuers, func(listed v1alpha1.ClusterIssuerRef) bool {
		listed.Group, listed.Kind = cmp.Or(listed.Group, "cert-manager.io"), cmp.Or(listed.Kind, "ClusterIssuer")
		return listed == wanted
	}) {
		j.below("spec.tls.issuerRef", "allows no cluster-scoped issuer that its spec.clusterScoped.issuers does not list; use an Issuer of the namespace in place of %s, or leave issuerRef out", ref.Name)
	}
}

func listsStore(p *v1alpha1.MCPSecurityProfile, name string) bool {
	return p.Spec.ClusterScoped != nil && slices.Contains(p.Spec.ClusterScoped.Stores, name)
}

func (j *judge) stores(field string, beyond []string) {
	if len(beyond) > 0 {
		j.below(field, "allows no ClusterSecretStore that its spec.clusterScoped.stores does not list; use a SecretStore of the namespace in place of %s", strings.Join(beyond, ", "))
	}
}

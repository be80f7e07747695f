package manifests

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Options are what the organisation allows.
type Options struct {
	// GrantableRules are the rights that a server may be given in its namespace.
	GrantableRules []rbac.PolicyRule
	// Issuers are further kinds of namespaced issuers that may issue serving certificates, beside cert-manager's Issuer.
	Issuers []schema.GroupKind
	// Profiled says that security profiles judge which cluster-scoped stores and issuers may be named. Otherwise none may.
	Profiled bool
}

// Validate finds what is wrong with a spec that the API server has let pass, as far as the spec alone shows it. It does not
// rely on what the API server checks: an older version of the CRD may have let more pass.
func Validate(server *v1alpha1.MCPServer, options Options) Problems {
	f := &finder{server: server}
	f.names()
	f.image()
	f.transport()
	f.endpoint()
	f.tokens()
	f.tls(options)
	f.secrets(options)
	f.env()
	f.network()
	f.kubernetesAccess(options)
	f.limits()
	f.resources()
	f.pod()
	return f.problems
}

func (f *finder) names() {
	name := f.server.Name
	switch {
	case len(name) > maxName:
		f.add(ReasonNameTooLong, "metadata.name", "it has %d characters, and the Service and the certificate that bear it may have %d; create the server under a shorter name", len(name), maxName)
	case len(validation.IsDNS1035Label(name)) > 0:
		f.add(ReasonNameInvalid, "metadata.name", "a Service cannot have this name; use lower-case letters, digits and '-', beginning with a letter")
	case name == operatorPrefix || strings.HasPrefix(name, operatorPrefix+"-"):
		f.add(ReasonNameReserved, "metadata.name", "names that begin with %q are those of the operator's own objects, such as the Secrets of the namespace's authority; choose another name", operatorPrefix)
	}
}

// digest is an image by digest as the OCI distribution specification spells it: host and port, path, tag, digest.
var digest = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?` +
	`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
	`(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[a-f0-9]{64}$`)

// Pinned says whether an image is named by its digest.
func Pinned(image string) bool { return digest.MatchString(image) }

func (f *finder) image() {
	if !Pinned(f.server.Spec.Image) {
		f.add(ReasonImageNotPinned, "spec.image", "%q is not an image by digest; write registry/name@sha256: and the 64 digits of the digest, which `crane digest` or the registry tells", f.server.Spec.Image)
	}
}

func (f *finder) transport() {
	switch f.server.Spec.Transport.Type {
	case v1alpha1.TransportStdio:
		f.stdio()
		return
	case v1alpha1.TransportStreamableHTTP:
	default:
		f.add(ReasonTransportInvalid, "spec.transport.type", "%q is unknown; write StreamableHTTP or Stdio", f.server.Spec.Transport.Type)
		return
	}
	if f.server.Spec.Transport.Stdio != nil {
		f.add(ReasonTransportInvalid, "spec.transport.stdio", "it is about the children of a Stdio server; remove it, or set spec.transport.type to Stdio")
	}
	switch port := f.server.Spec.Transport.Port; {
	case port < 1 || port > 65535:
		f.add(ReasonPortConflict, "spec.transport.port", "%d is not a port; choose one from 1 to 65535", port)
	case isGatePort(port):
		f.add(ReasonPortConflict, "spec.transport.port", "%d is the gate's own port; have the server listen on another, outside %d to %d", port, gateconfig.GatePort, gateconfig.ProbePort)
	}
	if !isPath(transportPath(f.server)) {
		f.add(ReasonEndpointInvalid, "spec.transport.path", "%q has an empty, '.' or '..' segment, or a character that URLs encode; write a plain path such as /mcp, without a slash at its end", transportPath(f.server))
	}
}

func isGatePort(port int32) bool {
	return port == gateconfig.GatePort || port == gateconfig.StatusPort || port == gateconfig.ProbePort
}

var plainPath = regexp.MustCompile(`^(/|(/[A-Za-z0-9._~-]+)+)$`)

// isPath says whether a path has one spelling only.
func isPath(path string) bool {
	return plainPath.MatchString(path) && !slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." })
}

var (
	hostPort = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)(:([0-9]{1,5}))?$`)
	origin   = regexp.MustCompile(`^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
)

func (f *finder) endpoint() {
	endpoint := f.server.Spec.Endpoint
	if endpoint == nil {
		return
	}
	if endpoint.URL != "" {
		u, err := url.Parse(endpoint.URL)
		switch {
		case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
			f.add(ReasonEndpointInvalid, "spec.endpoint.url", "%q is not an https URL of a host and a path alone; write https://host/path", endpoint.URL)
		case !isHost(strings.ToLower(u.Host)):
			f.add(ReasonEndpointInvalid, "spec.endpoint.url", "its host %q is no DNS name or IPv4 address; write https://host/path", u.Host)
		case u.Path != "" && u.Path != "/" && (!isPath(u.Path) || u.RawPath != ""):
			f.add(ReasonEndpointInvalid, "spec.endpoint.url", "its path %q has an empty, '.' or '..' segment, or a character that URLs encode; write a plain path such as /mcp, without a slash at its end", u.Path)
		}
	}
	for _, host := range endpoint.Hosts {
		if !isHost(host) {
			f.add(ReasonEndpointInvalid, "spec.endpoint.hosts", "%q is no lower-case host or host:port; write a DNS name or an IPv4 address", host)
		}
	}
	for _, o := range endpoint.Origins {
		if u, err := url.Parse(o); err != nil || !origin.MatchString(o) || u.Scheme+"://"+u.Host != o {
			f.add(ReasonEndpointInvalid, "spec.endpoint.origins", "%q is no origin; write https://host or https://host:port", o)
		}
	}
}

// isHost says whether a host can stand in a Host header and, without its port, in a certificate.
func isHost(host string) bool {
	parts := hostPort.FindStringSubmatch(host)
	if parts == nil {
		return false
	}
	if parts[6] != "" {
		if _, err := netip.ParseAddrPort("127.0.0.1:" + parts[6]); err != nil {
			return false
		}
	}
	return isCertificateName(parts[1])
}

// isCertificateName says whether a name can stand in a certificate: labels of at most 63 characters, no address that only
// looks like one.
func isCertificateName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.TrimPrefix(name, "*.")
	labels := strings.Split(name, ".")
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return false
	}
	return len(validation.IsDNS1123Subdomain(name)) == 0 &&
		!slices.ContainsFunc(labels, func(label string) bool { return len(label) > maxName })
}

func (f *finder) tls(options Options) {
	tls := tlsSpec(f.server)
	if tls.IssuerRef != nil {
		f.issuer(issuerRef(*tls.IssuerRef), options)
	}
	duration, err := time.ParseDuration(tls.Duration)
	if err != nil || duration < time.Hour || duration > 2160*time.Hour {
		f.add(ReasonCertificateInvalid, "spec.tls.duration", "%q is no duration between 1h and 2160h", tls.Duration)
		return
	}
	renewBefore, err := time.ParseDuration(tls.RenewBefore)
	if err != nil || renewBefore < 5*time.Minute || renewBefore >= duration {
		f.add(ReasonCertificateInvalid, "spec.tls.renewBefore", "%q is no duration of at least 5m and shorter than spec.tls.duration %q; shorten it or lengthen the duration", tls.RenewBefore, tls.Duration)
	}
	if tls.CABundle != "" {
		if _, err := gateconfig.Pool(tls.CABundle); err != nil {
			f.add(ReasonCertificateInvalid, "spec.tls.caBundle", "not the certificates of authorities in PEM (%v); write them one after another, and nothing between", err)
		}
	}
	for _, name := range tls.DNSNames {
		if !isCertificateName(name) {
			f.add(ReasonCertificateInvalid, "spec.tls.dnsNames", "%q is no DNS name that a certificate can have; write labels of at most %d lower-case letters, digits and '-'", name, maxName)
		}
	}
}

func (f *finder) issuer(ref v1alpha1.IssuerRef, options Options) {
	own := schema.GroupKind{Group: "cert-manager.io", Kind: "Issuer"}
	kind := schema.GroupKind{Group: ref.Group, Kind: ref.Kind}
	switch {
	case kind == own || slices.Contains(options.Issuers, kind):
	case strings.Contains(strings.ToLower(ref.Kind), "cluster") && options.Profiled:
	case strings.Contains(strings.ToLower(ref.Kind), "cluster"):
		f.add(ReasonClusterScopedIssuer, "spec.tls.issuerRef.kind", "%s is cluster-scoped, and no security profile allows it here; use an Issuer of namespace %s, or leave issuerRef out for the namespace's private authority", kind, f.server.Namespace)
	default:
		f.add(ReasonIssuerNotAllowed, "spec.tls.issuerRef", "issuers of kind %s are not allowed by this operator; use an Issuer (cert-manager.io) of namespace %s, or leave issuerRef out for the namespace's private authority", kind, f.server.Namespace)
	}
}

var (
	fileName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (f *finder) secrets(options Options) {
	groups, variables := map[string]bool{}, map[string]string{}
	for _, v := range f.server.Spec.Env {
		variables[v.Name] = "spec.env"
	}
	for i := range f.server.Spec.Secrets {
		group := &f.server.Spec.Secrets[i]
		field := fmt.Sprintf("spec.secrets[%s]", group.Name)
		name := ExternalSecretName(f.server.Name, group.Name)
		switch {
		case len(validation.IsDNS1123Label(group.Name)) > 0:
			f.add(ReasonSecretInvalid, field, "its name is no DNS label; use at most %d lower-case letters, digits and '-'", maxName)
		case groups[group.Name]:
			f.add(ReasonDuplicateSecretTarget, field, "there are two groups of this name; rename one")
		case name == CertificateName(f.server.Name) || name == GateSecretName(f.server.Name):
			f.add(ReasonNameReserved, field, "its Secret %s is the one that the operator makes for the gate; rename the group", name)
		}
		groups[group.Name] = true
		f.store(group, field, options)
		f.secretTargets(group, field, variables)
	}
}

func (f *finder) store(group *v1alpha1.SecretGroup, field string, options Options) {
	if kind := cmp.Or(group.StoreRef.Kind, v1alpha1.SecretStoreNamespaced); kind != v1alpha1.SecretStoreNamespaced && (!options.Profiled || kind != v1alpha1.SecretStoreCluster) {
		f.add(ReasonClusterScopedStore, field+".storeRef.kind", "%s is cluster-scoped, and no security profile allows it here; use a SecretStore of namespace %s", kind, f.server.Namespace)
	}
	if len(validation.IsDNS1123Subdomain(group.StoreRef.Name)) > 0 {
		f.add(ReasonSecretInvalid, field+".storeRef.name", "%q is no name of a SecretStore", group.StoreRef.Name)
	}
	if interval, err := time.ParseDuration(cmp.Or(group.RefreshInterval, "1h")); err != nil || interval < 5*time.Second {
		f.add(ReasonSecretInvalid, field+".refreshInterval", "%q is no duration of at least 5s", group.RefreshInterval)
	}
	if len(group.Data) == 0 {
		f.add(ReasonSecretInvalid, field+".data", "it is empty; name the values that the group holds, or remove the group")
	}
}

// secretTargets checks where the values of a group go; variables are the environment variables so far and who sets them.
func (f *finder) secretTargets(group *v1alpha1.SecretGroup, field string, variables map[string]string) {
	keys := map[string]bool{}
	for _, data := range group.Data {
		key := secretKey(data)
		switch {
		case (data.File == "") == (data.Env == ""):
			f.add(ReasonSecretInvalid, field+".data", "a value must have exactly one of file and env")
			continue
		case data.File != "" && !fileName.MatchString(data.File), data.Env != "" && (!envName.MatchString(data.Env) || len(data.Env) > 253):
			f.add(ReasonSecretInvalid, field+".data", "%q is no name of a file or of an environment variable", key)
		case keys[key]:
			f.add(ReasonDuplicateSecretTarget, field+".data", "%q is the target of two values; rename one", key)
		case data.Env != "" && variables[data.Env] != "":
			f.add(ReasonDuplicateSecretTarget, field+".data", "environment variable %s is also set by %s; remove one of them", data.Env, variables[data.Env])
		}
		keys[key] = true
		if data.Env != "" {
			variables[data.Env] = field
		}
		if data.RemoteRef.Key == "" {
			f.add(ReasonSecretInvalid, field+".data", "%q has no remoteRef.key; name the value in the store", key)
		}
	}
}

func (f *finder) network() {
	network := f.server.Spec.Network
	if network == nil {
		return
	}
	for i, rule := range network.Ingress {
		f.peers(fmt.Sprintf("spec.network.ingress[%d].from", i), rule.From)
	}
	for i, rule := range network.Egress {
		f.peers(fmt.Sprintf("spec.network.egress[%d].to", i), rule.To)
		f.ports(fmt.Sprintf("spec.network.egress[%d].ports", i), rule.Ports)
	}
}

func (f *finder) ports(field string, ports []networking.NetworkPolicyPort) {
	for _, p := range ports {
		protocol := core.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		switch {
		case protocol != core.ProtocolTCP && protocol != core.ProtocolUDP && protocol != core.ProtocolSCTP:
			f.add(ReasonNetworkInvalid, field, "%q is no protocol; write TCP, UDP or SCTP", protocol)
		case p.Port == nil && p.EndPort != nil, p.EndPort != nil && (p.Port.Type != intstr.Int || *p.EndPort < p.Port.IntVal || *p.EndPort > 65535):
			f.add(ReasonNetworkInvalid, field, "endPort needs a port that is a number and not above it, and is at most 65535")
		case p.Port != nil && p.Port.Type == intstr.Int && len(validation.IsValidPortNum(int(p.Port.IntVal))) > 0:
			f.add(ReasonNetworkInvalid, field, "%d is not a port; choose one from 1 to 65535", p.Port.IntVal)
		case p.Port != nil && p.Port.Type == intstr.String && len(validation.IsValidPortName(p.Port.StrVal)) > 0:
			f.add(ReasonNetworkInvalid, field, "%q is no name of a port", p.Port.StrVal)
		}
	}
}

// selector checks a label selector, which the API server only checks when it is used.
func (f *finder) selector(reason, field string, selector *metav1.LabelSelector) {
	if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		f.add(reason, field, "a label selector is invalid: %v", err)
	}
}

func (f *finder) peers(field string, peers []networking.NetworkPolicyPeer) {
	if len(peers) == 0 {
		f.add(ReasonNetworkInvalid, field, "it is empty, which to Kubernetes means everybody; name who")
	}
	for _, peer := range peers {
		f.selector(ReasonNetworkInvalid, field, peer.PodSelector)
		f.selector(ReasonNetworkInvalid, field, peer.NamespaceSelector)
		if peer.IPBlock == nil {
			if peer.PodSelector == nil && peer.NamespaceSelector == nil {
				f.add(ReasonNetworkInvalid, field, "a peer names nobody; set podSelector, namespaceSelector or ipBlock")
			}
			continue
		}
		if peer.PodSelector != nil || peer.NamespaceSelector != nil {
			f.add(ReasonNetworkInvalid, field, "a peer has ipBlock and a selector; make two peers of it")
		}
		all, err := netip.ParsePrefix(peer.IPBlock.CIDR)
		if err != nil {
			f.add(ReasonNetworkInvalid, field, "%q is no address range; write one such as 192.0.2.0/24", peer.IPBlock.CIDR)
			continue
		}
		for _, cidr := range peer.IPBlock.Except {
			if except, err := netip.ParsePrefix(cidr); err != nil || except.Bits() <= all.Bits() || !all.Contains(except.Addr()) {
				f.add(ReasonNetworkInvalid, field, "except %q is no address range within %s", cidr, peer.IPBlock.CIDR)
			}
		}
	}
}

func (f *finder) kubernetesAccess(options Options) {
	access := f.server.Spec.KubernetesAccess
	if access == nil {
		return
	}
	const field = "spec.kubernetesAccess"
	if (len(access.Rules) > 0) == (access.ServiceAccountName != "") {
		f.add(ReasonRightsNotGrantable, field, "set exactly one of rules and serviceAccountName")
		return
	}
	if access.ServiceAccountName != "" {
		if len(validation.IsDNS1123Subdomain(access.ServiceAccountName)) > 0 {
			f.add(ReasonNameInvalid, field+".serviceAccountName", "%q is no name of a ServiceAccount", access.ServiceAccountName)
		}
		return
	}
	for i, rule := range access.Rules {
		field := fmt.Sprintf("%s.rules[%d]", field, i)
		if len(rule.NonResourceURLs) > 0 || len(rule.Verbs) == 0 || len(rule.APIGroups) == 0 || len(rule.Resources) == 0 {
			f.add(ReasonRightsNotGrantable, field, "a rule of a Role needs apiGroups, resources and verbs, and cannot have nonResourceURLs")
			continue
		}
		if _, uncovered := rbacvalidation.Covers(options.GrantableRules, []rbac.PolicyRule{rule}); len(uncovered) > 0 {
			f.add(ReasonRightsNotGrantable, field, "the operator may not grant %s; have it added to the operator's grantable rules, or bind a ServiceAccount of your own to it and name that in %s",
				describe(uncovered), "spec.kubernetesAccess.serviceAccountName")
		}
	}
}

// describe prints rules of one verb and one resource each, as kubectl auth can-i takes them, at most three.
func describe(rules []rbac.PolicyRule) string {
	const most = 3
	var all []string
	for _, rule := range rules {
		resource := strings.Join(rule.Resources, ",")
		if group := strings.Join(rule.APIGroups, ","); group != "" {
			resource += "." + group
		}
		if len(rule.ResourceNames) > 0 {
			resource += "/" + strings.Join(rule.ResourceNames, ",")
		}
		all = append(all, fmt.Sprintf("%q", strings.Join(rule.Verbs, ",")+" "+resource))
	}
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("%d more", len(all)-most))
	}
	return strings.Join(all, ", ")
}

func (f *finder) rate(field string, rate *v1alpha1.ClientRate) {
	if rate != nil && (rate.RPS < 1 || rate.Burst < 0) {
		f.add(ReasonLimitsInvalid, field, "rps and burst must be at least 1")
	}
}

func (f *finder) limits() {
	low, high := resource.MustParse("1Ki"), resource.MustParse("64Mi")
	if q, err := resource.ParseQuantity(requestBytes(f.server)); err != nil || q.Cmp(low) < 0 || q.Cmp(high) > 0 {
		f.add(ReasonLimitsInvalid, "spec.limits.requestBytes", "%q is no quantity between 1Ki and 64Mi", requestBytes(f.server))
	}
	if d := depth(f.server); d < 8 || d > 1000 {
		f.add(ReasonLimitsInvalid, "spec.limits.depth", "%d is not between 8 and 1000", d)
	}
	if d, err := time.ParseDuration(answerWithin(f.server)); err != nil || d < time.Second || d > gateconfig.MaxAnswerWithin {
		f.add(ReasonLimitsInvalid, "spec.limits.answerWithin", "%q is no duration between 1s and 24h", answerWithin(f.server))
	}
	if spec := f.server.Spec.Limits; spec != nil {
		f.rate("spec.limits.perClient", spec.PerClient)
		f.rate("spec.limits.perTool", spec.PerTool)
	}
	if _, err := policy.Forbid(Forbidden(f.server)); err != nil {
		f.add(ReasonLimitsInvalid, "spec.tools.forbidden", "%v", err)
	}
}

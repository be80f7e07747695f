package mcpserver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/floor"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/clientid"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// observed is all that a reconcile knows. It is read once, at its beginning; a nil object does not exist.
type observed struct {
	server *v1alpha1.MCPServer
	now    time.Time
	// certManager and externalSecrets say whether the cluster serves those APIs.
	certManager, externalSecrets bool
	// floor is what the security profiles of the namespace ask for.
	floor profile.Floor
	// who is who may use the server.
	who access.Result
	// status says who may read the gates' status ports, verification what the operator attacks them with.
	status       gateconfig.Status
	verification gateconfig.Verification
	// olderGates says that a gate of another release runs, which may be one that does not know all of a configuration.
	olderGates bool

	networkPolicy     *networkingv1.NetworkPolicy
	gateSecret        *corev1.Secret
	certificate       *certmanager.Certificate
	certificateSecret *corev1.Secret
	// authority is where certificates of the namespace come from.
	authority authority.Issuing
	// authorities are the certificates, in PEM, of the namespace's private authorities.
	authorities string
	// issuer is looked up only while the certificate is not issued.
	issuer *certmanager.Issuer
	groups []group
	// issuers are the token issuers.
	issuers    []issuer
	deployment *appsv1.Deployment
	pods       []corev1.Pod
	// caBundle vouches for the serving certificate.
	caBundle string
	// account is the user's own ServiceAccount, when the spec names one.
	account *corev1.ServiceAccount

	// policies and services are all of the namespace.
	policies []networkingv1.NetworkPolicy
	services []corev1.Service
	// dns and apiServer are where cluster DNS and the Kubernetes API answer.
	dns, apiServer []netip.AddrPort
}

// group is one group of secrets.
type group struct {
	spec           *v1alpha1.SecretGroup
	externalSecret *externalsecrets.ExternalSecret
	secret         *corev1.Secret
	// store is looked up only while the group is not synced.
	store *externalsecrets.SecretStore
}

// gather reads everything. It reads caches, but for single objects that belong to users: their ServiceAccount, and an
// issuer or a store that does not deliver.
func (r *Reconciler) gather(ctx context.Context, server *v1alpha1.MCPServer) (*observed, error) {
	o := &observed{
		server: server, now: r.Now(),
		certManager:     r.APIs.Served(certmanager.SchemeGroupVersion.Group),
		externalSecrets: r.APIs.Served(externalsecrets.SchemeGroupVersion.Group),
	}
	for _, step := range []func(context.Context, *observed) error{
		r.gatherFloor, r.gatherAccess, r.gatherCertificate, r.gatherSecrets, r.gatherWorkload, r.gatherVerification, r.gatherTokens, r.gatherSurroundings, r.gatherAddresses,
	} {
		if err := step(ctx, o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (r *Reconciler) gatherFloor(ctx context.Context, o *observed) error {
	var err error
	o.floor, err = floor.Of(ctx, r.Client, o.server.Namespace)
	return err
}

func (r *Reconciler) gatherAccess(ctx context.Context, o *observed) error {
	policies, clients := &v1alpha1.MCPAccessPolicyList{}, &v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, policies, client.InNamespace(o.server.Namespace)); err != nil {
		return err
	}
	if err := r.Client.List(ctx, clients, client.MatchingFields{serversIndex: serverKey(o.server.Namespace, o.server.Name)}); err != nil {
		return err
	}
	authorities := map[string]string{}
	for i := range clients.Items {
		namespace := clients.Items[i].Namespace
		if _, known := authorities[namespace]; known {
			continue
		}
		bundle, err := authority.Bundle(ctx, r.Client, namespace, o.certManager)
		if err != nil {
			return err
		}
		if bundle != "" {
			authorities[namespace] = bundle
		}
	}
	o.who = access.Build(access.Input{Server: o.server, Policies: policies.Items, Clients: clients.Items, Authorities: authorities, Now: o.now})
	bundle, err := authority.SystemBundle(ctx, r.Client, r.Settings.Namespace, o.certManager)
	if err != nil || bundle == "" {
		return err
	}
	o.status = gateconfig.Status{Authority: bundle, Identities: []string{clientid.Operator}}
	if len(r.Settings.Monitoring) > 0 {
		o.status.Identities = append(o.status.Identities, clientid.Monitoring)
	}
	return nil
}

// gatherVerification finds the keys and tokens that the gates accept from the operator now. There are none while a gate of another release
// runs: one from before such keys would refuse a configuration that has some, and whatever is revoked in it.
func (r *Reconciler) gatherVerification(ctx context.Context, o *observed) error {
	ours := manifests.TemplateRevision(r.Settings.GateImage)
	if o.olderGates = slices.ContainsFunc(o.pods, func(pod corev1.Pod) bool {
		revision := pod.Labels[manifests.LabelTemplateRevision]
		return revision != "" && revision != ours
	}); o.olderGates {
		return nil
	}
	series, err := authority.SyntheticKeys(ctx, r.Client, r.Settings.Namespace, o.server)
	if err != nil || series == nil {
		return err
	}
	if access.TakesKeys(o.server) {
		accepted, err := series.Accepted(o.now)
		if err != nil {
			return err
		}
		for _, key := range accepted {
			o.verification.Keys = append(o.verification.Keys, gateconfig.Key{ID: key.ID, SHA256: key.SHA256, NotAfter: key.NotAfter})
		}
	}
	if len(access.Tokens(o.server)) > 0 {
		signers, err := series.Signers(o.now)
		if err != nil {
			return err
		}
		if o.verification.Tokens, err = gateconfig.NewOwnTokens(series.Audience(), signers); err != nil {
			return err
		}
	}
	if _, next := series.Present(o.now); o.who.Next.IsZero() || next.Before(o.who.Next) {
		o.who.Next = next
	}
	return nil
}

func (r *Reconciler) gatherCertificate(ctx context.Context, o *observed) error {
	name := manifests.CertificateName(o.server.Name)
	var err error
	if o.certificateSecret, err = get(ctx, r.Client, o.server.Namespace, name, &corev1.Secret{}); err != nil {
		return err
	}
	if o.authorities, err = authority.Bundle(ctx, r.Client, o.server.Namespace, o.certManager); err != nil {
		return err
	}
	o.caBundle = caBundle(o)
	if !o.certManager {
		return nil
	}
	if o.authority, err = authority.InForce(ctx, r.Client, o.server.Namespace); err != nil {
		return err
	}
	if o.certificate, err = get(ctx, r.Client, o.server.Namespace, name, &certmanager.Certificate{}); err != nil {
		return err
	}
	if issued(o) {
		return nil
	}
	if group, kind, issuer := issuerOf(o); group == certmanager.SchemeGroupVersion.Group && kind == certmanager.IssuerKind {
		o.issuer, err = get(ctx, r.Live, o.server.Namespace, issuer, &certmanager.Issuer{})
	}
	return err
}

// issued says whether the serving certificate is there.
func issued(o *observed) bool {
	return o.certificate != nil && leaf(o.certificateSecret) != nil
}

// ownIssuer says whether the spec brings an issuer.
func ownIssuer(server *v1alpha1.MCPServer) bool {
	return server.Spec.TLS != nil && server.Spec.TLS.IssuerRef != nil
}

// caBundle are the certificates that vouch for the serving certificate: those of the namespace's authorities, what the issuer
// said of itself, and what the spec says. A certificate that is not issued yet has none.
func caBundle(o *observed) string {
	if o.certificateSecret == nil {
		return ""
	}
	var bundles []string
	if !ownIssuer(o.server) {
		bundles = append(bundles, o.authorities)
	}
	bundles = append(bundles, string(o.certificateSecret.Data["ca.crt"]))
	if o.server.Spec.TLS != nil {
		bundles = append(bundles, o.server.Spec.TLS.CABundle)
	}
	return manifests.MergeBundles(bundles...)
}

// issuerOf names the issuer of a server's certificate.
func issuerOf(o *observed) (group, kind, name string) {
	group, kind, name = certmanager.SchemeGroupVersion.Group, certmanager.IssuerKind, o.authority.Issuer
	if !ownIssuer(o.server) {
		return group, kind, name
	}
	ref := o.server.Spec.TLS.IssuerRef
	if ref.Group != "" {
		group = ref.Group
	}
	if ref.Kind != "" {
		kind = ref.Kind
	}
	return group, kind, ref.Name
}

func (r *Reconciler) gatherSecrets(ctx context.Context, o *observed) error {
	for i := range o.server.Spec.Secrets {
		g := group{spec: &o.server.Spec.Secrets[i]}
		name := manifests.ExternalSecretName(o.server.Name, g.spec.Name)
		var err error
		if g.secret, err = get(ctx, r.Client, o.server.Namespace, name, &corev1.Secret{}); err != nil {
			return err
		}
		if o.externalSecrets {
			if g.externalSecret, err = get(ctx, r.Client, o.server.Namespace, name, &externalsecrets.ExternalSecret{}); err != nil {
				return err
			}
			if !synced(g) && g.spec.StoreRef.Kind != v1alpha1.SecretStoreCluster {
				if g.store, err = get(ctx, r.Live, o.server.Namespace, g.spec.StoreRef.Name, &externalsecrets.SecretStore{}); err != nil {
					return err
				}
			}
		}
		o.groups = append(o.groups, g)
	}
	return nil
}

func (r *Reconciler) gatherWorkload(ctx context.Context, o *observed) error {
	namespace, name := o.server.Namespace, o.server.Name
	var err error
	if o.gateSecret, err = get(ctx, r.Client, namespace, manifests.GateSecretName(name), &corev1.Secret{}); err != nil {
		return err
	}
	if o.deployment, err = get(ctx, r.Client, namespace, name, &appsv1.Deployment{}); err != nil {
		return err
	}
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels(manifests.Selector(name))); err != nil {
		return err
	}
	o.pods = slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return !declared.HasGate(&pod) })
	if access := o.server.Spec.KubernetesAccess; access != nil && access.ServiceAccountName != "" {
		if o.account, err = get(ctx, r.Live, namespace, access.ServiceAccountName, &corev1.ServiceAccount{}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) gatherSurroundings(ctx context.Context, o *observed) error {
	policies, services := &networkingv1.NetworkPolicyList{}, &corev1.ServiceList{}
	if err := r.Client.List(ctx, policies, client.InNamespace(o.server.Namespace)); err != nil {
		return err
	}
	if err := r.Client.List(ctx, services, client.InNamespace(o.server.Namespace)); err != nil {
		return err
	}
	o.policies, o.services = policies.Items, services.Items
	for i := range o.policies {
		if o.policies[i].Name == o.server.Name {
			o.networkPolicy = &o.policies[i]
		}
	}
	return nil
}

// gatherAddresses reads where cluster DNS and the Kubernetes API answer: network policies see a connection after the
// address of a Service was replaced by that of an endpoint, or before it, depending on who enforces them.
func (r *Reconciler) gatherAddresses(ctx context.Context, o *observed) error {
	var err error
	if o.apiServer, err = r.addresses(ctx, apiServerNamespace, apiServerService, nil); err != nil {
		return err
	}
	o.dns, err = r.addresses(ctx, dnsNamespace, dnsService, func(e *discoveryv1.Endpoint) bool {
		return e.TargetRef == nil || e.TargetRef.Kind != "Pod" // pods are allowed by their labels
	})
	return err
}

// addresses are those of a Service and of its endpoints, as far as wanted asks for them.
func (r *Reconciler) addresses(ctx context.Context, namespace, name string, wanted func(*discoveryv1.Endpoint) bool) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	add := func(address string, port int32) {
		if ip, err := netip.ParseAddr(address); err == nil && port > 0 && port < 1<<16 {
			all = append(all, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	service, err := get(ctx, r.Client, namespace, name, &corev1.Service{})
	if err != nil {
		return nil, err
	}
	if service != nil {
		for _, port := range service.Spec.Ports {
			for _, address := range service.Spec.ClusterIPs {
				add(address, port.Port)
			}
		}
	}
	slices := &discoveryv1.EndpointSliceList{}
	if err := r.Client.List(ctx, slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
		return nil, err
	}
	for i := range slices.Items {
		for j := range slices.Items[i].Endpoints {
			endpoint := &slices.Items[i].Endpoints[j]
			if wanted != nil && !wanted(endpoint) {
				continue
			}
			for _, port := range slices.Items[i].Ports {
				for _, address := range endpoint.Addresses {
					if port.Port != nil {
						add(address, *port.Port)
					}
				}
			}
		}
	}
	return all, nil
}

// get returns nil for an object that does not exist.
func get[T client.Object](ctx context.Context, reader client.Reader, namespace, name string, object T) (T, error) {
	var none T
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read %T %s/%s: %w", object, namespace, name, err)
	}
	return object, nil
}

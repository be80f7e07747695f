package verification

import (
	"context"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/floor"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/keys"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// observed is what the caches show of a server. It is read once, at the beginning.
type observed struct {
	server *v1alpha1.MCPServer
	now    time.Time
	who    access.Result
	// floor is what the security profiles of the namespace ask for.
	floor profile.Floor
	// clients are all that name the server, by "<namespace>/<name>".
	clients map[string]*v1alpha1.MCPClient
	// neighbours are all clients that name any server of the namespace: their keys are good at every one of them.
	neighbours  []v1alpha1.MCPClient
	pods        []corev1.Pod
	gates       []gate
	policies    []networkingv1.NetworkPolicy
	services    []corev1.Service
	certificate *certmanager.Certificate
	// caBundle vouches for the serving certificate.
	caBundle string
	// inventory is what the server offers; nil while nobody knows.
	inventory *inventory.Document
	// series are the operator's own keys at the server, and what it signs tokens with; nil where it takes neither.
	series *keys.Series
	// issuers are those whose tokens the gates take, with their public keys.
	issuers   []gateconfig.TokenIssuer
	alerts    alerts
	unmanaged *posture.Fact[posture.Unmanaged]
	scan      scan
	// granted is what bindings give to the server's ServiceAccount; nil for a server whose pods have no token.
	granted *granted
	// ways are EndpointSlices that lead past the gate; nil while nobody has looked.
	ways *ways
	// holders are the Secrets of the pods that hold a ServiceAccount's token.
	holders holders
}

// gate is a ready gate.
type gate struct {
	pod *corev1.Pod
	ips []string
}

// gather reads caches. Of Secrets it reads the operator's own, and the gates' configuration.
func (r *Reconciler) gather(ctx context.Context, server *v1alpha1.MCPServer) (*observed, error) {
	o := &observed{server: server, now: r.Now(), clients: map[string]*v1alpha1.MCPClient{}}
	in := client.InNamespace(server.Namespace)
	policies, clients, pods := &v1alpha1.MCPAccessPolicyList{}, &v1alpha1.MCPClientList{}, &corev1.PodList{}
	neighbours := &v1alpha1.MCPClientList{}
	networks, services, bundle, offers := &networkingv1.NetworkPolicyList{}, &corev1.ServiceList{}, &corev1.ConfigMap{}, &corev1.ConfigMap{}
	for _, read := range []func() error{
		func() error { return r.Client.List(ctx, policies, in) },
		func() error {
			return r.Client.List(ctx, clients, client.MatchingFields{serversIndex: server.Namespace + "/" + server.Name})
		},
		func() error {
			return r.Client.List(ctx, neighbours, client.MatchingFields{serversIndex: server.Namespace + "/"}, client.UnsafeDisableDeepCopy)
		},
		func() error {
			return r.Client.List(ctx, pods, in, client.MatchingLabels(manifests.Selector(server.Name)))
		},
		func() error { return r.Client.List(ctx, networks, in) },
		func() error { return r.Client.List(ctx, services, in) },
		func() error {
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: manifests.CABundleName(server.Name)}, bundle)
			return client.IgnoreNotFound(err)
		},
		func() error {
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: inventory.ConfigMapName(server.Name)}, offers)
			return client.IgnoreNotFound(err)
		},
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	for i := range clients.Items {
		c := &clients.Items[i]
		o.clients[c.Namespace+"/"+c.Name] = c
	}
	o.neighbours = neighbours.Items
	o.who = access.Build(access.Input{Server: server, Policies: policies.Items, Clients: clients.Items, Now: o.now})
	o.pods, o.policies, o.services, o.caBundle = pods.Items, networks.Items, services.Items, bundle.Data[manifests.CABundleKey]
	if document, err := inventory.ParseDocument(offers.Data[inventory.DocumentKey]); err == nil && o.owns(offers) {
		o.inventory = &document
	}
	slices.SortFunc(o.pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for i := range o.pods {
		if pod := &o.pods[i]; ready(pod) {
			g := gate{pod: pod}
			for _, ip := range pod.Status.PodIPs {
				g.ips = append(g.ips, ip.IP)
			}
			o.gates = append(o.gates, g)
		}
	}
	if r.Unmanaged != nil {
		o.unmanaged = new(r.Unmanaged(server.Namespace))
	}
	var err error
	if o.floor, err = floor.Of(ctx, r.Client, server.Namespace); err != nil {
		return nil, err
	}
	if o.alerts, err = r.alerts(ctx); err != nil {
		return nil, err
	}
	if o.scan, err = r.scan(ctx, o); err != nil {
		return nil, err
	}
	if o.granted, err = r.granted(ctx, o); err != nil {
		return nil, err
	}
	if o.ways, err = r.ways(ctx, o); err != nil {
		return nil, err
	}
	if o.holders, err = r.tokenSecrets(ctx, o); err != nil {
		return nil, err
	}
	if o.series, err = authority.SyntheticKeys(ctx, r.Client, r.Settings.Namespace, server); err != nil {
		return nil, err
	}
	if o.issuers, err = r.tokenIssuers(ctx, o); err != nil {
		return nil, err
	}
	if !r.APIs.Served(certmanager.SchemeGroupVersion.Group) {
		return o, nil
	}
	certificate := &certmanager.Certificate{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: manifests.CertificateName(server.Name)}, certificate)
	if err == nil {
		o.certificate = certificate
	}
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return o, err
}

// tokenIssuers are those whose tokens the gates take, as their configuration has them: nil while there is none that can be read.
func (r *Reconciler) tokenIssuers(ctx context.Context, o *observed) ([]gateconfig.TokenIssuer, error) {
	if declared := o.server.Spec.Authentication; declared == nil || len(declared.Tokens) == 0 {
		return nil, nil
	}
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: o.server.Namespace, Name: manifests.GateSecretName(o.server.Name)}, secret)
	if err != nil || !o.owns(secret) {
		return nil, client.IgnoreNotFound(err)
	}
	config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
	if err != nil {
		return nil, nil //nolint:nilerr // The gates say that they cannot read it.
	}
	return config.Authentication.Tokens, nil
}

func ready(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil || len(pod.Status.PodIPs) == 0 {
		return false
	}
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// owns says whether the server controls an object.
func (o *observed) owns(object metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(object)
	return owner != nil && owner.UID == o.server.UID
}

// surroundings is what the isolation is judged by: the server's own policy as it is, which its controller keeps as it should
// be.
func (o *observed) surroundings() (s isolation.Surroundings, policy bool) {
	s = isolation.Surroundings{
		Server: o.server.Name, PodLabels: manifests.Labels(o.server.Name), PodPorts: map[string]int32{},
		Policies: o.policies, Services: o.services, Own: o.owns,
	}
	for i := range o.pods {
		s.Pods = append(s.Pods, o.pods[i].Labels)
	}
	if o.server.Spec.Pod != nil {
		for key, value := range o.server.Spec.Pod.Labels {
			if _, ours := s.PodLabels[key]; !ours {
				s.PodLabels[key] = value
			}
		}
	}
	for i := range o.pods {
		for _, c := range slices.Concat(o.pods[i].Spec.InitContainers, o.pods[i].Spec.Containers) {
			for _, port := range c.Ports {
				s.PodPorts[port.Name] = port.ContainerPort
			}
		}
	}
	for i := range o.policies {
		if o.policies[i].Name == o.server.Name && o.owns(&o.policies[i]) {
			s.Policy, policy = o.policies[i].Spec, true
		}
	}
	return s, policy
}

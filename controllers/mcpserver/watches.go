package mcpserver

import (
	"context"
	"reflect"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/collect"
	"github.com/bartizan-dev/bartizan/controllers/internal/floor"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
	"github.com/bartizan-dev/bartizan/internal/isolation"
)

// Where the Kubernetes API and cluster DNS answer.
const (
	apiServerNamespace = "default"
	apiServerService   = "kubernetes"
	dnsNamespace       = "kube-system"
	dnsService         = "kube-dns"
)

// serversIndex finds MCPClients by the servers that they name.
const serversIndex = "mcpserver/named"

func serverKey(namespace, name string) string { return namespace + "/" + name }

// SetupWithManager registers the controller and what it watches.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.applier = apply.New(r.Client, r.Live)
	r.all, r.next, r.keyed = make(chan event.GenericEvent, 1), make(chan event.GenericEvent, 64), make(chan event.GenericEvent, 64)
	r.issuers = issuers.New(ctx, r.Keys, r.Times, r.Now, r.wakeServer(ctx))
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.MCPClient{}, serversIndex, func(object client.Object) []string {
		var keys []string
		for _, server := range object.(*v1alpha1.MCPClient).Spec.Servers {
			keys = append(keys, serverKey(server.Namespace, server.Name))
		}
		return keys
	}); err != nil {
		return err
	}
	if err := collect.From(&collector{reader: r.Client, certManager: func() bool { return r.APIs.Served(certmanager.SchemeGroupVersion.Group) }}); err != nil {
		return err
	}
	mapped := handler.EnqueueRequestsFromMapFunc
	comesOrGoes := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectNew.GetDeletionTimestamp() != nil }}
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("mcpserver").
		// Our own changes of the status, too: a reconcile that began before the cache showed the last one has compared with an
		// older one.
		For(&v1alpha1.MCPServer{}).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&rbacv1.Role{}).
		Owns(&rbacv1.RoleBinding{}).
		Owns(&policyv1.PodDisruptionBudget{}).
		Watches(&corev1.Secret{}, mapped(r.bySecret)).
		Watches(&corev1.Pod{}, mapped(byLabel), builder.WithPredicates(podChanged())).
		Watches(&networkingv1.NetworkPolicy{}, mapped(r.byNetworkPolicy)).
		Watches(&corev1.Service{}, mapped(r.byService)).
		Watches(&discoveryv1.EndpointSlice{}, mapped(r.everyServer), builder.WithPredicates(addressesChanged())).
		Watches(&v1alpha1.MCPAccessPolicy{}, mapped(r.byPolicy), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.MCPClient{}, mapped(byClient), builder.WithPredicates(accessChanged())).
		Watches(&v1alpha1.MCPSecurityProfile{}, mapped(r.everyServer), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(floor.Namespace(""), mapped(r.byNamespace), builder.WithPredicates(floor.LabelsChanged())).
		WatchesRawSource(source.Channel(r.all, mapped(r.everyServer))).
		WatchesRawSource(source.Channel(r.next, &handler.EnqueueRequestForObject{})).
		WatchesRawSource(source.Channel(r.keyed, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Build(r.APIs.Interrupted(r))
	if err != nil {
		return err
	}
	owner := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &v1alpha1.MCPServer{}, handler.OnlyControllerOwner())
	if err := r.APIs.On(ctx, certmanager.SchemeGroupVersion.Group, func(_ context.Context, served bool) error {
		defer r.wakeAll()
		if !served {
			return nil
		}
		if err := c.Watch(source.Kind[client.Object](mgr.GetCache(), &certmanager.Certificate{}, owner)); err != nil {
			return err
		}
		authorities := predicate.NewPredicateFuncs(func(object client.Object) bool {
			return authority.IsPrivate(object.GetName()) || authority.IsSystem(object.GetName())
		})
		if err := c.Watch(source.Kind[client.Object](mgr.GetCache(), &certmanager.Certificate{}, mapped(r.bySecret), authorities, authority.Remembered())); err != nil {
			return err
		}
		issuers := predicate.NewPredicateFuncs(func(object client.Object) bool { return authority.IsPrivate(object.GetName()) })
		return c.Watch(source.Kind[client.Object](mgr.GetCache(), &certmanager.Issuer{}, mapped(r.byAuthority), issuers, comesOrGoes))
	}); err != nil {
		return err
	}
	return r.APIs.On(ctx, externalsecrets.SchemeGroupVersion.Group, func(_ context.Context, served bool) error {
		defer r.wakeAll()
		if !served {
			return nil
		}
		return c.Watch(source.Kind[client.Object](mgr.GetCache(), &externalsecrets.ExternalSecret{}, owner))
	})
}

// podChanged lets pass what matters of a pod: whether it is ready, where it is, why it does not run. Nudging one is our own
// doing.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*corev1.Pod), e.ObjectNew.(*corev1.Pod)
		return podReady(was) != podReady(is) || was.Status.PodIP != is.Status.PodIP ||
			failing([]corev1.Pod{*was}) != failing([]corev1.Pod{*is})
	}}
}

// accessChanged lets pass what gates are told of a client. Its status has more, which changes every hour.
func accessChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !access.Same(e.ObjectOld.(*v1alpha1.MCPClient), e.ObjectNew.(*v1alpha1.MCPClient))
	}}
}

// addressesChanged lets pass changes of addresses. Readiness of single endpoints comes and goes.
func addressesChanged() predicate.Predicate {
	addresses := func(object client.Object) map[string]bool {
		all := map[string]bool{}
		for _, e := range object.(*discoveryv1.EndpointSlice).Endpoints {
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				continue
			}
			for _, address := range e.Addresses {
				all[address] = true
			}
		}
		return all
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*discoveryv1.EndpointSlice), e.ObjectNew.(*discoveryv1.EndpointSlice)
		return !reflect.DeepEqual(addresses(was), addresses(is)) || !reflect.DeepEqual(was.Ports, is.Ports)
	}}
}

func request(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// byLabel asks for the server that an object's label names.
func byLabel(_ context.Context, object client.Object) []reconcile.Request {
	if name := object.GetLabels()[manifests.LabelServer]; name != "" {
		return []reconcile.Request{request(object.GetNamespace(), name)}
	}
	return nil
}

// bySecret asks for the server of a Secret, and for those that an authority's Secret concerns.
func (r *Reconciler) bySecret(ctx context.Context, object client.Object) []reconcile.Request {
	if object.GetNamespace() == r.Settings.Namespace && authority.IsSystem(object.GetName()) {
		return r.everyServer(ctx, object)
	}
	if !authority.IsPrivate(object.GetName()) {
		return byLabel(ctx, object)
	}
	return r.byAuthority(ctx, object)
}

// byAuthority asks for the servers of a namespace, and for those that its clients name.
func (r *Reconciler) byAuthority(ctx context.Context, object client.Object) []reconcile.Request {
	clients := &v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, clients, client.InNamespace(object.GetNamespace())); err != nil {
		return nil
	}
	requests := r.servers(ctx, object.GetNamespace(), func(*v1alpha1.MCPServer) bool { return true })
	for i := range clients.Items {
		requests = append(requests, byClient(ctx, &clients.Items[i])...)
	}
	return requests
}

func byClient(_ context.Context, object client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, server := range object.(*v1alpha1.MCPClient).Spec.Servers {
		requests = append(requests, request(server.Namespace, server.Name))
	}
	return requests
}

// servers asks for the servers of a namespace that a function picks.
func (r *Reconciler) servers(ctx context.Context, namespace string, pick func(*v1alpha1.MCPServer) bool) []reconcile.Request {
	list := &v1alpha1.MCPServerList{}
	if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if pick(&list.Items[i]) {
			requests = append(requests, request(list.Items[i].Namespace, list.Items[i].Name))
		}
	}
	return requests
}

func (r *Reconciler) everyServer(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.servers(ctx, "", func(*v1alpha1.MCPServer) bool { return true })
}

// byNamespace asks for the servers of a namespace.
func (r *Reconciler) byNamespace(ctx context.Context, object client.Object) []reconcile.Request {
	return r.servers(ctx, object.GetName(), func(*v1alpha1.MCPServer) bool { return true })
}

func (r *Reconciler) byPolicy(ctx context.Context, object client.Object) []reconcile.Request {
	policy := object.(*v1alpha1.MCPAccessPolicy).DeepCopy()
	policy.DeletionTimestamp = nil // what is going concerns its servers most
	return r.servers(ctx, policy.Namespace, func(server *v1alpha1.MCPServer) bool { return access.Selects(policy, server) })
}

// byNetworkPolicy asks for the owner of a policy, or for the servers whose pods a foreign one selects.
func (r *Reconciler) byNetworkPolicy(ctx context.Context, object client.Object) []reconcile.Request {
	if requests, owned := ofOwner(object); owned {
		return requests
	}
	policy := object.(*networkingv1.NetworkPolicy)
	return r.servers(ctx, policy.Namespace, func(server *v1alpha1.MCPServer) bool {
		return policy.Name == server.Name || isolation.Selects(policy.Spec.PodSelector, podLabels(server))
	})
}

// byService asks for the owner of a Service, or for the servers whose pods a foreign one selects, and for all when it is
// that of the Kubernetes API or of cluster DNS.
func (r *Reconciler) byService(ctx context.Context, object client.Object) []reconcile.Request {
	if requests, owned := ofOwner(object); owned {
		return requests
	}
	service := object.(*corev1.Service)
	where := client.ObjectKeyFromObject(service)
	if where == (client.ObjectKey{Namespace: apiServerNamespace, Name: apiServerService}) || where == (client.ObjectKey{Namespace: dnsNamespace, Name: dnsService}) {
		return r.everyServer(ctx, object)
	}
	if len(service.Spec.Selector) == 0 {
		return nil
	}
	return r.servers(ctx, service.Namespace, func(server *v1alpha1.MCPServer) bool {
		return service.Name == server.Name || labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(podLabels(server)))
	})
}

// ofOwner asks for the MCPServer that controls an object.
func ofOwner(object client.Object) ([]reconcile.Request, bool) {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil || owner.Kind != "MCPServer" || owner.APIVersion != v1alpha1.GroupVersion.String() {
		return nil, false
	}
	return []reconcile.Request{request(object.GetNamespace(), owner.Name)}, true
}

// podLabels are the labels of a server's pods, as far as the spec tells.
func podLabels(server *v1alpha1.MCPServer) map[string]string {
	all := manifests.Labels(server.Name)
	if server.Spec.Pod != nil {
		for key, value := range server.Spec.Pod.Labels {
			if _, ours := all[key]; !ours {
				all[key] = value
			}
		}
	}
	return all
}

// wakeAll has every server reconciled.
func (r *Reconciler) wakeAll() {
	select {
	case r.all <- event.GenericEvent{Object: &metav1.PartialObjectMetadata{}}:
	default: // all are about to be reconciled anyhow
	}
}

// wakeWaiting has the servers reconciled that wait for their turn, after this one has rolled.
func (r *Reconciler) wakeWaiting(o *observed, p plan) {
	if p.deployment == nil || o.deployment == nil || o.deployment.Labels[manifests.LabelTemplateRevision] != p.deployment.revision || !rolledOut(o.deployment) {
		return
	}
	for _, server := range r.Budget.Waiting() {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: server.Namespace, Name: server.Name}}
		select {
		case r.next <- event.GenericEvent{Object: object}:
		default: // as many as may roll are on their way
		}
	}
}

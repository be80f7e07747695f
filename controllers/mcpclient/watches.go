package mcpclient

import (
	"context"
	"slices"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	externalsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	pushsecrets "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
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
)

// serversIndex finds MCPClients by the servers that they name, as "<namespace>/<name>".
const serversIndex = component + ".servers"

// selector is what selects the client's pods.
func selector(c *v1alpha1.MCPClient) (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(c.Spec.PodSelector)
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.applier = apply.New(r.Client, r.Live)
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.MCPClient{}, serversIndex, namedServers); err != nil {
		return err
	}
	if err := collect.From(&collector{reader: r.Client, now: r.now}); err != nil {
		return err
	}
	ours := predicate.NewPredicateFuncs(func(object client.Object) bool { return object.GetLabels()[apply.NameLabel] == component })
	authorities := predicate.NewPredicateFuncs(func(object client.Object) bool { return authority.IsPrivate(object.GetName()) })
	toClient := handler.EnqueueRequestsFromMapFunc(labelledClient)
	wake := make(chan event.GenericEvent, 1)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named(component).
		For(&v1alpha1.MCPClient{}).
		Watches(&v1alpha1.MCPServer{}, handler.EnqueueRequestsFromMapFunc(r.namingServer), builder.WithPredicates(predicate.Funcs{UpdateFunc: serverMatters})).
		Watches(&v1alpha1.MCPAccessPolicy{}, handler.EnqueueRequestsFromMapFunc(namedByPolicy), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.namingServerOf)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.calling), builder.WithPredicates(ends)).
		Watches(&v1alpha1.MCPSecurityProfile{}, handler.EnqueueRequestsFromMapFunc(r.everyClient), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesMetadata(floor.Namespace(""), handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, namespace client.Object) []reconcile.Request {
			return r.in(ctx, namespace.GetName())
		}), builder.WithPredicates(floor.LabelsChanged())).
		Watches(&corev1.Secret{}, toClient, builder.WithPredicates(ours)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(authorities)).
		WatchesRawSource(source.Channel(wake, handler.EnqueueRequestsFromMapFunc(r.everyClient))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}). // a gate that does not answer keeps one waiting
		Build(r.APIs.Interrupted(r))
	if err != nil {
		return err
	}
	for api, kind := range map[string]client.Object{
		certmanager.SchemeGroupVersion.Group: &certmanager.Certificate{},
		externalsecrets.Group:                &externalsecrets.ExternalSecret{},
		PushSecrets.Key:                      &pushsecrets.PushSecret{},
	} {
		err := r.APIs.On(ctx, api, func(_ context.Context, served bool) error {
			defer func() {
				select {
				case wake <- event.GenericEvent{Object: &metav1.PartialObjectMetadata{}}:
				default: // all are about to be asked for anyhow
				}
			}()
			if !served {
				return nil
			}
			return c.Watch(source.Kind(mgr.GetCache(), kind, toClient, ours))
		})
		if err != nil {
			return err
		}
	}
	return r.APIs.On(ctx, certmanager.SchemeGroupVersion.Group, func(_ context.Context, served bool) error {
		if !served {
			return nil
		}
		comesOrGoes := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectNew.GetDeletionTimestamp() != nil }}
		return c.Watch(source.Kind(mgr.GetCache(), client.Object(&certmanager.Issuer{}), handler.EnqueueRequestsFromMapFunc(r.ofNamespace), authorities, comesOrGoes))
	})
}

func namedServers(object client.Object) []string {
	c, ok := object.(*v1alpha1.MCPClient)
	if !ok {
		return nil
	}
	var names []string
	for _, s := range c.Spec.Servers {
		names = append(names, s.Namespace+"/"+s.Name)
	}
	return names
}

// serverMatters says whether a change of a server can change anything for its clients.
func serverMatters(e event.UpdateEvent) bool {
	before, ok1 := e.ObjectOld.(*v1alpha1.MCPServer)
	after, ok2 := e.ObjectNew.(*v1alpha1.MCPServer)
	if !ok1 || !ok2 {
		return false
	}
	return before.Generation != after.Generation || before.UID != after.UID ||
		!apiequality.Semantic.DeepEqual(before.Labels, after.Labels) ||
		!apiequality.Semantic.DeepEqual(before.Status.Gate, after.Status.Gate) ||
		!apiequality.Semantic.DeepEqual(before.Status.ReadyReplicas, after.Status.ReadyReplicas)
}

// labelledClient asks for the client that a child is labelled with.
func labelledClient(_ context.Context, object client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetLabels()[instanceLabel]}}}
}

// namingServer asks for the clients that name a server.
func (r *Reconciler) namingServer(ctx context.Context, object client.Object) []reconcile.Request {
	return r.naming(ctx, object.GetNamespace(), object.GetName())
}

// namingServerOf asks for the clients that name the server whose bundle a ConfigMap is.
func (r *Reconciler) namingServerOf(ctx context.Context, object client.Object) []reconcile.Request {
	server := object.GetLabels()[manifests.LabelServer]
	if server == "" || object.GetName() != manifests.CABundleName(server) {
		return nil
	}
	return r.naming(ctx, object.GetNamespace(), server)
}

func (r *Reconciler) naming(ctx context.Context, namespace, name string) []reconcile.Request {
	list := v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, &list, client.MatchingFields{serversIndex: namespace + "/" + name}); err != nil {
		return nil
	}
	return requests(&list)
}

// ends lets pass a pod that was asked to end. Its gate answers until the calls in it are over.
var ends = predicate.Funcs{
	CreateFunc:  func(e event.CreateEvent) bool { return e.Object.GetDeletionTimestamp() != nil }, // since before the operator began
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp() == nil && e.ObjectNew.GetDeletionTimestamp() != nil
	},
}

// calling asks for the clients that name the server of a pod that ends: when their keys were used last, its gate knows alone.
func (r *Reconciler) calling(ctx context.Context, pod client.Object) []reconcile.Request {
	out := r.naming(ctx, pod.GetNamespace(), pod.GetLabels()[manifests.LabelServer])
	for _, c := range out {
		r.uses.hasten(c.NamespacedName)
	}
	return out
}

// namedByPolicy asks for the clients that a policy names.
func namedByPolicy(_ context.Context, object client.Object) []reconcile.Request {
	p, ok := object.(*v1alpha1.MCPAccessPolicy)
	if !ok {
		return nil
	}
	var out []reconcile.Request
	for _, s := range access.Subjects(p) {
		out = append(out, reconcile.Request{NamespacedName: s})
	}
	return out
}

// ofNamespace asks for the clients of an object's namespace.
func (r *Reconciler) ofNamespace(ctx context.Context, object client.Object) []reconcile.Request {
	return r.in(ctx, object.GetNamespace())
}

func (r *Reconciler) in(ctx context.Context, namespace string) []reconcile.Request {
	list := v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil
	}
	return requests(&list)
}

func (r *Reconciler) everyClient(ctx context.Context, _ client.Object) []reconcile.Request {
	list := v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, &list); err != nil {
		return nil
	}
	return requests(&list)
}

func requests(list *v1alpha1.MCPClientList) []reconcile.Request {
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return slices.Clip(out)
}

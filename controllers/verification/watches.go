package verification

import (
	"context"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"github.com/bartizan-dev/bartizan/controllers/internal/collect"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// serversIndex finds MCPClients by the servers that they name, as "<namespace>/<name>", and by the namespaces of those, as "<namespace>/".
const serversIndex = "verification/servers"

// concurrency bounds how many servers are attacked at once.
const concurrency = 8

// SetupWithManager registers the controller and what it watches.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.started = r.Now()
	if r.Attack == nil {
		r.Attack = probe.Run
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.MCPClient{}, serversIndex, func(object client.Object) []string {
		var keys []string
		for _, server := range object.(*v1alpha1.MCPClient).Spec.Servers {
			keys = append(keys, server.Namespace+"/"+server.Name)
			if all := server.Namespace + "/"; !slices.Contains(keys, all) {
				keys = append(keys, all)
			}
		}
		return keys
	}); err != nil {
		return err
	}
	if err := collect.From(&collector{reader: r.Client, runs: &r.runs}); err != nil {
		return err
	}
	mapped := handler.EnqueueRequestsFromMapFunc
	c := ctrl.NewControllerManagedBy(mgr)
	if r.Found != nil {
		c.WatchesRawSource(source.Channel(r.Found, mapped(r.everybody)))
	}
	watching, err := c.
		Named("verification").
		For(&v1alpha1.MCPServer{}, builder.WithPredicates(serverChanged())).
		Watches(&corev1.Pod{}, mapped(byLabel), builder.WithPredicates(podChanged())).
		Watches(&networkingv1.NetworkPolicy{}, mapped(r.ofNamespace), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Service{}, mapped(r.ofNamespace), builder.WithPredicates(serviceChanged())).
		Watches(&v1alpha1.MCPAccessPolicy{}, mapped(r.ofNamespace), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.MCPClient{}, mapped(byClient)).
		Watches(&v1alpha1.MCPSecurityProfile{}, mapped(r.everyServer), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		Build(r.APIs.Interrupted(r))
	if err != nil {
		return err
	}
	return r.watchReports(ctx, mgr, watching)
}

// serverChanged lets pass what a posture depends on, and not what this controller writes itself.
func serverChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*v1alpha1.MCPServer), e.ObjectNew.(*v1alpha1.MCPServer)
		return was.Generation != is.Generation || was.Status.URL != is.Status.URL ||
			was.Annotations[v1alpha1.AnnotationVerificationRequestedAt] != is.Annotations[v1alpha1.AnnotationVerificationRequestedAt] ||
			!reflect.DeepEqual(was.Status.Gate, is.Status.Gate) || !reflect.DeepEqual(was.Status.Tools, is.Status.Tools) || is.DeletionTimestamp != nil
	}}
}

// podChanged lets pass whether a pod is ready, where it is and what is in it.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*corev1.Pod), e.ObjectNew.(*corev1.Pod)
		return ready(was) != ready(is) || !reflect.DeepEqual(was.Status.PodIPs, is.Status.PodIPs) || was.Generation != is.Generation ||
			len(was.Spec.EphemeralContainers) != len(is.Spec.EphemeralContainers)
	}}
}

// serviceChanged: Services have no generation.
func serviceChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*corev1.Service), e.ObjectNew.(*corev1.Service)
		return !maps.Equal(was.Spec.Selector, is.Spec.Selector) || !reflect.DeepEqual(was.Spec.Ports, is.Spec.Ports)
	}}
}

func byLabel(_ context.Context, object client.Object) []reconcile.Request {
	if name := object.GetLabels()[manifests.LabelServer]; name != "" {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
	}
	return nil
}

func byClient(_ context.Context, object client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, server := range object.(*v1alpha1.MCPClient).Spec.Servers {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: server.Namespace, Name: server.Name}})
	}
	return requests
}

// everyServer asks for all: a profile may have begun or ended to select any.
func (r *Reconciler) everyServer(ctx context.Context, _ client.Object) []reconcile.Request {
	servers := &v1alpha1.MCPServerList{}
	if err := r.Client.List(ctx, servers, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range servers.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&servers.Items[i])})
	}
	return requests
}

// ofNamespace asks for the owner of an object, or for all servers beside it.
func (r *Reconciler) ofNamespace(ctx context.Context, object client.Object) []reconcile.Request {
	if owner := metav1.GetControllerOfNoCopy(object); owner != nil && owner.Kind == "MCPServer" {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: owner.Name}}}
	}
	return r.servers(ctx, object.GetNamespace())
}

// everybody asks for all servers.
func (r *Reconciler) everybody(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.servers(ctx, metav1.NamespaceAll)
}

func (r *Reconciler) servers(ctx context.Context, namespace string) []reconcile.Request {
	servers := &v1alpha1.MCPServerList{}
	if err := r.Client.List(ctx, servers, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range servers.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&servers.Items[i])})
	}
	return requests
}

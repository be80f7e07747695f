package authority

import (
	"context"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
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
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
)

// toNamespace asks for the namespace of an object.
func toNamespace(_ context.Context, object client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: object.GetNamespace()}}}
}

// Remembered lets pass what changes of which certificates authorities are known to have had.
func Remembered() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return e.Object.GetAnnotations()[annotationCertificates] != "" },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetAnnotations()[annotationCertificates] != e.ObjectNew.GetAnnotations()[annotationCertificates]
		},
	}
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.applier = apply.New(r.Client, r.Live)
	changed := predicate.GenerationChangedPredicate{} // the spec may ask for another authority
	ours := predicate.NewPredicateFuncs(func(object client.Object) bool {
		return object.GetLabels()[apply.NameLabel] == component
	})
	namespaces := handler.EnqueueRequestsFromMapFunc(toNamespace)
	wake := make(chan event.GenericEvent, 1)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("authority").
		Watches(&v1alpha1.MCPServer{}, namespaces, builder.WithPredicates(changed)).
		Watches(&v1alpha1.MCPClient{}, namespaces, builder.WithPredicates(changed)).
		Watches(&corev1.Secret{}, namespaces, builder.WithPredicates(ours)).
		WatchesRawSource(source.Channel(wake, handler.EnqueueRequestsFromMapFunc(r.all))).
		Build(r.APIs.Interrupted(r))
	if err != nil {
		return err
	}
	retrying, err := controller.New("certificate-retry", mgr, controller.Options{Reconciler: reconcile.Func(r.retry)})
	if err != nil {
		return err
	}
	wakeAll := func() {
		select {
		case wake <- event.GenericEvent{Object: &metav1.PartialObjectMetadata{}}:
		default: // all are about to be asked for anyhow
		}
	}
	return r.APIs.On(ctx, certmanager.SchemeGroupVersion.Group, func(_ context.Context, served bool) error {
		defer wakeAll()
		if !served {
			return nil
		}
		for _, kind := range []client.Object{&certmanager.Certificate{}, &certmanager.Issuer{}} {
			if err := c.Watch(source.Kind(mgr.GetCache(), kind, namespaces, ours)); err != nil {
				return err
			}
		}
		return retrying.Watch(source.Kind[client.Object](mgr.GetCache(), &certmanager.Certificate{}, &handler.EnqueueRequestForObject{}))
	})
}

// all are the namespaces that have a user, and the operator's.
func (r *Reconciler) all(ctx context.Context, _ client.Object) []reconcile.Request {
	requests := []reconcile.Request{{NamespacedName: types.NamespacedName{Name: r.Namespace}}}
	servers, clients := &v1alpha1.MCPServerList{}, &v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, servers); err != nil {
		return requests
	}
	if err := r.Client.List(ctx, clients); err != nil {
		return requests
	}
	for i := range servers.Items {
		requests = append(requests, toNamespace(ctx, &servers.Items[i])...)
	}
	for i := range clients.Items {
		requests = append(requests, toNamespace(ctx, &clients.Items[i])...)
	}
	return requests
}

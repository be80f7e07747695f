package profile

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/floor"
)

// gathers is for how long changes of servers, clients and namespaces are gathered before the profiles are looked at again: a look
// is at all of them.
const gathers = time.Second

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	namespaces := predicate.Or(floor.LabelsChanged(), predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return true }, UpdateFunc: func(event.UpdateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return true },
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("profile").
		For(&v1alpha1.MCPSecurityProfile{}, changed).
		Watches(&v1alpha1.MCPServer{}, r.everyProfile(), changed).
		Watches(&v1alpha1.MCPClient{}, r.everyProfile(), changed).
		WatchesMetadata(floor.Namespace(""), r.everyProfile(), builder.WithPredicates(namespaces)).
		Complete(r)
}

// everyProfile asks for all profiles, once for all changes of a while.
func (r *Reconciler) everyProfile() handler.EventHandler {
	ask := func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		profiles := &v1alpha1.MCPSecurityProfileList{}
		if err := r.Client.List(ctx, profiles, client.UnsafeDisableDeepCopy); err != nil {
			return
		}
		for i := range profiles.Items {
			queue.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&profiles.Items[i])}, gathers)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, _ event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			ask(ctx, q)
		},
		UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			ask(ctx, q)
		},
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			ask(ctx, q)
		},
	}
}

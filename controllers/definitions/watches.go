package definitions

import (
	"context"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// concurrency bounds how many servers are looked at at once.
const concurrency = 4

// SetupWithManager registers the controller and what it watches.
func (r *Reconciler) SetupWithManager(_ context.Context, mgr ctrl.Manager) error {
	r.applier = apply.New(r.Client, r.Live)
	return ctrl.NewControllerManagedBy(mgr).
		Named("definitions").
		For(&v1alpha1.MCPServer{}, builder.WithPredicates(serverChanged())).
		Owns(&corev1.ConfigMap{}, builder.WithPredicates(ours())).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byLabel), builder.WithPredicates(podChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		Complete(r)
}

// serverChanged lets pass the pins, a configuration that has come into force, and our own part of the status that somebody changed.
func serverChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*v1alpha1.MCPServer), e.ObjectNew.(*v1alpha1.MCPServer)
		return was.Generation != is.Generation || !reflect.DeepEqual(was.Status.Gate, is.Status.Gate) || !reflect.DeepEqual(was.Status.Tools, is.Status.Tools)
	}}
}

// ours lets pass the inventory alone, but not its making.
func ours() predicate.Predicate {
	named := func(object client.Object) bool {
		return object.GetName() == inventory.ConfigMapName(object.GetLabels()[manifests.LabelServer])
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return named(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool { return named(e.Object) },
	}
}

// podChanged lets pass whether a pod is ready, where it is, and whether its containers began anew.
func podChanged() predicate.Predicate {
	starts := func(pod *corev1.Pod) (n int32) {
		for _, c := range pod.Status.ContainerStatuses {
			n += c.RestartCount
		}
		return n
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*corev1.Pod), e.ObjectNew.(*corev1.Pod)
		since, ready := readySince(was)
		still, readyNow := readySince(is)
		return ready != readyNow || !since.Equal(still) || was.Status.PodIP != is.Status.PodIP || starts(was) != starts(is)
	}}
}

func byLabel(_ context.Context, object client.Object) []reconcile.Request {
	if name := object.GetLabels()[manifests.LabelServer]; name != "" {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
	}
	return nil
}

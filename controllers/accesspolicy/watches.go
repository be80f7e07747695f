package accesspolicy

import (
	"context"
	"maps"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
)

// subjectsIndex finds MCPAccessPolicies by the clients that they name, as "<namespace>/<name>".
const subjectsIndex = "accesspolicy.subjects"

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.MCPAccessPolicy{}, subjectsIndex, subjects)
	if err != nil {
		return err
	}
	selectable := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) || !slices.Equal(issuers(e.ObjectOld), issuers(e.ObjectNew))
	}}
	return ctrl.NewControllerManagedBy(mgr).
		Named("accesspolicy").
		For(&v1alpha1.MCPAccessPolicy{}).
		Watches(&v1alpha1.MCPServer{}, handler.EnqueueRequestsFromMapFunc(r.beside), builder.WithPredicates(selectable)).
		Watches(&v1alpha1.MCPClient{}, handler.EnqueueRequestsFromMapFunc(r.naming), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

// issuers are the token issuers of a server, as far as policies name them.
func issuers(object client.Object) []string {
	server, ok := object.(*v1alpha1.MCPServer)
	if !ok {
		return nil
	}
	var names []string
	for _, issuer := range access.Tokens(server) {
		names = append(names, string(issuer.Type)+"/"+issuer.Name)
	}
	return names
}

func subjects(object client.Object) []string {
	p, ok := object.(*v1alpha1.MCPAccessPolicy)
	if !ok {
		return nil
	}
	var names []string
	for _, s := range access.Subjects(p) {
		names = append(names, s.String())
	}
	return names
}

// beside asks for the policies of a server's namespace.
func (r *Reconciler) beside(ctx context.Context, server client.Object) []reconcile.Request {
	return r.list(ctx, client.InNamespace(server.GetNamespace()))
}

// naming asks for the policies that name a client.
func (r *Reconciler) naming(ctx context.Context, c client.Object) []reconcile.Request {
	return r.list(ctx, client.MatchingFields{subjectsIndex: client.ObjectKeyFromObject(c).String()})
}

func (r *Reconciler) list(ctx context.Context, option client.ListOption) []reconcile.Request {
	list := v1alpha1.MCPAccessPolicyList{}
	if err := r.Client.List(ctx, &list, option); err != nil {
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

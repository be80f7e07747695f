package authority

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
)

// Prepare makes a Reconciler that no manager runs ready.
func Prepare(r *Reconciler) { r.applier = apply.New(r.Client, r.Live) }

// Retry looks at one Certificate.
func Retry(ctx context.Context, r *Reconciler, key client.ObjectKey) (ctrl.Result, error) {
	return r.retry(ctx, ctrl.Request{NamespacedName: key})
}

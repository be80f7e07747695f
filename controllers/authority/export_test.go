package authority

import "github.com/bartizan-dev/bartizan/controllers/internal/apply"

// Prepare makes a Reconciler that no manager runs ready.
func Prepare(r *Reconciler) { r.applier = apply.New(r.Client, r.Live) }

package mcpclient

import "github.com/bartizan-dev/bartizan/controllers/internal/apply"

// Prepare does what SetupWithManager does for a reconciler that tests call directly.
func Prepare(r *Reconciler) { r.applier = apply.New(r.Client, r.Live) }

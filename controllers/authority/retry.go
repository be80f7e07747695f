package authority

import (
	"context"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
)

// patience is how long a certificate whose first issuance failed stays as it is.
const patience = 10 * time.Second

// retry deletes a Certificate of a private authority whose first issuance failed, so that it is made and asked for again. It
// fails by cert-manager's own race, in which it replaces the key that a request is signed with (cert-manager issue 6331), and
// cert-manager itself tries again after an hour at the earliest: as long there would be no server. Nothing in use depends on a
// Certificate that was never issued.
func (r *Reconciler) retry(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	c := &certmanager.Certificate{}
	if err := r.Client.Get(ctx, request.NamespacedName, c); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !failedAtFirst(c) {
		return ctrl.Result{}, nil
	}
	if wait := c.Status.LastFailureTime.Add(patience).Sub(r.now()); wait > 0 {
		return ctrl.Result{RequeueAfter: min(wait, patience)}, nil
	}
	logf.FromContext(ctx).Info("the first issuance of the Certificate failed; it is made again", "attempts", c.Status.FailedIssuanceAttempts)
	err := r.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID, ResourceVersion: &c.ResourceVersion})
	if apierrors.IsConflict(err) {
		return ctrl.Result{}, nil // it has changed, which is seen
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// failedAtFirst says whether a Certificate of ours was never issued, by an authority of ours, because that failed. One that
// remembers lost certificates was issued before.
func failedAtFirst(c *certmanager.Certificate) bool {
	by := c.Spec.IssuerRef
	ours := c.Labels[apply.ManagedByLabel] == apply.ManagedBy && (by.Group == "" || by.Group == certmanager.SchemeGroupVersion.Group) &&
		(by.Kind == "" || by.Kind == certmanager.IssuerKind) && (by.Name == SelfSigned || IsPrivate(by.Name) || IsSystem(by.Name))
	return ours && c.DeletionTimestamp == nil && c.Status.Revision == nil && c.Status.LastFailureTime != nil && c.Annotations[annotationCertificates] == ""
}

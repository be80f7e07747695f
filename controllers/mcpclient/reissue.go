package mcpclient

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/authority"
)

// reissue finds out whether gates trust the client's certificate, and has cert-manager issue it again when it is from an
// authority that is not known any more: cert-manager does not look at who vouches for what it has issued. A certificate that the
// same authority has issued just now would come back as it is.
func (r *Reconciler) reissue(ctx context.Context, in *input, cred *credential, secret *corev1.Secret, from authority.Issuing) error {
	leaf := authority.Leaf(secret.Data[corev1.TLSCertKey])
	vouched := func(reader client.Reader) (bool, error) {
		bundle, err := authority.Bundle(ctx, reader, in.client.Namespace, true)
		return err != nil || authority.Vouches(bundle, leaf), err
	}
	if leaf == nil {
		return nil
	}
	if known, err := vouched(r.Client); err != nil || known {
		return err
	}
	cred.certificate = certificateDistrusted
	if from.Longest == 0 || in.now.Sub(leaf.NotBefore) < foreignRetry {
		return nil
	}
	// Nothing is deleted because of what a cache says.
	if known, err := vouched(r.Live); err != nil || known {
		return err
	}
	if err := r.delete(ctx, secret); err != nil {
		if apierrors.IsConflict(err) {
			return nil // it has changed since
		}
		return err
	}
	r.Recorder.Eventf(in.client, nil, corev1.EventTypeWarning, reasonNotTrusted, "Reissue", "the certificate in Secret %s is from no authority of this namespace: the Secret is deleted, and cert-manager issues it again", secret.Name)
	return nil
}

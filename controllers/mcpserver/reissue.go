package mcpserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
)

// distrusted says that nobody who reads the server's bundle trusts its certificate, because it is from an authority that is not
// known any more. Of an issuer that the spec brings it is not known what vouches for it.
func distrusted(o *observed) bool {
	leaf := leaf(o.certificateSecret)
	return leaf != nil && !ownIssuer(o.server) && !authority.Vouches(o.caBundle, leaf)
}

// reissue has cert-manager issue a certificate again that callers refuse: it does not look at who vouches for what it has
// issued. A certificate that the same authority has issued just now would come back as it is.
func (r *Reconciler) reissue(ctx context.Context, o *observed) error {
	if !distrusted(o) || o.authority.Longest == 0 || o.now.Sub(leaf(o.certificateSecret).NotBefore) < r.Settings.Retry {
		return nil
	}
	// Nothing is deleted because of what a cache says.
	secret, err := get(ctx, r.Live, o.server.Namespace, manifests.CertificateName(o.server.Name), &corev1.Secret{})
	if err != nil || secret == nil || secret.UID != o.certificateSecret.UID || secret.ResourceVersion != o.certificateSecret.ResourceVersion {
		return err
	}
	bundle, err := authority.Bundle(ctx, r.Live, o.server.Namespace, o.certManager)
	if err != nil || bundle == "" || authority.Vouches(bundle, leaf(secret)) {
		return err
	}
	err = r.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	r.Events.Eventf(o.server, nil, corev1.EventTypeWarning, reasonNotTrusted, "Reissue", "the certificate in Secret %s is from no authority of this namespace: the Secret is deleted, and cert-manager issues it again", secret.Name)
	return nil
}

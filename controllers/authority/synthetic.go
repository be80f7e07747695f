package authority

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// SyntheticKeys are the keys that the operator shows to the gates of a server, and signs tokens for them with; nil for a server that takes
// neither, and while there is no authority. They follow from the private key of the newest authority that vouches for the operator: whoever has that can be the
// operator anyway. Another authority is the beginning of other keys.
func SyntheticKeys(ctx context.Context, reader client.Reader, operatorNamespace string, server *v1alpha1.MCPServer) (*keys.Series, error) {
	if !access.TakesKeys(server) && len(access.Tokens(server)) == 0 {
		return nil, nil
	}
	all, err := system.certificates(ctx, reader, operatorNamespace, false)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	newest := all[len(all)-1]
	secret := &corev1.Secret{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: system.name(newest.generation)}, secret); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if len(secret.Data[corev1.TLSPrivateKeyKey]) == 0 {
		return nil, nil
	}
	s := &keys.Series{Secret: secret.Data[corev1.TLSPrivateKeyKey], Name: string(server.UID), Since: server.CreationTimestamp.UTC()}
	if begins := newest.certificate.NotBefore; begins.After(s.Since) {
		s.Since = begins.UTC().Truncate(time.Second)
	}
	return s, nil
}

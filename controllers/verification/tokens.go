package verification

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// tokenAccount is the ServiceAccount, in the operator's namespace, of which the operator has the cluster make tokens to attack with.
// It has no rights, and no pod runs as it. The right to have them made is in config/rbac/operator/verification_role.yaml.
const tokenAccount = "bartizan-verification"

const (
	// tokenLife is how long a token lives: the cluster makes none for less.
	tokenLife = 10 * time.Minute
	// tokenOver is how long after its end no gate may accept a token, whose clock may be another.
	tokenOver = 2 * time.Minute
)

// issued is what is remembered of tokens that the cluster made: one that grows old, for as long as that takes, and one that did.
type issued struct {
	audience, aging, expired string
	ends                     time.Time
}

// ofCluster has the cluster make tokens to attack with, where the server takes such: for its audience and for another, and one that was
// good for the audience once. There are none while the operator may not have any made.
func (r *Reconciler) ofCluster(ctx context.Context, o *observed) *probe.Token {
	for _, issuer := range access.Tokens(o.server) {
		if issuer.Type != v1alpha1.TokenIssuerKubernetes || issuer.Kubernetes == nil {
			continue
		}
		made, err := r.tokens(ctx, o, issuer.Name, issuer.Kubernetes.Audiences[0])
		if err != nil {
			logf.FromContext(ctx).Info("the cluster makes no tokens to attack with; see the Role bartizan-verification-role", "error", err.Error())
		}
		return made
	}
	return nil
}

func (r *Reconciler) tokens(ctx context.Context, o *observed, issuer, audience string) (*probe.Token, error) {
	token := &probe.Token{Issuer: issuer}
	var err error
	if token.Good, err = r.requestToken(ctx, audience); err != nil {
		return nil, err
	}
	if token.Elsewhere, err = r.requestToken(ctx, "bartizan-verification-"+strings.ToLower(rand.Text())); err != nil {
		return nil, err
	}
	server := client.ObjectKeyFromObject(o.server)
	known, _ := r.issued.last(server)
	switch {
	case known.audience != audience:
		known = issued{audience: audience, aging: token.Good, ends: o.now.Add(tokenLife)}
	case o.now.After(known.ends.Add(tokenOver)):
		known.expired, known.aging, known.ends = known.aging, token.Good, o.now.Add(tokenLife)
	}
	r.issued.remember(server, known)
	token.Expired = known.expired
	return token, nil
}

func (r *Reconciler) requestToken(ctx context.Context, audience string) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.Settings.Namespace, Name: tokenAccount}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{audience}, ExpirationSeconds: ptr.To(int64(tokenLife / time.Second)),
	}}
	if err := r.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("request a token of ServiceAccount %s/%s: %w", account.Namespace, account.Name, err)
	}
	return request.Status.Token, nil
}

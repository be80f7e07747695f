package mcpclient

import (
	"context"
	"maps"
	"slices"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/floor"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// input is everything that one reconcile looks at.
type input struct {
	client *v1alpha1.MCPClient
	grants []access.Grant
	// granted are the servers that grant the client anything, by their namespace.
	granted map[string][]server
	// lingering is what is kept, although no server of the namespace grants the client anything at the moment: the credentials
	// as the status records them, by the namespace of the servers.
	lingering map[string]v1alpha1.ClientCredential
	// floor is what the security profiles of the client's namespace ask for.
	floor profile.Floor
	// next is when the grants change by the clock alone; zero when they do not.
	next time.Time
	now  time.Time
}

// namespaces are the namespaces of servers for which the client has credentials.
func (in *input) namespaces() []string { return slices.Sorted(maps.Keys(in.granted)) }

// gather reads what the client is granted.
func (r *Reconciler) gather(ctx context.Context, c *v1alpha1.MCPClient) (*input, error) {
	in := &input{client: c, granted: map[string][]server{}, lingering: map[string]v1alpha1.ClientCredential{}, now: r.now()}
	var servers []v1alpha1.MCPServer
	var policies []v1alpha1.MCPAccessPolicy
	seen := map[string]bool{}
	for _, ref := range c.Spec.Servers {
		if !r.watched(ref.Namespace) {
			continue
		}
		s := v1alpha1.MCPServer{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &s)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
		if seen[ref.Namespace] {
			continue
		}
		seen[ref.Namespace] = true
		list := v1alpha1.MCPAccessPolicyList{}
		if err := r.Client.List(ctx, &list, client.InNamespace(ref.Namespace)); err != nil {
			return nil, err
		}
		policies = append(policies, list.Items...)
	}
	var err error
	if in.floor, err = floor.Of(ctx, r.Client, c.Namespace); err != nil {
		return nil, err
	}
	in.grants, in.next = access.Granted(c, servers, policies, in.now)
	for _, g := range in.grants {
		if g.State != v1alpha1.ServerGranted {
			continue
		}
		bundle, err := r.caBundle(ctx, g.Server)
		if err != nil {
			return nil, err
		}
		if may, err := r.mayHave(ctx, in, g.Namespace); err != nil || !may {
			if err != nil {
				return nil, err
			}
			continue
		}
		in.granted[g.Namespace] = append(in.granted[g.Namespace], server{Name: g.Name, URL: manifests.URL(g.Server), CABundle: bundle})
	}
	in.linger()
	return in, nil
}

// mayHave says whether the client may have credentials for the servers of a namespace. One that is below a security profile keeps
// those that it has, which go on being rotated, and gets no others.
func (r *Reconciler) mayHave(ctx context.Context, in *input, servers string) (bool, error) {
	if len(in.floor.Client(in.client)) == 0 ||
		slices.ContainsFunc(in.client.Status.Credentials, func(c v1alpha1.ClientCredential) bool { return c.Namespace == servers }) {
		return true, nil
	}
	secret := corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: in.client.Namespace, Name: SecretName(in.client.Name, servers)}, &secret)
	return err == nil && ownedBy(&secret, in.client), client.IgnoreNotFound(err)
}

// lingers is how long credentials are kept after the last grant for them: a policy or a server that is made anew shall not cost
// the client its key. No gate accepts it meanwhile.
const lingers = 10 * time.Minute

// linger finds what is kept. A client that does not name any server of the namespace any more keeps nothing.
func (in *input) linger() {
	for _, before := range in.client.Status.Credentials {
		_, granted := in.granted[before.Namespace]
		if granted || !slices.ContainsFunc(in.client.Spec.Servers, func(s v1alpha1.ServerRef) bool { return s.Namespace == before.Namespace }) {
			continue
		}
		kept := *before.DeepCopy()
		kept.NextRotation = nil
		if kept.UngrantedSince == nil {
			kept.UngrantedSince = &metav1.Time{Time: in.now.UTC().Truncate(time.Second)}
		}
		if end := kept.UngrantedSince.Add(lingers); in.now.Before(end) {
			in.lingering[kept.Namespace] = kept
			if in.next.IsZero() || end.Before(in.next) {
				in.next = end
			}
		}
	}
}

// watched says whether the operator sees a namespace at all.
func (r *Reconciler) watched(namespace string) bool {
	return len(r.WatchNamespaces) == 0 || slices.Contains(r.WatchNamespaces, namespace)
}

// caBundle is what vouches for a server, empty while nothing does. A ConfigMap that is not the server's own says nothing.
func (r *Reconciler) caBundle(ctx context.Context, s *v1alpha1.MCPServer) (string, error) {
	m := corev1.ConfigMap{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: manifests.CABundleName(s.Name)}, &m)
	if err != nil || !metav1.IsControlledBy(&m, s) {
		return "", client.IgnoreNotFound(err)
	}
	return manifests.MergeBundles(m.Data[manifests.CABundleKey]), nil
}

// find reads an object from the cache and, where the cache does not hold it, from the API server: what does not carry our
// labels is hidden from the cache. It returns false when there is none.
func (r *Reconciler) find(ctx context.Context, key client.ObjectKey, object client.Object) (bool, error) {
	err := r.Client.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, key, object)
	}
	return err == nil, client.IgnoreNotFound(err)
}

// issued says whether the Certificate is ready and its Secret there.
func (r *Reconciler) issued(ctx context.Context, c *v1alpha1.MCPClient, servers string) (bool, error) {
	certificate := certmanager.Certificate{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: CertificateName(c.Name, servers)}, &certificate)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	for _, condition := range certificate.Status.Conditions {
		if condition.Type == certmanager.CertificateConditionReady && condition.Status == "True" {
			secret := corev1.Secret{}
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: CertificateSecretName(c.Name, servers)}, &secret)
			return err == nil && len(secret.Data[corev1.TLSCertKey]) > 0, client.IgnoreNotFound(err)
		}
	}
	return false, nil
}

package authority

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
)

// +kubebuilder:rbac:groups="",resources=pods;configmaps,verbs=get;list;watch

// clientSecrets are the labels of the Secrets that clients read for the servers of a namespace.
func clientSecrets(servers string) client.MatchingLabels {
	return client.MatchingLabels{apply.ManagedByLabel: apply.ManagedBy, apply.NameLabel: "mcpclient", "bartizan.dev/servers-namespace": servers}
}

// distrusting are those who verify certificates of the namespace and do not trust a generation yet, as what people read.
// Where a bundle does not even have the authority in force, nobody there verifies anything by this family.
func (r *Reconciler) distrusting(ctx context.Context, x *found, namespace string, force, next int) ([]string, error) {
	old, new := x.certificate(force), x.certificate(next)
	if new == nil || new.certificate == nil {
		return nil, nil
	}
	var waits []string
	lacks := func(what string, bundle []byte) bool {
		if len(bundle) == 0 || contains(bundle, new.certificate) || old != nil && !contains(bundle, old.all()...) {
			return false
		}
		waits = append(waits, what)
		return true
	}
	if x.family == private {
		if err := r.bundles(ctx, namespace, lacks); err != nil {
			return nil, err
		}
	}
	servers, err := r.verifiers(ctx, x.family, namespace)
	if err != nil {
		return nil, err
	}
	for i := range servers {
		s := &servers[i]
		config, err := r.configuration(ctx, s)
		if err != nil {
			return nil, err
		}
		bundle := config.Status.Authority
		if x.family == private {
			bundle = config.Authorities[namespace]
		}
		if bundle == "" || lacks(fmt.Sprintf("the configuration of MCPServer %s/%s", s.Namespace, s.Name), []byte(bundle)) {
			continue
		}
		// Of a configuration that changes all the time, as while keys are replaced, no gate may ever be seen to have the newest.
		silent, err := r.disagreeing(ctx, s, func(status gatestatus.Status) bool {
			trusts := status.Authorities[namespace]
			if x.family == system {
				trusts = status.SystemAuthority
			}
			return trusts == gatestatus.Digest(bundle) || status.Generation == config.Generation
		})
		if err != nil {
			return nil, err
		}
		waits = append(waits, silent...)
	}
	return waits, nil
}

// bundles shows the bundles that vouch for the servers of a namespace, and those that clients got from them.
func (r *Reconciler) bundles(ctx context.Context, namespace string, lacks func(string, []byte) bool) error {
	servers, err := r.servers(ctx, namespace)
	if err != nil {
		return err
	}
	for i := range servers {
		key := client.ObjectKey{Namespace: namespace, Name: manifests.CABundleName(servers[i].Name)}
		bundle := &corev1.ConfigMap{}
		if err := r.Client.Get(ctx, key, bundle); client.IgnoreNotFound(err) != nil {
			return err
		}
		lacks("ConfigMap "+key.String(), []byte(bundle.Data[manifests.CABundleKey]))
	}
	secrets := &corev1.SecretList{}
	if err := r.Client.List(ctx, secrets, clientSecrets(namespace)); err != nil {
		return err
	}
	for i := range secrets.Items {
		// cert-manager's own have the authority that issued them.
		if s := &secrets.Items[i]; s.Annotations[certmanager.CertificateNameKey] == "" {
			lacks("Secret "+client.ObjectKeyFromObject(s).String(), s.Data[manifests.CABundleKey])
		}
	}
	return nil
}

// servers are those of a namespace; of all for the empty one.
func (r *Reconciler) servers(ctx context.Context, namespace string) ([]v1alpha1.MCPServer, error) {
	servers := &v1alpha1.MCPServerList{}
	err := r.Client.List(ctx, servers, client.InNamespace(namespace))
	return servers.Items, err
}

// verifiers are the servers whose gates verify certificates of the namespace: those that its clients name, and all for the
// operator's.
func (r *Reconciler) verifiers(ctx context.Context, f family, namespace string) ([]v1alpha1.MCPServer, error) {
	if f == system {
		all, err := r.servers(ctx, "")
		return slices.DeleteFunc(all, func(s v1alpha1.MCPServer) bool { return !r.watched(s.Namespace) }), err
	}
	clients := &v1alpha1.MCPClientList{}
	if err := r.Client.List(ctx, clients, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	named := map[client.ObjectKey]bool{}
	var servers []v1alpha1.MCPServer
	for i := range clients.Items {
		for _, ref := range clients.Items[i].Spec.Servers {
			key := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
			if named[key] || !r.watched(ref.Namespace) {
				continue
			}
			named[key] = true
			s := &v1alpha1.MCPServer{}
			if err := r.Client.Get(ctx, key, s); err == nil {
				servers = append(servers, *s)
			} else if client.IgnoreNotFound(err) != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(servers, func(a, b v1alpha1.MCPServer) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return servers, nil
}

// watched says whether the caches hold a namespace.
func (r *Reconciler) watched(namespace string) bool {
	return len(r.WatchNamespaces) == 0 || slices.Contains(r.WatchNamespaces, namespace)
}

// configuration is what the gates of a server begin with; empty while there is none.
func (r *Reconciler) configuration(ctx context.Context, s *v1alpha1.MCPServer) (gateconfig.Config, error) {
	secret := &corev1.Secret{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: manifests.GateSecretName(s.Name)}, secret); err != nil {
		return gateconfig.Config{}, client.IgnoreNotFound(err)
	}
	config, err := gateconfig.Parse(secret.Data[gateconfig.ConfigFile])
	if err != nil {
		return gateconfig.Config{}, nil // no gate obeys it, and its server's controller mends it
	}
	return config, nil
}

// disagreeing are the gates of a server that count and do not answer as they should, as what people read.
func (r *Reconciler) disagreeing(ctx context.Context, s *v1alpha1.MCPServer, agrees func(gatestatus.Status) bool) ([]string, error) {
	bundle := &corev1.ConfigMap{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: manifests.CABundleName(s.Name)}, bundle); client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	voices, err := r.ear.Hear(ctx, r.Live, r.Gates, []gates.Server{{MCPServer: s, Bundle: bundle.Data[manifests.CABundleKey]}}, r.now())
	var all []string
	for _, v := range voices {
		switch {
		case v.Err != nil:
			all = append(all, v.Name()+", whose gate does not answer")
		case !agrees(v.Status):
			all = append(all, v.Name())
		}
	}
	return all, err
}

// users are who still uses a generation, as what people read: certificates that are asked for from it, delivered ones that it
// issued, and gates that serve another certificate than the delivered one, unless it is of another authority.
func (r *Reconciler) users(ctx context.Context, x *found, namespace string, generation int) ([]string, error) {
	certificates := &certmanager.CertificateList{}
	if err := r.Client.List(ctx, certificates, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	old := x.certificate(generation)
	delivered := map[string]string{} // serial numbers by Secret
	var users []string
	for i := range certificates.Items {
		c := &certificates.Items[i]
		if x.family.generation(c.Spec.IssuerRef.Name) == 0 {
			continue
		}
		if c.Spec.IssuerRef.Name == x.family.name(generation) {
			users = append(users, "Certificate "+namespace+"/"+c.Name)
			continue
		}
		secret := &corev1.Secret{}
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: c.Spec.SecretName}, secret); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		leaf := Leaf(secret.Data[corev1.TLSCertKey])
		if leaf == nil {
			continue
		}
		if old != nil && old.signed(leaf) && r.now().Before(leaf.NotAfter) {
			users = append(users, "Secret "+namespace+"/"+c.Spec.SecretName)
			continue
		}
		delivered[c.Spec.SecretName] = leaf.SerialNumber.Text(16)
	}
	if x.family == system || len(users) > 0 {
		return users, nil
	}
	servers, err := r.servers(ctx, namespace)
	if err != nil {
		return nil, err
	}
	for i := range servers {
		serial := delivered[manifests.CertificateName(servers[i].Name)]
		if serial == "" {
			continue
		}
		serving, err := r.disagreeing(ctx, &servers[i], func(status gatestatus.Status) bool {
			return status.CertificateSerial == serial || old.others(status.CertificateAuthority)
		})
		if err != nil {
			return nil, err
		}
		users = append(users, serving...)
	}
	return users, nil
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// authorityOverlap is how long everybody has to read a new authority: longer than a kubelet takes to update a mounted file.
const authorityOverlap = 150 * time.Second

// authorityArgument is the operator's argument that says it.
const authorityArgument = "--authority-overlap="

// hurryAuthorities has the operator follow authorities within minutes, and not within days, until the returned function is called.
func (c *cluster) hurryAuthorities(t *testing.T) (restore func()) {
	t.Helper()
	c.argue(t, authorityArgument+authorityOverlap.String())
	return func() { c.argue(t, "") }
}

// argue gives the operator an argument about authorities, or takes it away, and waits until the operator that has been told leads.
func (c *cluster) argue(t *testing.T, argument string) {
	t.Helper()
	before, err := c.leader(t.Context())
	must(t, err)
	told := false
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: operatorDeployment}}
	change(t, c, deployment, func(d *appsv1.Deployment) {
		manager := &d.Spec.Template.Spec.Containers[0]
		args := slices.DeleteFunc(slices.Clone(manager.Args), func(a string) bool { return strings.HasPrefix(a, authorityArgument) })
		if argument != "" {
			args = append(args, argument)
		}
		told = slices.Equal(args, manager.Args)
		manager.Args = args
	})
	if !told {
		c.leads(t, before)
	}
}

// rollOver asks for other authorities of the namespaces of the servers and of the clients, by a time in the spec of one
// of each. The returned function waits until they are the only ones.
func (f *fleet) rollOver(t *testing.T) (followed func()) {
	t.Helper()
	begun := time.Now()
	asked := metav1.NewTime(begun.UTC().Truncate(time.Second))
	change(t, f.cluster, f.servers[0], func(s *v1alpha1.MCPServer) {
		if s.Spec.TLS == nil {
			s.Spec.TLS = &v1alpha1.TLS{}
		}
		s.Spec.TLS.RotateAuthorityAfter = &asked
	})
	change(t, f.cluster, f.clients[0], func(c *v1alpha1.MCPClient) { c.Spec.Certificate.RotateAuthorityAfter = &asked })
	return func() {
		t.Helper()
		eventually(t, "other authorities have followed, and the old ones are gone", 20*time.Minute, func(ctx context.Context) error {
			return errors.Join(f.onlyAuthority(ctx, f.tools, 2), f.onlyAuthority(ctx, f.callers, 2))
		})
		t.Logf("%d rotations after it was asked for, other authorities vouch for all servers and clients: %s with twice an overlap of %s",
			f.ledger.rotations(f.clients), time.Since(begun).Round(time.Second), authorityOverlap)
		f.ofAuthority(t, 2)
	}
}

// onlyAuthority says what keeps an authority from being the only one of a namespace.
func (f *fleet) onlyAuthority(ctx context.Context, namespace string, generation int) error {
	name, before := fmt.Sprintf("bartizan-ca-%d", generation), fmt.Sprintf("bartizan-ca-%d", generation-1)
	for _, kind := range []client.Object{&cmapi.Issuer{}, &cmapi.Certificate{}, &corev1.Secret{}} {
		if err := f.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, kind); err != nil {
			return err
		}
		if err := f.Get(ctx, client.ObjectKey{Namespace: namespace, Name: before}, kind); !apierrors.IsNotFound(err) {
			return errors.Join(err, fmt.Errorf("%T %s/%s is there, %q", kind, namespace, before, kind.GetAnnotations()["bartizan.dev/rollover"]))
		}
	}
	return nil
}

// ofAuthority fails the test when a certificate is from another authority.
func (f *fleet) ofAuthority(t *testing.T, generation int) {
	t.Helper()
	want, seen := fmt.Sprintf("bartizan-ca-%d", generation), 0
	for _, namespace := range []string{f.tools, f.callers} {
		var secrets corev1.SecretList
		must(t, f.List(t.Context(), &secrets, client.InNamespace(namespace)))
		for _, secret := range secrets.Items {
			if secret.Annotations[cmapi.CertificateNameKey] == "" || strings.HasPrefix(secret.Name, "bartizan-ca-") {
				continue
			}
			seen++
			if issuer := secret.Annotations[cmapi.IssuerNameAnnotationKey]; issuer != want {
				t.Errorf("Secret %s/%s has a certificate of %s, want %s", namespace, secret.Name, issuer, want)
			}
		}
	}
	if want := len(f.servers) + len(f.clients); seen != want {
		t.Errorf("%d Secrets have certificates, want %d", seen, want)
	}
}

// authoritiesLost deletes the Secrets of the authorities of both namespaces, whereupon cert-manager makes others under their
// names. Those that follow are waited for in the long run only: everybody gets time to read their certificates, twice.
func (f *fleet) authoritiesLost(t *testing.T, long bool) {
	begun := time.Now()
	for _, namespace := range []string{f.tools, f.callers} {
		must(t, f.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bartizan-ca-1"}}))
	}
	for _, server := range f.servers {
		becomes(t, f.cluster, server, ofServer, v1alpha1.ConditionCertificatesReady, metav1.ConditionTrue, "Secret "+f.tools+"/bartizan-ca-1")
	}
	eventually(t, "callers and gates are told of the lost authority, of that in its place, and of the next", 3*time.Minute, func(ctx context.Context) error {
		for _, made := range f.clients {
			secret := &corev1.Secret{}
			if err := f.Get(ctx, client.ObjectKey{Namespace: f.callers, Name: made.Name + "." + f.tools}, secret); err != nil {
				return err
			}
			if n := strings.Count(string(secret.Data["ca.crt"]), "BEGIN CERTIFICATE"); n != 3 {
				return fmt.Errorf("the bundle of %s has %d certificates", made.Name, n)
			}
		}
		next := &cmapi.Certificate{}
		if err := f.Get(ctx, client.ObjectKey{Namespace: f.callers, Name: "bartizan-ca-2"}, next); err != nil {
			return err
		}
		if text := next.Annotations["bartizan.dev/rollover"]; !strings.HasPrefix(text, "everybody can trust it") {
			return fmt.Errorf("the authority that follows: %q", text)
		}
		return nil
	})
	f.unharmed(t, "authorities were lost")
	// What is issued meanwhile is from the authority that has the lost one's name. Gates show it in some minutes, while other
	// things are tried.
	f.renewCertificates(t)
	f.renewed(t)
	f.unharmed(t, "everybody has a certificate of the authority in the lost one's place")
	for _, server := range f.servers {
		f.ready(t, server)
	}
	if !long {
		return
	}
	eventually(t, "other authorities have followed", 20*time.Minute, func(ctx context.Context) error {
		return errors.Join(f.onlyAuthority(ctx, f.tools, 2), f.onlyAuthority(ctx, f.callers, 2))
	})
	f.ofAuthority(t, 2)
	f.unharmed(t, fmt.Sprintf("other authorities have followed, %s after the others were lost", time.Since(begun).Round(time.Second)))
}

// Package mcpclient gives each MCPClient one API key and one client certificate for each namespace of servers that grants it
// anything, and takes them away when nothing there does any more.
package mcpclient

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/authority"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/keys"
)

// Secrets are created and updated, not applied: a key is written only onto the Secret that was read, never over another.
//
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpclients;mcpservers;mcpaccesspolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpclients/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Times to look again where nothing tells.
const (
	// foreignRetry is for an object of somebody else that is in the way, which the cache does not show.
	foreignRetry = 30 * time.Second
	// soon is for what is about to happen, such as an object of ours that is being deleted, or a cache that lags behind.
	soon = time.Second
	// atMost bounds how long a timer runs, so that a wrong clock is noticed.
	atMost = 12 * time.Hour
)

// maxPasses bounds how often one reconcile looks again after a write; the longest way, from a lost Secret to a new key in
// place, takes five.
const maxPasses = 10

// Reconciler keeps the credentials of MCPClients.
type Reconciler struct {
	// Client reads from caches that hold our own Secrets, ConfigMaps and Certificates.
	Client client.Client
	// Live reads from the API server: before a key is made or moved, and objects that our caches do not show.
	Live client.Reader
	// APIs knows whether cert-manager is there.
	APIs *optional.Registry
	// Gates are asked which keys they accept.
	Gates gates.Reader
	// Recorder takes events.
	Recorder events.EventRecorder
	// WatchNamespaces are the namespaces that the caches hold; none means all.
	WatchNamespaces []string
	// Random is the source of keys, crypto/rand.Reader when nil.
	Random io.Reader
	// Clock is the time, time.Now when nil.
	Clock func() time.Time

	applier *apply.Applier
	ear     gates.Ear
	uses    uses
	paces   paces
}

func (r *Reconciler) now() time.Time {
	if r.Clock != nil {
		return r.Clock()
	}
	return time.Now()
}

// newKey makes a key.
func (r *Reconciler) newKey() (keys.Key, error) {
	if r.Random != nil {
		return keys.New(r.Random)
	}
	return keys.New(rand.Reader)
}

// Reconcile brings the credentials of one client to what it is granted. It looks, does one write for each namespace of
// servers, and looks again until nothing is left to do, so that it can be ended anywhere and begin again.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	c := &v1alpha1.MCPClient{}
	if err := r.Client.Get(ctx, request.NamespacedName, c); err != nil {
		if apierrors.IsNotFound(err) {
			r.uses.forget(request.NamespacedName)
			return ctrl.Result{}, r.sweep(ctx, request.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	result, err := r.reconcile(ctx, c)
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		// Somebody was faster, or the cache lags behind: what follows is another look at what is there now.
		logf.FromContext(ctx).V(1).Info("looking again", "because", err.Error())
		return ctrl.Result{RequeueAfter: soon}, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, c *v1alpha1.MCPClient) (ctrl.Result, error) {
	live := false
	for range maxPasses {
		if !c.DeletionTimestamp.IsZero() {
			return ctrl.Result{}, nil // the garbage collector does the rest
		}
		in, err := r.gather(ctx, c)
		if err != nil {
			return ctrl.Result{}, err
		}
		all, err := r.look(ctx, in, live)
		if err != nil {
			return ctrl.Result{}, err
		}
		if !live && anyPending(all) {
			// Never touch a key because of what a cache says.
			live = true
			if err := r.Live.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
				return ctrl.Result{}, client.IgnoreNotFound(err)
			}
			continue
		}
		asked, err := r.askUse(ctx, in, all)
		if err != nil {
			return ctrl.Result{}, err
		}
		acted, err := r.pass(ctx, in, all)
		if err != nil {
			return ctrl.Result{}, err
		}
		if asked {
			r.uses.done(client.ObjectKeyFromObject(c), in.now)
		}
		if !acted {
			return r.again(in, all), nil
		}
		live = true
		c = c.DeepCopy()
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(c), c); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	return ctrl.Result{}, fmt.Errorf("MCPClient %s/%s: its keys do not come to rest", c.Namespace, c.Name)
}

// pass does what one look asks for: everything that is not a key, then the status, which tells gates of a key before anybody
// gets it, then the keys.
func (r *Reconciler) pass(ctx context.Context, in *input, all []*credential) (acted bool, err error) {
	for _, cred := range all {
		if err := r.applyCertificate(ctx, in, cred); err != nil {
			return false, err
		}
		if err := r.applyStores(ctx, in, cred); err != nil {
			return false, err
		}
		if err := r.refresh(ctx, in, cred); err != nil {
			return false, err
		}
	}
	acting := false
	for _, cred := range all {
		acting = acting || cred.step.Action != keys.Nothing
	}
	if !acting || anyRecorded(all) {
		if err := r.writeStatus(ctx, in, all); err != nil {
			return false, err
		}
	}
	if err := r.prune(ctx, in, all); err != nil {
		return false, err
	}
	for _, cred := range all {
		if err := r.act(ctx, in, cred); err != nil {
			return false, err
		}
	}
	return acting, nil
}

// again is when to look again by the clock.
func (r *Reconciler) again(in *input, all []*credential) ctrl.Result {
	var wait time.Duration
	at := func(d time.Duration) {
		if wait == 0 || d < wait {
			wait = min(max(d, soon), atMost)
		}
	}
	if !in.next.IsZero() {
		at(in.next.Sub(in.now))
	}
	if len(all) > 0 && access.UsesKeys(in.client) {
		at(r.uses.next(in.client, in.now).Sub(in.now))
	}
	for _, cred := range all {
		switch {
		case cred.deleting:
			at(soon)
		case cred.conflict != "", cred.store.problem != nil && cred.store.problem.reason == reasonChildConflict, cred.certificate == certificateDistrusted:
			at(foreignRetry)
		}
		if !cred.step.Wake.IsZero() {
			at(cred.step.Wake.Sub(in.now))
		}
		if again := cred.listenAgain(in.now); again > 0 {
			at(again)
		}
	}
	return ctrl.Result{RequeueAfter: wait}
}

// applyCertificate makes the Certificate, unless that would overwrite somebody else's Secret, and becomes an owner of the
// Secret that cert-manager makes of it.
func (r *Reconciler) applyCertificate(ctx context.Context, in *input, cred *credential) error {
	if !access.UsesCertificates(in.client) {
		cred.certificate = certificateNone
		return nil
	}
	if !r.APIs.Served(certmanager.SchemeGroupVersion.Group) {
		cred.certificate = certificateNoAPI
		return nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: in.client.Namespace, Name: CertificateSecretName(in.client.Name, cred.servers)}
	found, err := r.find(ctx, key, secret)
	if err != nil {
		return err
	}
	if found && !certificateSecretIsOurs(secret, in.client, cred.servers) {
		cred.conflict = "Secret " + key.String()
		return nil
	}
	from, err := authority.InForce(ctx, r.Client, in.client.Namespace)
	if err != nil {
		return err
	}
	outcome, err := r.applier.Apply(ctx, certificate(in.client, cred.servers, from))
	if handled, err := cred.handle(err); handled || err != nil {
		return err
	}
	if outcome != apply.Unchanged {
		logf.FromContext(ctx).Info("applied the client certificate", "servers", cred.servers, "outcome", outcome)
	}
	if found {
		if err := r.applier.Adopt(ctx, in.client, secret); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	ready, err := r.issued(ctx, in.client, cred.servers)
	if err != nil || !ready {
		return err
	}
	cred.certificate = certificateIssued
	return r.reissue(ctx, in, cred, secret, from)
}

// certificateSecretIsOurs says whether cert-manager made the Secret from our Certificate, or will.
func certificateSecretIsOurs(secret *corev1.Secret, c *v1alpha1.MCPClient, servers string) bool {
	return ownedBy(secret, c) || secret.Annotations[certmanager.CertificateNameKey] == CertificateName(c.Name, servers)
}

// prune deletes the credentials for namespaces of servers that grant the client nothing any more: first what issues.
func (r *Reconciler) prune(ctx context.Context, in *input, all []*credential) error {
	if err := r.pruneStores(ctx, in); err != nil {
		return err
	}
	labels := client.MatchingLabels{apply.ManagedByLabel: apply.ManagedBy, apply.NameLabel: component, instanceLabel: in.client.Name}
	if r.APIs.Served(certmanager.SchemeGroupVersion.Group) {
		certificates := certmanager.CertificateList{}
		if err := r.Client.List(ctx, &certificates, client.InNamespace(in.client.Namespace), labels); err != nil {
			return err
		}
		for i := range certificates.Items {
			object := &certificates.Items[i]
			if in.keeps(object) || !metav1.IsControlledBy(object, in.client) {
				continue
			}
			if err := r.applier.Delete(ctx, object); err != nil {
				return err
			}
		}
	}
	secrets := corev1.SecretList{}
	if err := r.Client.List(ctx, &secrets, client.InNamespace(in.client.Namespace), labels); err != nil {
		return err
	}
	for i := range secrets.Items {
		object := &secrets.Items[i]
		if in.keeps(object) && !spent(in, all, object) || !ownedBy(object, in.client) && !madeFromCertificate(object, in.client.Name) {
			continue
		}
		if err := r.applier.Delete(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// keeps says whether an object is of a namespace of servers that grants the client something, and of a kind that it has.
func (in *input) keeps(object client.Object) bool {
	servers := object.GetLabels()[ServersLabel]
	_, granted := in.granted[servers]
	if _, kept := in.lingering[servers]; kept {
		granted = true
	}
	if _, certificate := object.(*certmanager.Certificate); certificate || object.GetName() == CertificateSecretName(in.client.Name, servers) {
		granted = granted && access.UsesCertificates(in.client)
	}
	return granted || !object.GetDeletionTimestamp().IsZero()
}

// sweep deletes the certificate Secrets of a client that is gone: those that cert-manager made after the last look have no
// owner, so that nothing else would.
func (r *Reconciler) sweep(ctx context.Context, name client.ObjectKey) error {
	secrets := corev1.SecretList{}
	labels := client.MatchingLabels{apply.ManagedByLabel: apply.ManagedBy, apply.NameLabel: component, instanceLabel: name.Name}
	if err := r.Client.List(ctx, &secrets, client.InNamespace(name.Namespace), labels); err != nil {
		return err
	}
	for i := range secrets.Items {
		object := &secrets.Items[i]
		if len(object.OwnerReferences) > 0 || !object.DeletionTimestamp.IsZero() || !madeFromCertificate(object, name.Name) {
			continue
		}
		if err := r.applier.Delete(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// madeFromCertificate says whether cert-manager made the Secret from a Certificate of the client of this name.
func madeFromCertificate(secret *corev1.Secret, c string) bool {
	servers := secret.Labels[ServersLabel]
	return secret.Name == CertificateSecretName(c, servers) && secret.Annotations[certmanager.CertificateNameKey] == CertificateName(c, servers)
}

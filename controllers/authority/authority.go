// Package authority keeps the private certificate authorities: one in each namespace that has an MCPServer or an MCPClient,
// and the system's in the operator's namespace, which vouches for the operator towards gates.
package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
)

// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers;mcpclients,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates;issuers,verbs=get;list;watch;patch;create;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;delete

// foreignRetry is how long to wait before looking again at an object of somebody else that is in the way: the cache does not
// show such objects, so nothing tells when it goes.
const foreignRetry = 30 * time.Second

// Reconciler keeps the authorities of one namespace at a time; a request's name is that of the namespace.
type Reconciler struct {
	// Client reads from caches that hold our own Secrets and Certificates.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// APIs knows whether cert-manager is there.
	APIs *optional.Registry
	// Namespace is the operator's.
	Namespace string

	applier *apply.Applier
}

// Reconcile makes the authorities of a namespace while it has a user, and removes them after the last one has gone.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	if !r.APIs.Served(certmanager.SchemeGroupVersion.Group) {
		return ctrl.Result{}, nil
	}
	namespace := request.Name
	used, err := r.used(ctx, namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	wanted := objects(namespace, used, namespace == r.Namespace)
	err = r.apply(ctx, wanted)
	var conflict *apply.ConflictError
	var deleting *apply.DeletingError
	switch {
	case errors.As(err, &conflict):
		logf.FromContext(ctx).Error(err, "the namespace has no authority until this object is renamed or deleted")
		return ctrl.Result{RequeueAfter: foreignRetry}, nil
	case errors.As(err, &deleting):
		return ctrl.Result{}, nil // the watch tells when it is gone
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.prune(ctx, namespace, wanted)
}

func (r *Reconciler) used(ctx context.Context, namespace string) (bool, error) {
	servers, clients := &v1alpha1.MCPServerList{}, &v1alpha1.MCPClientList{}
	for _, list := range []client.ObjectList{servers, clients} {
		if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.Limit(1)); err != nil {
			return false, err
		}
	}
	return len(servers.Items)+len(clients.Items) > 0, nil
}

func (r *Reconciler) apply(ctx context.Context, wanted []apply.Configuration) error {
	for _, object := range wanted {
		if *object.GetKind() == certmanager.CertificateKind {
			if err := r.secretIsFree(ctx, *object.GetNamespace(), *object.GetName()); err != nil {
				return err
			}
		}
		if _, err := r.applier.Apply(ctx, object); err != nil {
			return fmt.Errorf("apply %s %s/%s: %w", *object.GetKind(), *object.GetNamespace(), *object.GetName(), err)
		}
	}
	return nil
}

// secretIsFree returns a *apply.ConflictError when a Secret of somebody else has the name: cert-manager would replace its
// content.
func (r *Reconciler) secretIsFree(ctx context.Context, namespace, name string) error {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	secret := &corev1.Secret{}
	if err := r.Client.Get(ctx, key, secret); !apierrors.IsNotFound(err) {
		return err
	}
	if err := r.Live.Get(ctx, key, secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if secret.Annotations[certmanager.CertificateNameKey] == name {
		return nil
	}
	return &apply.ConflictError{Object: "Secret " + key.String()}
}

// prune deletes what no authority needs: first what issues, then the Secrets, which would come back otherwise.
func (r *Reconciler) prune(ctx context.Context, namespace string, wanted []apply.Configuration) error {
	keep := map[apply.Reference]bool{}
	for _, object := range wanted {
		reference := apply.ReferenceTo(object)
		keep[reference] = true
		if reference.Kind == certmanager.CertificateKind {
			keep[apply.Reference{Kind: "Secret", Name: reference.Name}] = true
		}
	}
	certificates, issuers, secrets := &certmanager.CertificateList{}, &certmanager.IssuerList{}, &corev1.SecretList{}
	for _, list := range []client.ObjectList{certificates, issuers, secrets} {
		if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels(objectLabels())); err != nil {
			return err
		}
	}
	remove := func(kind string, object client.Object) error {
		if keep[apply.Reference{Kind: kind, Name: object.GetName()}] || object.GetDeletionTimestamp() != nil {
			return nil
		}
		return r.applier.Delete(ctx, object)
	}
	var failed []error
	for i := range certificates.Items {
		failed = append(failed, remove(certmanager.CertificateKind, &certificates.Items[i]))
	}
	for i := range issuers.Items {
		failed = append(failed, remove(certmanager.IssuerKind, &issuers.Items[i]))
	}
	for i := range secrets.Items {
		failed = append(failed, remove("Secret", &secrets.Items[i]))
	}
	return errors.Join(failed...)
}

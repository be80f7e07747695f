// Package authority keeps the private certificate authorities: one in each namespace that has an MCPServer or an MCPClient,
// and the system's in the operator's namespace, which vouches for the operator towards gates. Each is followed by another in
// time, see package rollover: how far that is follows from the objects that are there.
package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/rollover"
)

// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers;mcpclients,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates;issuers,verbs=get;list;watch;patch;create;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// foreignRetry is how long to wait before looking again at an object of somebody else that is in the way: the cache does not
// show such objects, so nothing tells when it goes.
const foreignRetry = 30 * time.Second

// atMost bounds how long a timer runs, so that a wrong clock is noticed.
const atMost = 12 * time.Hour

// Reconciler keeps the authorities of one namespace at a time; a request's name is that of the namespace.
type Reconciler struct {
	// Client reads from caches that hold our own Secrets and Certificates.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// APIs knows whether cert-manager is there.
	APIs *optional.Registry
	// Gates are asked what they run and serve.
	Gates gates.Reader
	// Recorder takes events about the authorities' Certificates.
	Recorder events.EventRecorder
	// Namespace is the operator's.
	Namespace string
	// WatchNamespaces are the namespaces that the caches hold; none means all.
	WatchNamespaces []string
	// Monitored says that monitoring gets a certificate with which it may read the gates' metrics.
	Monitored bool
	// Schedule says how long authorities live.
	rollover.Schedule
	// RotateAfter asks for others in place of all authorities that were made before; zero for none.
	RotateAfter time.Time
	// Clock is the time, time.Now when nil.
	Clock func() time.Time

	applier *apply.Applier
	ear     gates.Ear
}

func (r *Reconciler) now() time.Time {
	if r.Clock != nil {
		return r.Clock()
	}
	return time.Now()
}

// Reconcile keeps the authorities of a namespace while it has a user, one step at a time, and removes them after the last
// user has gone.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	if !r.APIs.Served(certmanager.SchemeGroupVersion.Group) {
		return ctrl.Result{}, nil
	}
	namespace := request.Name
	used, err := r.used(ctx, namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	var lines []line
	var all []*found
	for _, f := range []family{private, system} {
		if f == private && !used || f == system && namespace != r.Namespace {
			continue
		}
		x, err := r.decide(ctx, f, namespace)
		if err != nil {
			return ctrl.Result{}, err
		}
		x.follow()
		x.line.monitored = r.Monitored
		lines, all = append(lines, x.line), append(all, x)
	}
	err = r.apply(ctx, objects(namespace, lines))
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
	if err := r.prune(ctx, namespace, all); err != nil {
		return ctrl.Result{}, err
	}
	r.tell(namespace, all)
	measure(namespace, all)
	return ctrl.Result{RequeueAfter: r.again(all)}, nil
}

// decide says what a family needs next. What cannot be taken back is decided by what the API server says, not by a cache.
func (r *Reconciler) decide(ctx context.Context, f family, namespace string) (*found, error) {
	x, err := r.judge(ctx, r.Client, f, namespace)
	if err != nil || len(x.generations) < 2 || x.step.Action != rollover.Issue && x.step.Action != rollover.Remove {
		return x, err
	}
	return r.judge(ctx, r.Live, f, namespace)
}

func (r *Reconciler) judge(ctx context.Context, reader client.Reader, f family, namespace string) (*found, error) {
	x, err := r.look(ctx, reader, f, namespace)
	if err != nil {
		return nil, err
	}
	all := x.facts.Authorities
	force, last := rollover.InForce(all), len(all)-1
	switch {
	case force >= 0 && force < last:
		x.waits, err = r.distrusting(ctx, x, namespace, all[force].Generation, all[last].Generation)
		all[last].Trusted = len(x.waits) == 0
	case force > 0:
		x.waits, err = r.users(ctx, x, namespace, all[0].Generation)
		all[0].Used = len(x.waits) > 0
	}
	if err != nil {
		return nil, err
	}
	var next time.Time
	if x.facts.RotateAfter, next, err = r.rotateAfter(ctx, f, namespace, x.facts.Now); err != nil {
		return nil, err
	}
	x.step = rollover.Next(x.facts, r.Schedule)
	if !next.IsZero() && (x.step.Wake.IsZero() || next.Before(x.step.Wake)) {
		x.step.Wake = next
	}
	x.schedule = r.Schedule
	return x, nil
}

// again is when to look again by the clock.
func (r *Reconciler) again(all []*found) time.Duration {
	var wait time.Duration
	at := func(d time.Duration) {
		if d = min(max(d, time.Second), atMost); wait == 0 || d < wait {
			wait = d
		}
	}
	for _, x := range all {
		if !x.step.Wake.IsZero() {
			at(x.step.Wake.Sub(x.facts.Now))
		}
		if len(x.waits) > 0 {
			// Nothing tells when a gate has come so far. The longer it takes, the rarer the questions.
			at(min(x.facts.Now.Sub(x.began())/4, foreignRetry))
		}
	}
	return wait
}

// used says whether a namespace has anybody who needs its authority. The operator's own may be none of those that it looks after: then
// whatever is there is not its business, and no cache holds it.
func (r *Reconciler) used(ctx context.Context, namespace string) (bool, error) {
	if !r.watched(namespace) {
		return false, nil
	}
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

// prune deletes what no authority needs: first what issues, then the Secrets, which would come back otherwise. Generations
// that a decision did not know of are left alone.
func (r *Reconciler) prune(ctx context.Context, namespace string, all []*found) error {
	goes := func(name string) bool {
		switch name {
		case SelfSigned:
			return len(all) == 0
		case MonitoringCertificate:
			if !r.Monitored {
				return true
			}
			fallthrough
		case OperatorCertificate:
			return !slices.ContainsFunc(all, func(x *found) bool { return x.family == system })
		}
		for _, x := range all {
			if n := x.family.generation(name); n > 0 {
				return x.gone(n)
			}
		}
		return r.watched(namespace) // else it is for servers of another operator
	}
	certificates, issuers, secrets := &certmanager.CertificateList{}, &certmanager.IssuerList{}, &corev1.SecretList{}
	for _, list := range []client.ObjectList{certificates, issuers, secrets} {
		if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels(objectLabels())); err != nil {
			return err
		}
	}
	var objects []client.Object
	for i := range certificates.Items {
		objects = append(objects, &certificates.Items[i])
	}
	for i := range issuers.Items {
		objects = append(objects, &issuers.Items[i])
	}
	for i := range secrets.Items {
		objects = append(objects, &secrets.Items[i])
	}
	var failed []error
	for _, object := range objects {
		if object.GetDeletionTimestamp() == nil && goes(object.GetName()) {
			failed = append(failed, r.applier.Delete(ctx, object))
		}
	}
	return errors.Join(failed...)
}

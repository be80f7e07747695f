// Package mcpserver turns an MCPServer into a guarded, running server: it gathers what is there, plans what should be,
// applies the difference and tells how it went, in that order and each once a reconcile.
package mcpserver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/controllers/issuers"
)

// Rights in the namespaces of servers.
//
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers;mcpclients;mcpaccesspolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers/status,verbs=patch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets;configmaps;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=issuers,verbs=get
// +kubebuilder:rbac:groups=external-secrets.io,resources=externalsecrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=external-secrets.io,resources=secretstores,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
//
// Where the Kubernetes API and cluster DNS answer, for network policies.
//
// +kubebuilder:rbac:groups=discovery.k8s.io,namespace=default,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,namespace=kube-system,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=default,resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=kube-system,resources=services,verbs=get;list;watch

// Settings are what the operator's administrator decides.
type Settings struct {
	// Namespace is the operator's own.
	Namespace string
	// GateImage is the image of the gate, by digest.
	GateImage string
	// Operator selects the operator's pods, for network policies.
	Operator manifests.Operator
	// Monitoring are the pods that may read the gates' metrics, for network policies; with any, the gates know its certificate.
	Monitoring []networkingv1.NetworkPolicyPeer
	// Options are what the organisation allows.
	Options manifests.Options
	// ClusterDomain is the DNS domain of Services.
	ClusterDomain string
	// ClusterRanges are public addresses that belong to the cluster.
	ClusterRanges []netip.Prefix
	// Rest is how often a server is looked at when nothing happens.
	Rest time.Duration
	// Retry is how often something is looked at again that no watch shows: objects that are not ours.
	Retry time.Duration
}

// Reconciler reconciles MCPServers.
type Reconciler struct {
	// Client reads caches and writes.
	Client client.Client
	// Live reads the API server, for single objects that no cache holds.
	Live client.Reader
	// APIs knows which optional APIs are served.
	APIs *optional.Registry
	// Gates asks gates what they run.
	Gates gates.Reader
	// Events tells people about transitions.
	Events events.EventRecorder
	// Keys fetches the keys of token issuers, at these times.
	Keys  issuers.Fetcher
	Times issuers.Times
	// Budget bounds rollouts that users did not ask for.
	Budget *Budget
	// Settings are the administrator's.
	Settings Settings
	// Now is the clock.
	Now func() time.Time

	applier *apply.Applier
	pace    pace
	issuers *issuers.Store
	// all wakes every server, next single ones, and keyed those whose token issuers have news.
	all, next, keyed chan event.GenericEvent
}

// Reconcile brings one MCPServer closer to its spec.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	server, err := get(ctx, r.Client, request.Namespace, request.Name, &v1alpha1.MCPServer{})
	if err != nil {
		return ctrl.Result{}, err
	}
	if server == nil || server.DeletionTimestamp != nil {
		// The garbage collector removes the children by their owner.
		r.forget(request.NamespacedName)
		if server == nil {
			err = r.sweep(ctx, request.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	o, err := r.gather(ctx, server)
	if err != nil {
		return ctrl.Result{}, err
	}
	p, err := newPlan(o, r.Settings)
	if err != nil {
		return ctrl.Result{}, err
	}
	applied, err := r.apply(ctx, o, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	distribution, err := r.distribute(ctx, o, p.generation)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.writeStatus(ctx, o, summarize(o, p, applied, distribution, r.Settings)); err != nil {
		return ctrl.Result{}, err
	}
	r.wakeWaiting(o, p)
	if applied.err != nil {
		return ctrl.Result{}, applied.err
	}
	return ctrl.Result{RequeueAfter: r.after(request.NamespacedName, o, applied, distribution)}, nil
}

func (r *Reconciler) forget(server types.NamespacedName) {
	r.pace.forget(server)
	r.Budget.Forget(server)
	r.issuers.Keep(server, nil)
}

// after returns when to look at the server again if nothing happens before.
func (r *Reconciler) after(server types.NamespacedName, o *observed, a applied, d distribution) time.Duration {
	// Jitter, so that servers that were made together are not looked at together.
	next := r.Settings.Rest + rand.N(r.Settings.Rest/4+1) //nolint:gosec // no secret
	wait, took := r.pace.next(server, d, o.now)
	if wait > 0 {
		next = min(next, wait)
	}
	if took > 0 {
		configurationSeconds.Observe(took.Seconds())
	}
	if a.contended {
		next = min(next, apply.RepairInterval)
	}
	if a.unwatched || foreignMissing(o) || distrusted(o) {
		next = min(next, r.Settings.Retry)
	}
	if wait := o.tokensNext(); wait > 0 {
		next = min(next, wait)
	}
	if leaf := leaf(o.certificateSecret); leaf != nil && o.certificate != nil {
		for _, at := range []time.Time{overdue(o, leaf), leaf.NotAfter} {
			if at.After(o.now) {
				next = min(next, max(at.Sub(o.now), time.Second))
			}
		}
	}
	if !o.who.Next.IsZero() {
		next = min(next, max(o.who.Next.Sub(o.now), time.Second))
	}
	return next
}

// foreignMissing says whether the server waits for an object of a user that no watch shows.
func foreignMissing(o *observed) bool {
	if len(consent(o)) > 0 || (o.certManager && !issued(o)) {
		return true
	}
	for _, g := range o.groups {
		if !synced(g) {
			return true
		}
	}
	return false
}

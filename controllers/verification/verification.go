// Package verification shows that the controls of each MCPServer hold: it gathers what the cluster and the gates say, attacks
// every gate on an interval as a client would, and writes what came of it into the server's status.
package verification

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/optional"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/probe"
)

// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers;mcpclients;mcpaccesspolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=pods;services;configmaps;secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Attack attacks one gate; probe.Run.
type Attack func(ctx context.Context, target probe.Target) []posture.Probe

// Settings are what the operator's administrator decides.
type Settings struct {
	// Namespace is the operator's own.
	Namespace string
	// GateImage is the image of the gate.
	GateImage string
	// Timeout bounds each attempt of a probe.
	Timeout time.Duration
	// Again is how long after a run that did not come to a conclusion there is another.
	Again time.Duration
	// RulesAge is how old what is known of alert rules, of bindings of roles and of EndpointSlices may be: one question is for all servers.
	RulesAge time.Duration
	// ReportsAge is how old what is known of reports by others about a server's image may be.
	ReportsAge time.Duration
	// Spread is over how long the first runs after a start of the operator are spread.
	Spread time.Duration
}

// Reconciler keeps status.posture and the condition Verified of MCPServers.
type Reconciler struct {
	// Client reads caches and writes.
	Client client.Client
	// Live reads the API server, for ConfigMaps of users.
	Live client.Reader
	// APIs knows which optional APIs are served.
	APIs *optional.Registry
	// Gates asks gates what they run.
	Gates gates.Reader
	// Attack attacks gates; nil: over the network.
	Attack Attack
	// Unmanaged is what is known of MCP servers without a gate, for the servers of a namespace; nil: nobody looks.
	Unmanaged func(namespace string) posture.Fact[posture.Unmanaged]
	// Found tells when something else is found than before; nil: nobody looks.
	Found <-chan event.GenericEvent
	// Events tells people about transitions.
	Events events.EventRecorder
	// WatchNamespaces are the namespaces that are looked after; none means all.
	WatchNamespaces []string
	// Settings are the administrator's.
	Settings Settings
	// Now is the clock.
	Now func() time.Time

	runs  byServer[*run]
	rules alertRules
	// bindings are those of the cluster.
	bindings bindings
	// endpoints are those past the gates.
	endpoints endpoints
	scans     byServer[scan]
	// secrets are what is known of the Secrets of each server's pods.
	secrets byServer[holders]
	// news is the last report that came about each server, by its UID and version.
	news    byServer[string]
	written byServer[writtenReport]
	issued  byServer[issued]
	started time.Time
}

// Reconcile looks at one MCPServer, attacks its gates when that is due, and writes what came of it.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.MCPServer{}
	if err := r.Client.Get(ctx, request.NamespacedName, server); apierrors.IsNotFound(err) || err == nil && server.DeletionTimestamp != nil {
		r.runs.forget(request.NamespacedName)
		r.scans.forget(request.NamespacedName)
		r.secrets.forget(request.NamespacedName)
		r.news.forget(request.NamespacedName)
		r.written.forget(request.NamespacedName)
		r.issued.forget(request.NamespacedName)
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	o, err := r.gather(ctx, server)
	if err != nil {
		return ctrl.Result{}, err
	}
	last, _ := r.runs.last(request.NamespacedName)
	wait := r.due(o, last)
	if wait > 0 && r.glanceDue(o, last, wait) <= 0 {
		glance, held := r.glance(ctx, o, last)
		if held {
			last = glance
			r.runs.remember(request.NamespacedName, last)
		} else {
			wait = 0 // a whole run finds out what is wrong
		}
	}
	if wait <= 0 {
		last = r.verify(ctx, o, last)
		r.runs.remember(request.NamespacedName, last)
		wait = r.due(o, last)
	}
	wait = r.glanceDue(o, last, wait)
	if last == nil && len(o.gates) > 0 && inherited(o) {
		// The operator has just begun. What its predecessor found stands until there is something newer.
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	report := posture.Evaluate(snapshot(o, last, r.Settings))
	sum := summarize(o, last, report)
	if err := r.writeStatus(ctx, o, last, sum); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.writeReport(ctx, o, report, *sum.EvaluatedAt); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: max(wait, time.Second)}, nil
}

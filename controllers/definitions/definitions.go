// Package definitions keeps what each MCPServer offers: it asks the gates, which have listed their servers, writes a ConfigMap
// with the definitions beside the server, and sums them up, with what no pin names, in the server's status.
package definitions

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/apply"
	"github.com/bartizan-dev/bartizan/controllers/internal/gates"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/gatestatus"
	"github.com/bartizan-dev/bartizan/internal/inventory"
)

// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers,verbs=get;list;watch
// +kubebuilder:rbac:groups=bartizan.dev,resources=mcpservers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// How often the gates of a server are asked. With pinning, people wait for what is in quarantine; a server that has just begun
// is about to be listed.
const (
	askRarely = 5 * time.Minute
	askPinned = 15 * time.Second
	askSoon   = 2 * time.Second
	// young is how long a pod has just begun.
	young = 20 * time.Second
)

// Reconciler keeps status.tools, the condition DefinitionsPinned, and the ConfigMap of each MCPServer.
type Reconciler struct {
	// Client reads caches and writes.
	Client client.Client
	// Live reads the API server.
	Live client.Reader
	// Gates asks gates for their status, Lists for what their servers offer.
	Gates gates.Reader
	Lists gates.Lister
	// Events tells people about transitions.
	Events events.EventRecorder
	// Now is the clock.
	Now func() time.Time

	applier *apply.Applier
}

// observed is what a reconcile knows.
type observed struct {
	server *v1alpha1.MCPServer
	now    time.Time
	pins   inventory.Pins
	// before is what the ConfigMap holds.
	before inventory.Document
	// ready is the number of ready pods, statuses what their gates said; young says that one of them has just begun.
	ready    int
	statuses []gatestatus.Status
	young    bool
	// items are all that the servers of the gates offer; nil where that is not known.
	items []inventory.Item
	known bool
}

// Reconcile looks at one MCPServer.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	server := &v1alpha1.MCPServer{}
	if err := r.Client.Get(ctx, request.NamespacedName, server); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if server.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	o, err := r.gather(ctx, server)
	if err != nil {
		return ctrl.Result{}, err
	}
	document := o.before
	if o.known {
		document = inventory.NewDocument(o.items, o.pins, o.before)
		child, err := configMap(server, document)
		if err != nil {
			return ctrl.Result{}, err
		}
		var conflict *apply.ConflictError
		if _, err := r.applier.Apply(ctx, child); errors.As(err, &conflict) {
			// Without it there is no inventory to look at, and the posture says so. The status is written all the same.
			r.Events.Eventf(server, nil, corev1.EventTypeWarning, "ChildConflict", "Inventory", "%s; rename or delete it", note(conflict.Error()))
		} else if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return ctrl.Result{}, err
		}
	}
	if err := r.writeStatus(ctx, o, summarize(o, document)); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: o.again()}, nil
}

// again is when the gates are asked the next time.
func (o *observed) again() time.Duration {
	switch {
	case o.ready == 0:
		return askRarely // a pod that becomes ready is told of
	case o.young:
		return askSoon
	case !o.known, pinning(o.server) != v1alpha1.PinningOff:
		return askPinned
	}
	return askRarely
}

func (r *Reconciler) gather(ctx context.Context, server *v1alpha1.MCPServer) (*observed, error) {
	o := &observed{server: server, now: r.Now(), pins: inventory.NewPins(manifests.Tools(server).Pins)}
	in := client.InNamespace(server.Namespace)
	kept, bundle, pods := &corev1.ConfigMap{}, &corev1.ConfigMap{}, &corev1.PodList{}
	for name, object := range map[string]*corev1.ConfigMap{inventory.ConfigMapName(server.Name): kept, manifests.CABundleName(server.Name): bundle} {
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: server.Namespace, Name: name}, object); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
	}
	if document, err := inventory.ParseDocument(kept.Data[inventory.DocumentKey]); err == nil {
		o.before = document // another's, or one that somebody wrote, is made anew
	}
	if err := r.Client.List(ctx, pods, in, client.MatchingLabels(manifests.Selector(server.Name))); err != nil {
		return nil, err
	}
	var asked []gates.Gate
	for i := range pods.Items {
		pod := &pods.Items[i]
		since, ready := readySince(pod)
		if !ready || !declared.HasGate(pod) {
			continue
		}
		o.young = o.young || o.now.Sub(since) < young
		asked = append(asked, gates.Gate{Address: pod.Status.PodIP, ServerName: manifests.ServerName(server), Roots: bundle.Data[manifests.CABundleKey]})
	}
	o.ready = len(asked)
	if o.ready == 0 {
		return o, nil
	}
	r.ask(ctx, o, asked)
	return o, nil
}

// ask asks the gates what their servers offer, in full where that is not what is known already.
func (r *Reconciler) ask(ctx context.Context, o *observed, asked []gates.Gate) {
	lists := map[string][]inventory.Item{}
	heard := true
	for i, answer := range r.Gates.Read(ctx, asked) {
		if answer.Err != nil || answer.Status.Tools == nil {
			heard = false
			continue
		}
		o.statuses = append(o.statuses, answer.Status)
		digest := answer.Status.Tools.Digest
		if _, has := lists[digest]; has || digest == "" {
			heard = heard && digest != ""
			continue
		}
		if digest == o.before.Digest && o.before.LeftOut == 0 && whole(o.before.Present) {
			lists[digest] = o.before.Present
			continue
		}
		all, err := r.Lists.Inventory(ctx, asked[i])
		if err != nil || all.Digest != digest {
			heard = false // it is just being listed anew
			continue
		}
		lists[digest] = all.Items
	}
	// What a gate that says nothing would add is not known: then the last inventory stays, unless there is none.
	if len(lists) == 0 || !heard && o.before.Digest != "" {
		return
	}
	var items []inventory.Item
	for _, list := range lists {
		items = append(items, list...)
	}
	o.items, o.known = inventory.Sort(items), true
}

// whole says whether no definition was left out.
func whole(items []inventory.Item) bool {
	for _, item := range items {
		if len(item.Definition) == 0 {
			return false
		}
	}
	return true
}

// readySince says since when a pod has been ready, if it is.
func readySince(pod *corev1.Pod) (since time.Time, ready bool) {
	if pod.DeletionTimestamp != nil || pod.Status.PodIP == "" {
		return time.Time{}, false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time, true
		}
	}
	return time.Time{}, false
}

func pinning(server *v1alpha1.MCPServer) v1alpha1.PinningMode {
	if server.Spec.Tools == nil || server.Spec.Tools.Pinning == "" {
		return v1alpha1.PinningOff
	}
	return server.Spec.Tools.Pinning
}

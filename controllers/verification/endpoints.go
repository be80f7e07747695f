package verification

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/posture"
)

// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list

// endpoints are the ways past the gates to the pods of all servers at a time: EndpointSlices, which somebody may have written by hand
// (or Endpoints, of which Kubernetes makes such). No cache has them: they are many and everybody's, and change with every pod.
type endpoints struct {
	mutex sync.Mutex
	at    time.Time
	// ways are those to each address that a pod of a server had then.
	ways map[string][]isolation.Way
	// missing says which could not be read; "": all were.
	missing string
}

// ways are those that lead past the gate to the pods of a server.
type ways struct {
	at      time.Time
	all     []isolation.Way
	missing string
}

// ways are the EndpointSlices that lead past the gate to the pods of a server.
func (r *Reconciler) ways(ctx context.Context, o *observed) (*ways, error) {
	addresses := o.addresses()
	if len(addresses) == 0 {
		return &ways{at: o.now}, nil
	}
	e := &r.endpoints
	e.mutex.Lock()
	defer e.mutex.Unlock()
	strange := slices.ContainsFunc(addresses, func(a string) bool { _, known := e.ways[a]; return !known })
	// A pod that was not there at the last look is worth another, but a rollout is not worth one for each pod.
	if age := o.now.Sub(e.at); e.at.IsZero() || age >= r.lookAge(o) || strange && age >= r.lookAge(o)/4 {
		if err := r.readEndpoints(ctx, o.now); err != nil {
			return nil, err
		}
	}
	found := &ways{at: e.at, missing: e.missing}
	for _, address := range addresses {
		found.all = append(found.all, e.ways[address]...)
	}
	return found, nil
}

// addresses are those of the pods that run. One that shares its host's has none of its own.
func (o *observed) addresses() []string { return addressesOf(o.pods) }

func addressesOf(pods []corev1.Pod) (all []string) {
	for i := range pods {
		pod := &pods[i]
		if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, ip := range pod.Status.PodIPs {
			if address := isolation.Address(ip.IP); address != "" {
				all = append(all, address)
			}
		}
	}
	return all
}

// readEndpoints lists all EndpointSlices that the operator may list, and keeps of them what leads to a pod of a server.
func (r *Reconciler) readEndpoints(ctx context.Context, now time.Time) error {
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, client.HasLabels{manifests.LabelServer}, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	found, missing := map[string][]isolation.Way{}, ""
	for _, address := range addressesOf(pods.Items) {
		found[address] = nil
	}
	page := &discoveryv1.EndpointSliceList{}
	take := func() {
		for i := range page.Items {
			way, past := isolation.WayOf(&page.Items[i])
			if !past {
				continue
			}
			for _, endpoint := range page.Items[i].Endpoints {
				for _, text := range endpoint.Addresses {
					address := isolation.Address(text)
					if _, ours := found[address]; ours {
						found[address] = append(found[address], way)
					}
				}
			}
		}
	}
	err := r.everyPage(ctx, page, "", take)
	if apierrors.IsForbidden(err) {
		missing = "the operator may list EndpointSlices of its own namespaces only"
		for _, namespace := range r.WatchNamespaces {
			if err = r.everyPage(ctx, page, namespace, take); apierrors.IsForbidden(err) {
				missing = "the operator may not list EndpointSlices"
			} else if client.IgnoreNotFound(err) != nil {
				return err
			}
		}
		if len(r.WatchNamespaces) == 0 {
			missing = "the operator may not list EndpointSlices"
		}
	} else if err != nil {
		return err
	}
	r.endpoints.at, r.endpoints.ways, r.endpoints.missing = now, found, missing
	return nil
}

// detoursFact is what leads to the pods beside the gate. That nothing does is known only where all was seen that could.
func (o *observed) detoursFact() posture.Fact[[]string] {
	found := o.detours()
	switch {
	case len(found) > 0:
		return posture.See(found, "Services, EndpointSlices, pods", o.now)
	case o.ways == nil || o.ways.missing != "":
		missing := "nobody has looked for EndpointSlices"
		if o.ways != nil {
			missing = o.ways.missing + ": whether another leads to the pods is not known"
		}
		return posture.Unknown[[]string](missing)
	}
	return posture.See(found, "Services, EndpointSlices, pods", o.ways.at)
}

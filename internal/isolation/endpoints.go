package isolation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	utilnet "k8s.io/utils/net"

	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// endpointsController is who writes the addresses of pods that a Service selects.
const endpointsController = "endpointslice-controller.k8s.io"

// Way is an EndpointSlice that leads to a port of a pod that is not the gate's.
type Way struct {
	Namespace, Name string
	// Service is the name of the Service that it is of, in its namespace.
	Service string
	// Controlled: it says that Kubernetes wrote it, from the selector of the Service.
	Controlled bool
	// Ports are those that it leads to.
	Ports []string
}

// WayOf is the way that a slice is to its addresses; false where it leads to no port but the gate's.
func WayOf(slice *discoveryv1.EndpointSlice) (Way, bool) {
	w := Way{Namespace: slice.Namespace, Name: slice.Name, Service: slice.Labels[discoveryv1.LabelServiceName], Controlled: slice.Labels[discoveryv1.LabelManagedBy] == endpointsController}
	for _, port := range slice.Ports {
		switch {
		case port.Port == nil:
			w.Ports = append(w.Ports, "of any number")
		case *port.Port != gateconfig.GatePort:
			w.Ports = append(w.Ports, fmt.Sprint(*port.Port))
		}
	}
	slices.Sort(w.Ports)
	w.Ports = slices.Compact(w.Ports)
	return w, len(w.Ports) > 0
}

// Address is an address as all write it that mean it; "" for what is none. The API server takes some that are written in other ways.
func Address(text string) string {
	ip := utilnet.ParseIPSloppy(text)
	if ip == nil {
		return ""
	}
	return ip.String()
}

// ByEndpoints are the ways past the gate to pods of a namespace that no selector leads on. Those that one does are found by ByServices,
// and those of a Service that is not there lead nobody on.
func ByEndpoints(s Surroundings, namespace string, ways []Way) []string {
	var found []string
	for _, w := range ways {
		if w.Namespace == namespace {
			i := slices.IndexFunc(s.Services, func(service corev1.Service) bool { return service.Name == w.Service })
			if i < 0 || w.Controlled && len(s.Services[i].Spec.Selector) > 0 {
				continue
			}
		}
		found = append(found, fmt.Sprintf("EndpointSlice %s/%s of Service %s leads past the gate to port %s: take the pod's address out of it (or of the Endpoints that it mirrors), or delete it",
			w.Namespace, w.Name, cmp.Or(w.Service, "nobody"), strings.Join(w.Ports, ", ")))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

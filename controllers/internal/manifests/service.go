package manifests

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
)

// ServicePort is the port at which clients find the gate.
const ServicePort = 443

// service leads to the gate, by number: a port's name could be taken by another container.
func service(p Params) *corev1.ServiceApplyConfiguration {
	spec := corev1.ServiceSpec().
		WithType(core.ServiceTypeClusterIP).
		WithSelector(Selector(p.Server.Name)).
		WithPorts(corev1.ServicePort().
			WithName("mcp").
			WithProtocol(core.ProtocolTCP).
			WithAppProtocol("https").
			WithPort(ServicePort).
			WithTargetPort(intstr.FromInt32(gateconfig.GatePort)))
	// With one replica, too: during a rollout there are two pods.
	if sessions(p.Server) == v1alpha1.SessionsStateful {
		spec.WithSessionAffinity(core.ServiceAffinityClientIP)
	}
	return corev1.Service(p.Server.Name, p.Server.Namespace).
		WithLabels(Labels(p.Server.Name)).
		WithOwnerReferences(owner(p)).
		WithSpec(spec)
}

// Package manifests builds the children of one MCPServer, as pure functions of Params: one file and one golden test a
// child. What must never happen, such as a pod without the gate or a rule that reaches the server's own port, is made
// impossible here, whatever the spec says.
//
// Nothing is emitted that the API server would store anyhow, no empty list, and no zero value but where zero is meant: an
// apply of an unchanged child changes nothing.
package manifests

import (
	"errors"
	"net/netip"
	"time"

	networking "k8s.io/api/networking/v1"
	appsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	networkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"
	policyv1 "k8s.io/client-go/applyconfigurations/policy/v1"
	rbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/client/applyconfigurations/certmanager/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
)

// Params is all that the children depend on. It holds data, never a client.
type Params struct {
	// Server is the MCPServer. Its UID goes into the owner references.
	Server *v1alpha1.MCPServer
	// Options are what the organisation allows; see Validate.
	Options Options
	// GateImage is the image of the gate, by digest.
	GateImage string
	// Operator selects the operator's own pods, which read the gates' status ports.
	Operator Operator
	// Monitoring are the pods that read the gates' metrics at their status ports.
	Monitoring []networking.NetworkPolicyPeer
	// ClusterDomain is the DNS domain of the cluster's Services; empty stands for cluster.local.
	ClusterDomain string
	// Issuer names the Issuer of the namespace's private authority, in the server's namespace. The serving certificate
	// comes from it unless the spec brings an issuer.
	Issuer string
	// Longest bounds the life of a certificate of that authority, which it must not outlive; zero: not known.
	Longest time.Duration
	// CABundle is the PEM bundle that vouches for the serving certificate; empty while it is unknown.
	CABundle string
	// Peers are the pods of the clients that may use the server.
	Peers []access.Peer
	// DNS are further addresses at which the cluster's DNS answers, beside the pods of kube-dns: node-local caches,
	// servers outside the cluster, the address of the Service.
	DNS []netip.AddrPort
	// APIServer are the addresses at which the Kubernetes API answers: its endpoints and its Service.
	APIServer []netip.AddrPort
	// ClusterRanges are public address ranges that belong to the cluster, such as those of pods with public IPv6
	// addresses: they are no part of the internet.
	ClusterRanges []netip.Prefix
	// SecretHashes are the results of SecretHash by the name of the secret group, for groups with environment variables.
	SecretHashes map[string]string
	// Isolated keeps callers from the gates.
	Isolated bool
	// Gate is the sealed configuration of the gate; empty while there is none.
	Gate Sealed
}

// Operator selects the operator's own pods.
type Operator struct {
	Namespace string
	PodLabels map[string]string
}

// Children are the children of one MCPServer, in the order in which they are applied. A nil child is not wanted, except
// that CABundle and GateSecret are nil as long as their content is unknown.
type Children struct {
	NetworkPolicy    *networkingv1.NetworkPolicyApplyConfiguration
	ServiceAccount   *corev1.ServiceAccountApplyConfiguration
	Role             *rbacv1.RoleApplyConfiguration
	RoleBinding      *rbacv1.RoleBindingApplyConfiguration
	ExternalSecrets  []*ExternalSecretApplyConfiguration
	Certificate      *certmanagerv1.CertificateApplyConfiguration
	CABundle         *corev1.ConfigMapApplyConfiguration
	GateSecret       *corev1.SecretApplyConfiguration
	Deployment       *appsv1.DeploymentApplyConfiguration
	Service          *corev1.ServiceApplyConfiguration
	DisruptionBudget *policyv1.PodDisruptionBudgetApplyConfiguration
}

// Certificates is what a server that must not change otherwise still gets: its serving certificate, of whichever authority is in force
// now, and what vouches for it.
func Certificates(p Params) (*certmanagerv1.CertificateApplyConfiguration, *corev1.ConfigMapApplyConfiguration, error) {
	certificate, err := certificate(p)
	return certificate, caBundle(p), err
}

// Build builds the children. It refuses a server in which Validate finds a problem; the error is then Problems.
func Build(p Params) (Children, error) {
	if problems := Validate(p.Server, p.Options); len(problems) > 0 {
		return Children{}, problems
	}
	network, networkErr := NetworkPolicy(p)
	role, roleErr := role(p)
	certificate, certificateErr := certificate(p)
	gate, gateErr := GateSecret(p)
	deployment, deploymentErr := deployment(p)
	if err := errors.Join(networkErr, roleErr, certificateErr, gateErr, deploymentErr); err != nil {
		return Children{}, err
	}
	return Children{
		NetworkPolicy:    network,
		ServiceAccount:   serviceAccount(p),
		Role:             role,
		RoleBinding:      roleBinding(p),
		ExternalSecrets:  externalSecrets(p),
		Certificate:      certificate,
		CABundle:         caBundle(p),
		GateSecret:       gate,
		Deployment:       deployment,
		Service:          service(p),
		DisruptionBudget: disruptionBudget(p),
	}, nil
}

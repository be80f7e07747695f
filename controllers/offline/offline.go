// Package offline says what the operator would make of manifests, and of those beside them, from objects alone: for judging them before they
// are applied.
package offline

import (
	"encoding/json"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/internal/access"
	"github.com/bartizan-dev/bartizan/controllers/internal/manifests"
	"github.com/bartizan-dev/bartizan/internal/gateconfig"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Rules are the rules of MCPAccessPolicies about a server as they are written, whoever they are for, without those that have ended; and what
// is wrong with policies, so that they do not count.
func Rules(server *v1alpha1.MCPServer, policies []v1alpha1.MCPAccessPolicy, now time.Time) (rules []policy.Rule, problems []string) {
	rules, wrong := access.Written(server, policies, now)
	for _, p := range wrong {
		problems = append(problems, p.String())
	}
	return rules, problems
}

// Forbidden are patterns of the tools that nobody may call at a server, by its spec.
func Forbidden(server *v1alpha1.MCPServer) []string { return manifests.Forbidden(server) }

// Beside is what is in the namespace of a server.
type Beside struct {
	Clients         []v1alpha1.MCPClient
	Policies        []v1alpha1.MCPAccessPolicy
	NetworkPolicies []networkingv1.NetworkPolicy
	Services        []corev1.Service
	Now             time.Time
}

// Surroundings are what decides who would reach the server's pods, with the NetworkPolicy that the operator would make. It cannot know where
// the cluster's DNS and API server answer.
func Surroundings(server *v1alpha1.MCPServer, b Beside) (isolation.Surroundings, error) {
	s := isolation.Surroundings{
		Server: server.Name, PodLabels: map[string]string{}, Policies: b.NetworkPolicies, Services: b.Services,
		PodPorts: map[string]int32{"mcp": gateconfig.GatePort, "status": gateconfig.StatusPort},
		// None of the manifests is the operator's: what has the name of one is in its way.
		Own: func(metav1.Object) bool { return false },
	}
	if server.Spec.Pod != nil {
		maps.Copy(s.PodLabels, server.Spec.Pod.Labels)
	}
	maps.Copy(s.PodLabels, manifests.Labels(server.Name))
	who := access.Build(access.Input{Server: server, Policies: b.Policies, Clients: b.Clients, Now: b.Now})
	wanted, err := manifests.NetworkPolicy(manifests.Params{Server: server, Peers: who.Peers})
	if err != nil {
		return s, err
	}
	content, err := json.Marshal(wanted.Spec)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(content, &s.Policy)
}

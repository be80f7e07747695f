package access

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
)

// Grant is one server of a client's spec, and whether it grants the client anything.
type Grant struct {
	v1alpha1.ServerRef
	State v1alpha1.ClientServerState
	// Server is the server; nil when it was not found.
	Server *v1alpha1.MCPServer
}

// Granted says for each server that the client names, sorted by namespace and name, whether it grants the client anything,
// and when that changes by the clock alone (zero: it does not). The servers and policies may be of any namespaces.
func Granted(client *v1alpha1.MCPClient, servers []v1alpha1.MCPServer, policies []v1alpha1.MCPAccessPolicy, now time.Time) (grants []Grant, next time.Time) {
	for _, ref := range client.Spec.Servers {
		grant := Grant{ServerRef: ref, State: v1alpha1.ServerNotFound}
		for i := range servers {
			if servers[i].Namespace == ref.Namespace && servers[i].Name == ref.Name {
				grant.Server, grant.State = &servers[i], v1alpha1.ServerNotGranted
			}
		}
		if grant.Server != nil && client.DeletionTimestamp.IsZero() {
			r := Build(Input{Server: grant.Server, Policies: policies, Clients: []v1alpha1.MCPClient{*client}, Now: now})
			if len(r.Clients) > 0 {
				grant.State = v1alpha1.ServerGranted
			}
			next = earlier(next, r.Next)
		}
		grants = append(grants, grant)
	}
	slices.SortFunc(grants, func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return grants, next
}

// Names says whether the client names the server in its spec: the client's side of the consent. A client that is being
// deleted names nothing any more.
func Names(client *v1alpha1.MCPClient, server *v1alpha1.MCPServer) bool {
	return client.DeletionTimestamp.IsZero() &&
		slices.Contains(client.Spec.Servers, v1alpha1.ServerRef{Namespace: server.Namespace, Name: server.Name})
}

// Selects says whether the policy is about the server. A policy that is being deleted is about nothing any more.
func Selects(p *v1alpha1.MCPAccessPolicy, server *v1alpha1.MCPServer) bool {
	if p.Namespace != server.Namespace || !p.DeletionTimestamp.IsZero() {
		return false
	}
	if p.Spec.Servers.Selector == nil {
		return slices.Contains(p.Spec.Servers.Names, server.Name)
	}
	if len(p.Spec.Servers.Names) > 0 {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(p.Spec.Servers.Selector)
	return err == nil && selector.Matches(labels.Set(server.Labels))
}

// Subjects returns the MCPClients that the policy names, as subjects or as actors, sorted, each once.
func Subjects(p *v1alpha1.MCPAccessPolicy) []types.NamespacedName {
	var names []types.NamespacedName
	for i := range p.Spec.Rules {
		for _, s := range p.Spec.Rules[i].Subjects {
			if subjectKey(s) != "" {
				names = append(names, types.NamespacedName{Namespace: s.MCPClient.Namespace, Name: s.MCPClient.Name})
			}
		}
		for _, a := range p.Spec.Rules[i].Actors {
			names = append(names, types.NamespacedName{Namespace: a.Namespace, Name: a.Name})
		}
	}
	slices.SortFunc(names, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(names)
}

func key(namespace, name string) string { return namespace + "/" + name }

// subjectKey is the client that a subject names; empty, which is the key of no client, for any other type of subject.
func subjectKey(s v1alpha1.Subject) string {
	if s.Type != v1alpha1.SubjectMCPClient || s.MCPClient == nil {
		return ""
	}
	return key(s.MCPClient.Namespace, s.MCPClient.Name)
}

func notAfter(rule *v1alpha1.AccessRule) time.Time {
	if rule.NotAfter == nil {
		return time.Time{}
	}
	return rule.NotAfter.UTC()
}

func sorted(policies []v1alpha1.MCPAccessPolicy) []*v1alpha1.MCPAccessPolicy {
	out := make([]*v1alpha1.MCPAccessPolicy, len(policies))
	for i := range policies {
		out[i] = &policies[i]
	}
	slices.SortFunc(out, func(a, b *v1alpha1.MCPAccessPolicy) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

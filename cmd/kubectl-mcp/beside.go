package main

import (
	"fmt"
	"slices"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/controllers/offline"
	"github.com/bartizan-dev/bartizan/internal/declared"
	"github.com/bartizan-dev/bartizan/internal/discovery"
	"github.com/bartizan-dev/bartizan/internal/inventory"
	"github.com/bartizan-dev/bartizan/internal/isolation"
	"github.com/bartizan-dev/bartizan/internal/posture"
	"github.com/bartizan-dev/bartizan/internal/profile"
)

// besides adds what the manifests beside a server show. Where they show nothing that is wrong, the cluster may still have more.
func (p *plugin) besides(s *posture.Snapshot, m *manifests, server *v1alpha1.MCPServer, floors []profile.Floor) {
	declared.Beside(s, server, m.in(server.Namespace).configMaps)
	p.granted(s, m, server, floors)
	m.sharedKeys(s, server)
	m.bound(s, server, floors)
	m.opened(s, server)
	m.unmanaged(s, server)
}

// granted judges what the policies among the manifests allow, and of what the server offers as much as they tell: all of it where the
// inventory that the operator keeps is among them, and else the names that are pinned or granted.
func (p *plugin) granted(s *posture.Snapshot, m *manifests, server *v1alpha1.MCPServer, floors []profile.Floor) {
	rules, problems := offline.Rules(server, m.policies, p.now())
	for _, problem := range problems {
		fmt.Fprintln(p.err, "does not count:", problem)
	}
	if len(rules) > 0 {
		var grants []posture.Grant
		for _, rule := range rules {
			grants = append(grants, posture.Grant{Rule: rule.ID, Tools: rule.Tools})
		}
		s.Grants = posture.Say(grants, "MCPAccessPolicies")
	} else {
		s.Grants.Missing = "no rule of an MCPAccessPolicy among the manifests is about the server"
	}
	forbidden := offline.Forbidden(server)
	for _, floor := range floors {
		forbidden = append(forbidden, floor.ForbiddenTools()...)
	}
	name := inventory.ConfigMapName(server.Name)
	document, err := inventory.Document{}, error(nil)
	kept := m.in(server.Namespace).configMaps[name]
	if kept != nil {
		document, err = inventory.ParseDocument(kept.Data[inventory.DocumentKey])
	}
	if kept == nil || err != nil {
		missing := "what the server offers is not among the manifests: ConfigMap " + name + ", which the operator keeps, would show it"
		s.Offers.Missing, s.Tools.Missing, s.Unpinned.Missing, s.Unconstrained.Missing = missing, missing, missing, missing
		declared.Named(s, server, rules, forbidden)
		return
	}
	declared.Offered(s, declared.Offers{Server: server, Document: document, Rules: rules, Forbidden: forbidden, Source: "ConfigMap " + name})
}

// sharedKeys are the keys in stores that two clients of the namespace's servers would both get.
func (m *manifests) sharedKeys(s *posture.Snapshot, server *v1alpha1.MCPServer) {
	holder := map[string]string{}
	var shared []string
	for i := range m.clients {
		c := m.clients[i].object
		at := declared.StoreKey(c, server.Namespace)
		if at == "" || !slices.ContainsFunc(c.Spec.Servers, func(r v1alpha1.ServerRef) bool { return r.Namespace == server.Namespace }) {
			continue
		}
		name := c.Namespace + "/" + c.Name
		if other := holder[at]; other != "" && other != name {
			shared = append(shared, fmt.Sprintf("MCPClient %s and MCPClient %s have the same key in the same store", other, name))
		}
		holder[at] = name
	}
	if len(shared) > 0 {
		s.Shared = posture.Say(shared, "MCPClients spec.apiKey")
	}
}

// bound is what the bindings among the manifests give to the server's ServiceAccount.
func (m *manifests) bound(s *posture.Snapshot, server *v1alpha1.MCPServer, floors []profile.Floor) {
	if server.Spec.KubernetesAccess == nil {
		return
	}
	account := declared.Account(server)
	found := slices.Clone(s.Rights.Value)
	for i := range m.bindings {
		b := &m.bindings[i]
		if !b.Names(server.Namespace, account) {
			continue
		}
		of := b.Role.Kind + " " + b.Role.Name
		if b.Role.Kind == "Role" {
			of = "Role " + b.Namespace + "/" + b.Role.Name
		}
		for _, rule := range m.roles[of] {
			what := declared.Beyond(rule)
			for _, floor := range floors {
				if by, forbidden := floor.Beyond(rule); what == "" && forbidden && !b.Everybodys {
					what = "what MCPSecurityProfile " + by + " forbids"
				}
			}
			if what != "" {
				found = append(found, fmt.Sprintf("%s gives ServiceAccount %s %s", b, account, what))
			}
		}
		// What every cluster has is not among manifests.
		if of == "ClusterRole cluster-admin" || of == "ClusterRole admin" || of == "ClusterRole edit" {
			found = append(found, fmt.Sprintf("%s gives ServiceAccount %s %s", b, account, of))
		}
	}
	if len(found) > 0 {
		slices.Sort(found)
		s.Rights = posture.Say(slices.Compact(found), "MCPServer spec.kubernetesAccess, bindings of its ServiceAccount")
	}
}

// opened is what of the manifests opens the server's pods, and leads past its gate.
func (m *manifests) opened(s *posture.Snapshot, server *v1alpha1.MCPServer) {
	in := m.in(server.Namespace)
	beside := offline.Beside{Policies: m.policies, NetworkPolicies: in.networkPolicies, Services: in.services, Now: s.Now}
	for i := range m.clients {
		beside.Clients = append(beside.Clients, *m.clients[i].object)
	}
	surroundings, err := offline.Surroundings(server, beside)
	if err != nil {
		return // admission says the same
	}
	if found := isolation.ByPolicies(surroundings); len(found) > 0 {
		s.NetworkOpenings = posture.Say(found, "NetworkPolicies")
	}
	if found := isolation.ByServices(surroundings); len(found) > 0 {
		s.Detours = posture.Say(found, "Services")
	}
}

// unmanaged are the workloads among the manifests that are MCP servers without a gate.
func (m *manifests) unmanaged(s *posture.Snapshot, server *v1alpha1.MCPServer) {
	in := discovery.Input{Workloads: m.workloads, Servers: map[string]bool{}}
	for i := range m.servers {
		in.Servers[m.servers[i].object.Namespace+"/"+m.servers[i].object.Name] = true
	}
	for _, of := range m.namespaced {
		for i := range of.services {
			in.Services = append(in.Services, discovery.FromService(&of.services[i]))
		}
	}
	var u posture.Unmanaged
	for _, f := range discovery.Find(in) {
		switch {
		case f.Confidence == discovery.High && f.Namespace == server.Namespace:
			u.Certain = append(u.Certain, f.String())
		case f.Confidence == discovery.High:
			u.Elsewhere = true
		case f.Confidence == discovery.Medium && f.Namespace == server.Namespace:
			u.Likely = append(u.Likely, f.String())
		}
	}
	if s.Unmanaged.Missing = "only the cluster shows what runs in it"; len(u.Certain)+len(u.Likely) > 0 || u.Elsewhere {
		s.Unmanaged = posture.Say(u, "workloads, Services")
	}
}

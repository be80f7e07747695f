// Package profile judges MCPServers and MCPClients by the MCPSecurityProfiles of their namespace. It says the same, in the same
// words, as the ValidatingAdmissionPolicies of config/admission.
package profile

import (
	"cmp"
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/policy"
)

// Floor is what several profiles ask for together: each must be met. The zero Floor asks for nothing.
type Floor struct {
	profiles []*v1alpha1.MCPSecurityProfile
}

// Violation is one field that is below a profile.
type Violation struct {
	// Profile is the name of the profile, Field what is below it.
	Profile, Field string
	// Message names object, field, profile and the way out.
	Message string
}

// Of is the floor of a namespace with these labels: that of the profiles which select it and are enforced.
func Of(all []v1alpha1.MCPSecurityProfile, namespace map[string]string) Floor {
	var f Floor
	for i := range all {
		if Enforced(&all[i]) && Selects(&all[i], namespace) {
			f.profiles = append(f.profiles, &all[i])
		}
	}
	slices.SortFunc(f.profiles, func(a, b *v1alpha1.MCPSecurityProfile) int { return cmp.Compare(a.Name, b.Name) })
	return f
}

// Only is the floor of one profile, whatever it selects, and also while it is a dry run.
func Only(p *v1alpha1.MCPSecurityProfile) Floor {
	return Floor{profiles: []*v1alpha1.MCPSecurityProfile{p}}
}

// Enforced says whether what is below a profile is refused. What cannot be understood is enforced.
func Enforced(p *v1alpha1.MCPSecurityProfile) bool {
	return p.Spec.Enforcement != v1alpha1.ProfileDryRun
}

// Selects says whether a profile is about a namespace with these labels. One without a selector is about all.
func Selects(p *v1alpha1.MCPSecurityProfile, namespace map[string]string) bool {
	selector := p.Spec.NamespaceSelector
	if selector == nil {
		return true
	}
	for key, value := range selector.MatchLabels {
		if found, ok := namespace[key]; !ok || found != value {
			return false
		}
	}
	return !slices.ContainsFunc(selector.MatchExpressions, func(r v1alpha1.NamespaceRequirement) bool { return !met(r, namespace) })
}

func met(r v1alpha1.NamespaceRequirement, namespace map[string]string) bool {
	value, there := namespace[r.Key]
	switch r.Operator {
	case v1alpha1.NamespaceIn:
		return there && slices.Contains(r.Values, value)
	case v1alpha1.NamespaceNotIn:
		return !there || !slices.Contains(r.Values, value)
	case v1alpha1.NamespaceExists:
		return there
	case v1alpha1.NamespaceDoesNotExist:
		return !there
	}
	return true
}

// Names are the names of the profiles.
func (f Floor) Names() []string {
	var names []string
	for _, p := range f.profiles {
		names = append(names, p.Name)
	}
	return names
}

// Any says whether there is any profile.
func (f Floor) Any() bool { return len(f.profiles) > 0 }

// Server finds what of a server is below.
func (f Floor) Server(server *v1alpha1.MCPServer) []Violation {
	var found []Violation
	for _, p := range f.profiles {
		j := &judge{profile: p, object: "MCPServer " + server.Namespace + "/" + server.Name}
		j.server(server)
		found = append(found, j.found...)
	}
	return found
}

// Client finds what of a client is below.
func (f Floor) Client(client *v1alpha1.MCPClient) []Violation {
	var found []Violation
	for _, p := range f.profiles {
		j := &judge{profile: p, object: "MCPClient " + client.Namespace + "/" + client.Name}
		j.client(client)
		found = append(found, j.found...)
	}
	return found
}

// ForbiddenTools are the tools that no profile lets anybody call. A pattern that no gate could obey is left out, which the status
// of the profile says: with it, the gates would obey none.
func (f Floor) ForbiddenTools() []string {
	var all []string
	for _, p := range f.profiles {
		if p.Spec.Tools == nil {
			continue
		}
		for _, pattern := range p.Spec.Tools.Forbidden {
			if _, err := policy.Forbid([]string{pattern}); err == nil {
				all = append(all, pattern)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// MaximumKeyAge is the most that a key may be old, and whether any profile says so.
func (f Floor) MaximumKeyAge() (time.Duration, bool) {
	var least time.Duration
	found := false
	for _, p := range f.profiles {
		if limit, ok := maximumKeyAge(p); ok && (!found || limit < least) {
			least, found = limit, true
		}
	}
	return least, found
}

func maximumKeyAge(p *v1alpha1.MCPSecurityProfile) (time.Duration, bool) {
	if p.Spec.Authentication == nil || p.Spec.Authentication.MaximumKeyAge == "" {
		return 0, false
	}
	limit, err := time.ParseDuration(p.Spec.Authentication.MaximumKeyAge)
	return limit, err == nil
}

// ClusterStore says whether a ClusterSecretStore may be named: some profile must be there, and every one must list it.
func (f Floor) ClusterStore(name string) bool {
	return f.Any() && !slices.ContainsFunc(f.profiles, func(p *v1alpha1.MCPSecurityProfile) bool { return !listsStore(p, name) })
}

// Exemptions are those of all profiles.
func (f Floor) Exemptions() []v1alpha1.Exemption {
	var all []v1alpha1.Exemption
	for _, p := range f.profiles {
		all = append(all, p.Spec.Exemptions...)
	}
	return all
}

// Attested is an attestation and the profile that has it.
type Attested struct {
	v1alpha1.Attestation
	Profile string
}

// Attestation is the attestation of a control that ends last, nil where there is none.
func (f Floor) Attestation(control v1alpha1.AttestedControl) *Attested {
	var last *Attested
	for _, p := range f.profiles {
		for _, a := range p.Spec.Attestations {
			if a.Control == control && (last == nil || a.NotAfter.After(last.NotAfter.Time)) {
				last = &Attested{a, p.Name}
			}
		}
	}
	return last
}

// Forbids says whether a profile lets nobody call a tool, and which one.
func (f Floor) Forbids(tool string) (profile string, forbidden bool) {
	for _, p := range f.profiles {
		if compiled, err := policy.Forbid(Floor{profiles: []*v1alpha1.MCPSecurityProfile{p}}.ForbiddenTools()); err == nil && compiled.Has(tool) {
			return p.Name, true
		}
	}
	return "", false
}

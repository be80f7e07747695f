package profile

import (
	"slices"
	"time"

	"github.com/bartizan-dev/bartizan/api/v1alpha1"
	"github.com/bartizan-dev/bartizan/internal/signature"
	"github.com/bartizan-dev/bartizan/internal/vulnerability"
)

// MaximumImageAge is the most that an image may be old, and the profile that says so; "" where none does.
func (f Floor) MaximumImageAge() (least time.Duration, profile string) {
	for _, p := range f.profiles {
		if p.Spec.Images == nil {
			continue
		}
		if limit, err := time.ParseDuration(p.Spec.Images.MaximumAge); err == nil && (profile == "" || limit < least) {
			least, profile = limit, p.Name
		}
	}
	return least, profile
}

var severities = map[v1alpha1.VulnerabilitySeverity]vulnerability.Severity{
	v1alpha1.VulnerabilityCritical: vulnerability.Critical, v1alpha1.VulnerabilityHigh: vulnerability.High,
	v1alpha1.VulnerabilityMedium: vulnerability.Medium, v1alpha1.VulnerabilityLow: vulnerability.Low,
}

// VulnerabilityLimits are how long vulnerabilities may have been known: the strictest for each severity. What cannot be understood
// counts at once.
func (f Floor) VulnerabilityLimits() vulnerability.Limits {
	limits := vulnerability.Limits{}
	for _, p := range f.profiles {
		if p.Spec.Images == nil {
			continue
		}
		for _, l := range p.Spec.Images.Vulnerabilities {
			age, err := time.ParseDuration(l.MaximumAge)
			if err != nil {
				age = 0
			}
			limits.Tighten(severities[l.Severity], age)
		}
	}
	if len(limits) == 0 {
		return vulnerability.DefaultLimits()
	}
	return limits
}

// Signatures are, for each profile that asks for signatures, the policies whose word counts.
func (f Floor) Signatures() []signature.Demand {
	var all []signature.Demand
	for _, p := range f.profiles {
		if p.Spec.Images == nil || len(p.Spec.Images.Signatures) == 0 {
			continue
		}
		d := signature.Demand{Profile: p.Name}
		for _, s := range p.Spec.Images.Signatures {
			d.Policies = append(d.Policies, signature.Policy{Source: string(s.Source), Name: s.Policy})
		}
		all = append(all, d)
	}
	return slices.Clip(all)
}

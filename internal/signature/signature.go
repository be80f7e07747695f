// Package signature judges by policy reports whether the signatures of the images of pods were verified, by the policies that
// somebody named for it. It is pure. Whoever may write policy reports in a namespace can have them say anything.
package signature

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Policy is a policy that verifies signatures, as reports name it.
type Policy struct{ Source, Name string }

// Demand is what one profile asks for: those of its policies that say something about a pod must have passed, and one must say
// something.
type Demand struct {
	Profile  string
	Policies []Policy
}

// Report is what is looked at of a policy report about one object.
type Report struct {
	// Kind and UID are those of the object.
	Kind, UID string
	Results   []Result
}

// Result is what one rule of a policy came to.
type Result struct {
	Policy
	Outcome string
}

// Pod is a pod whose images are to be signed.
type Pod struct{ Name, UID string }

// Parse reads a Report of openreports.io or a PolicyReport of wgpolicyk8s.io from its JSON; what is looked at is the same in both.
func Parse(content []byte) (Report, error) {
	var d struct {
		Scope *struct {
			Kind string `json:"kind"`
			UID  string `json:"uid"`
		} `json:"scope"`
		Results []struct {
			Source string `json:"source"`
			Policy string `json:"policy"`
			Result string `json:"result"`
		} `json:"results"`
	}
	if err := json.Unmarshal(content, &d); err != nil {
		return Report{}, fmt.Errorf("it is no policy report: %w", err)
	}
	if d.Scope == nil || d.Scope.UID == "" {
		return Report{}, errors.New("the report is not about one object")
	}
	r := Report{Kind: d.Scope.Kind, UID: d.Scope.UID}
	for _, result := range d.Results {
		r.Results = append(r.Results, Result{Policy{result.Source, result.Policy}, result.Result})
	}
	return r, nil
}

// Verdict is what the reports say.
type Verdict struct {
	// Missing says why it is not known whether everything is signed; "": it is known.
	Missing string
	// Unsigned are the pods of whose images a policy says that they are not signed as they have to be.
	Unsigned []string
}

// Judge judges pods. One that is not signed counts more than one of which nothing is known.
func Judge(demands []Demand, pods []Pod, reports []Report) (v Verdict) {
	if len(pods) == 0 {
		v.Missing = "no pod runs"
	}
	for _, pod := range pods {
		for _, d := range demands {
			passed := false
			for _, r := range about(pod, d, reports) {
				switch r.Outcome {
				case "pass":
					passed = true
				case "skip": // it says nothing
				case "fail", "warn":
					v.Unsigned = append(v.Unsigned, fmt.Sprintf("Pod %s does not pass the policy %s (%s)", pod.Name, r.Name, r.Source))
				default:
					v.Missing = fmt.Sprintf("the policy %s (%s) could not be tried for Pod %s", r.Name, r.Source, pod.Name)
				}
			}
			if !passed && v.Missing == "" {
				v.Missing = fmt.Sprintf("no report about Pod %s has a result of %s, which MCPSecurityProfile %s names in spec.images.signatures", pod.Name, d.names(), d.Profile)
			}
		}
	}
	slices.Sort(v.Unsigned)
	v.Unsigned = slices.Compact(v.Unsigned)
	return v
}

// about are the results about a pod of the policies that count.
func about(pod Pod, d Demand, reports []Report) (all []Result) {
	for _, report := range reports {
		if report.Kind != "Pod" || report.UID != pod.UID {
			continue
		}
		for _, r := range report.Results {
			if slices.Contains(d.Policies, r.Policy) {
				all = append(all, r)
			}
		}
	}
	return all
}

// names are the policies of a demand.
func (d Demand) names() string {
	var names []string
	for _, p := range d.Policies {
		names = append(names, p.Name+" ("+p.Source+")")
	}
	return strings.Join(names, " or ")
}
